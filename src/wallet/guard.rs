//! What protects an agent's wallet from us and us from it: at most so many calls of a kind in flight, and none for a moment after
//! most of the latest got no answer. Both are per agent, so that one slow operator does not hold up the others; and each kind
//! of call has places of its own, so that settles that take long leave the bets theirs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::breaker::{Breaker, Limits, Pass};
use super::{Action, UnknownReason, WalletSettings};
use crate::clock::Clock;

/// A warning about an operator's answers is logged so often at most.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// One agent's guard, shared by all of its calls.
pub(super) struct Guard {
    bets: Arc<Semaphore>,
    settles: Arc<Semaphore>,
    cancels: Arc<Semaphore>,
    questions: Arc<Semaphore>,
    /// Of what changes money.
    pub money: Breaker,
    /// Of the calls that move nothing: a player may ask as often as they like, and that must not stand in the way of anybody's money.
    pub asking: Breaker,
    /// For how long a connection of this operator may rest and still be used, as its latest answer named it.
    pub keep_alive: Mutex<Option<Duration>>,
    warned: Mutex<Option<Instant>>,
}

/// Why no call can be made at this moment. Nothing has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// As many are under way as may be, and none ended in time.
    Busy,
    /// The operator is left alone for so long.
    BreakerOpen { retry_after: Duration },
    /// The callback address is not a public one.
    AddressRefused,
    /// The callback address is none.
    NotSendable,
}

impl NoPlace {
    /// As the outcome of the call that was not made.
    pub(super) fn reason(self) -> UnknownReason {
        match self {
            Self::Busy => UnknownReason::Busy,
            Self::BreakerOpen { .. } => UnknownReason::BreakerOpen,
            Self::AddressRefused => UnknownReason::AddressRefused,
            Self::NotSendable => UnknownReason::NotSent,
        }
    }
}

/// The right to make one call to an agent at once, ahead of whatever would be in vain without it.
pub struct Place {
    pub(super) guard: Arc<Guard>,
    pub(super) pass: Pass,
    pub(super) _permit: OwnedSemaphorePermit,
}

impl Guard {
    fn new(settings: &WalletSettings, clock: Clock) -> Self {
        let limits = Limits {
            calls: settings.breaker_calls.max(1) as usize,
            failures_percent: usize::from(settings.breaker_failures_percent.clamp(1, 100)),
            open_for: Duration::from_millis(settings.breaker_open_ms),
            trial_calls: settings.breaker_trial_calls.max(1) as usize,
        };
        let places = || {
            let count = settings.concurrent_calls_per_agent.max(1) as usize;
            Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)))
        };
        Self {
            bets: places(),
            settles: places(),
            cancels: places(),
            questions: places(),
            money: Breaker::new(limits, clock),
            asking: Breaker::new(limits, clock),
            keep_alive: Mutex::default(),
            warned: Mutex::default(),
        }
    }

    fn breaker(&self, action: Action) -> &Breaker {
        match action {
            Action::GetBalance => &self.asking,
            Action::Bet | Action::CancelBet | Action::Settle | Action::VoidBet => &self.money,
        }
    }

    /// Waits for a place no longer than `patience`. Whoever is let through afterwards holds it until its call has ended.
    pub async fn place(self: &Arc<Self>, action: Action, patience: Duration) -> Result<Place, NoPlace> {
        let left_alone = |retry_after| NoPlace::BreakerOpen { retry_after };
        // Asked first, so that nobody waits for a place at an operator that is left alone anyway.
        drop(self.breaker(action).enter().map_err(left_alone)?);
        let places = match action {
            Action::Bet => &self.bets,
            Action::Settle | Action::VoidBet => &self.settles,
            Action::CancelBet => &self.cancels,
            Action::GetBalance => &self.questions,
        };
        let Ok(Ok(permit)) = tokio::time::timeout(patience, Arc::clone(places).acquire_owned()).await else {
            return Err(NoPlace::Busy);
        };
        let pass = self.breaker(action).enter().map_err(left_alone)?;
        Ok(Place {
            guard: Arc::clone(self),
            pass,
            _permit: permit,
        })
    }

    /// Whether a warning is due; then it is not again for a minute.
    pub fn may_warn(&self, clock: Clock) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = warned.is_none_or(|last| clock.elapsed_since(last) >= WARN_EVERY);
        if is_due {
            *warned = Some(clock.monotonic());
        }
        is_due
    }
}

/// The guards of all agents that were ever called; there are as many as agents.
#[derive(Default)]
pub(super) struct Guards(Mutex<HashMap<String, Arc<Guard>>>);

impl Guards {
    pub fn of(&self, agent_id: &str, settings: &WalletSettings, clock: Clock) -> Arc<Guard> {
        let mut guards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match guards.get(agent_id) {
            Some(guard) => Arc::clone(guard),
            None => Arc::clone(
                guards
                    .entry(agent_id.to_owned())
                    .or_insert_with(|| Arc::new(Guard::new(settings, clock))),
            ),
        }
    }
}
