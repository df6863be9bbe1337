//! Answers that are kept for a moment, so that strangers who ask the same again, or ask for what does not exist, cost no
//! statement, and the same is not asked for twice at once. Everything is bounded, and nothing here is needed: a forgotten answer
//! is asked for again.

use std::convert::Infallible;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::NaiveDate;
use quick_cache::sync::Cache;
use tokio::sync::Mutex as AsyncMutex;

use crate::clock::Clock;
use crate::game::player::{AgentId, PlayerId};
use crate::ledger::chains::PublishedAnchor;
use crate::live::LiveError;
use crate::play::refusal::Refusal;
use crate::play::under_way::Tasks;
use crate::play::view::{Balance, ChainView, OnlineCount};

/// How long it is remembered that there is no such thing.
pub const ABSENT_FOR: Duration = Duration::from_secs(2);
/// How long an answer is given again that may change.
pub const CHANGING_FOR: Duration = Duration::from_secs(1);
/// How long an answer is given again that never changes: until it is pushed out.
pub const FOR_EVER: Duration = Duration::from_secs(86_400);
/// So many names, days and players are remembered of each kind, those that were asked for last.
const REMEMBERED: usize = 4_096;
/// How many questions for unknown names, together, are put to the record in a second. Agents that exist are read every five
/// seconds without being asked for.
const UNKNOWN_NAMES_PER_SECOND: u32 = 20;

/// What a server keeps for a moment.
pub struct KeptAnswers {
    /// Agents that there are not.
    pub unknown_agents: Remembered<AgentId, ()>,
    /// Configuration versions that there are not.
    pub unknown_versions: Remembered<i32, ()>,
    /// Hashes that no stored configuration has.
    pub unknown_configurations: Remembered<String, ()>,
    /// Published anchors by day, counted from 1970-01-01; `None`: there is none yet.
    pub anchors: SharedBy<u64, Result<Option<PublishedAnchor>, Refusal>>,
    /// What is public of the chains; `None`: there is none yet.
    pub chains: SharedBy<NaiveDate, Result<Option<ChainView>, Refusal>>,
    /// Balances, for a second.
    pub balances: SharedBy<PlayerId, Result<Balance, Refusal>>,
    /// Whether Redis can do its work.
    pub fitness: Shared<Result<(), LiveError>>,
    /// How many players are here.
    pub online: Shared<Result<OnlineCount, Refusal>>,
    unknown_names: Budget,
}

impl KeptAnswers {
    /// Empty ones, by this clock.
    pub fn new(clock: Clock) -> Self {
        Self {
            unknown_agents: Remembered::new(clock),
            unknown_versions: Remembered::new(clock),
            unknown_configurations: Remembered::new(clock),
            anchors: SharedBy::new(),
            chains: SharedBy::new(),
            balances: SharedBy::new(),
            fitness: Shared::default(),
            online: Shared::default(),
            unknown_names: Budget::new(clock, UNKNOWN_NAMES_PER_SECOND),
        }
    }

    /// Whether the record may be asked once more this second for a name that is not known here.
    pub fn may_ask_for_unknown(&self) -> bool {
        self.unknown_names.take()
    }
}

/// A bounded memory whose entries end.
pub struct Remembered<K, V> {
    entries: Cache<K, (Instant, V)>,
    clock: Clock,
}

impl<K: Eq + Hash, V: Clone> Remembered<K, V> {
    fn new(clock: Clock) -> Self {
        Self {
            entries: Cache::new(REMEMBERED),
            clock,
        }
    }

    /// What is remembered of `key` at this moment.
    pub fn get(&self, key: &K) -> Option<V> {
        let (until, value) = self.entries.get(key)?;
        (self.clock.monotonic() < until).then_some(value)
    }

    /// Remembers it for so long.
    pub fn put(&self, key: K, value: V, life: Duration) {
        self.entries.insert(key, (self.clock.monotonic() + life, value));
    }
}

