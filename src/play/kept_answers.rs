//! Answers that are kept for a moment, so that strangers who ask the same again, or ask for what does not exist, cost no
//! statement, and the same balance is not asked for twice at once. Everything is bounded, and nothing here is needed: a
//! forgotten answer is asked for again.

use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::NaiveDate;
use quick_cache::sync::Cache;

use crate::clock::Clock;
use crate::game::player::{AgentId, PlayerId};
use crate::ledger::chains::PublishedAnchor;
use crate::play::balance::SharedBalance;
use crate::play::hazards::ChainView;

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
    pub anchors: Remembered<u64, Option<PublishedAnchor>>,
    /// What is public of the chains; `None`: there is none yet.
    pub chains: Remembered<NaiveDate, Option<ChainView>>,
    /// Balances, while they are asked for and for a second after.
    pub balances: Cache<PlayerId, Arc<SharedBalance>>,
    unknown_names: Budget,
}

impl KeptAnswers {
    /// Empty ones, by this clock.
    pub fn new(clock: Clock) -> Self {
        Self {
            unknown_agents: Remembered::new(clock),
            unknown_versions: Remembered::new(clock),
            unknown_configurations: Remembered::new(clock),
            anchors: Remembered::new(clock),
            chains: Remembered::new(clock),
            balances: Cache::new(REMEMBERED),
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