/// The answer to one question, with the instant until which it is given again. Whoever asks while it is asked for waits for that
/// answer, whatever it will be.
pub struct Shared<T>(Arc<AsyncMutex<Option<(Instant, T)>>>);

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone + Send + 'static> Shared<T> {
    /// The kept answer; else what `ask` says, which is kept for the `life` that it has. The asking goes on when the one who caused
    /// it has hung up: whoever resets connections causes no more questions than whoever waits. `None`: the server is ending.
    pub async fn get<F>(&self, tasks: &Tasks, clock: Clock, ask: F, life: fn(&T) -> Duration) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut kept = Arc::clone(&self.0).lock_owned().await;
        if let Some((until, answer)) = kept.as_ref()
            && clock.monotonic() < *until
        {
            return Some(answer.clone());
        }
        let asking = tasks.spawn(async move {
            let answer = ask.await;
            *kept = Some((clock.monotonic() + life(&answer), answer.clone()));
            answer
        });
        asking.await.ok()
    }

    /// Whether whoever asks at this moment causes no question: the answer is kept or on its way.
    fn is_at_hand(&self, clock: Clock) -> bool {
        let on_its_way = |_| true;
        let is_kept = |kept: Option<&(Instant, T)>| kept.is_some_and(|(until, _)| clock.monotonic() < *until);
        self.0.try_lock().map_or_else(on_its_way, |kept| is_kept(kept.as_ref()))
    }
}

/// Answers to the same question about many things, those that were asked for last.
pub struct SharedBy<K, T>(Cache<K, Arc<Shared<T>>>);

impl<K: Clone + Eq + Hash, T: Clone + Send + 'static> SharedBy<K, T> {
    fn new() -> Self {
        Self(Cache::new(REMEMBERED))
    }

    /// What is known of `key`.
    pub fn of(&self, key: &K) -> Arc<Shared<T>> {
        let Ok(shared) = self.0.get_or_insert_with(key, || Ok::<_, Infallible>(Arc::default()));
        shared
    }

    /// Whether whoever asks for `key` at this moment causes no question.
    pub fn is_at_hand(&self, key: &K, clock: Clock) -> bool {
        self.0.get(key).is_some_and(|shared| shared.is_at_hand(clock))
    }

    /// Forgets the answer; one that is on its way is told only to those who wait for it.
    pub fn forget(&self, key: &K) {
        self.0.remove(key);
    }
}

/// So many a second.
struct Budget {
    clock: Clock,
    per_second: u32,
    /// When the second began, and what was taken of it.
    second: Mutex<(Instant, u32)>,
}

impl Budget {
    fn new(clock: Clock, per_second: u32) -> Self {
        Self {
            clock,
            per_second,
            second: Mutex::new((clock.monotonic(), 0)),
        }
    }

    fn take(&self) -> bool {
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        if self.clock.elapsed_since(second.0) >= Duration::from_secs(1) {
            *second = (self.clock.monotonic(), 0);
        }
        second.1 += u32::from(second.1 <= self.per_second);
        second.1 <= self.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_ends_and_is_bounded() {
        let remembered: Remembered<usize, usize> = Remembered::new(Clock::default());
        remembered.put(1, 10, FOR_EVER);
        assert_eq!((remembered.get(&1), remembered.get(&2)), (Some(10), None));
        remembered.put(1, 11, Duration::ZERO);
        assert_eq!(remembered.get(&1), None, "its time is over");
        for number in 0..10 * REMEMBERED {
            remembered.put(number, number, FOR_EVER);
        }
        assert!(remembered.entries.len() <= REMEMBERED, "{} are kept", remembered.entries.len());
    }

    #[test]
    fn a_budget_is_a_number_for_a_second() {
        let budget = Budget::new(Clock::default(), 3);
        let taken = (0..1_000).filter(|_| budget.take()).count();
        assert!((3..1_000).contains(&taken), "{taken}");
        *budget.second.lock().unwrap() = (Clock::default().monotonic().checked_sub(Duration::from_secs(2)).unwrap(), 4);
        assert!(budget.take(), "another second");
    }
}
