//! What protects an agent's wallet from us and us from it: at most so many calls in flight, and none for a moment after
//! most of the latest got no answer. Both are per agent, so that one slow operator does not hold up the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use recloser::{AsyncRecloser, Recloser};
use tokio::sync::Semaphore;

use super::WalletSettings;

/// One agent's guard, shared by all of its calls.
pub(super) struct Guard {
    pub calls: Semaphore,
    pub breaker: AsyncRecloser,
}

impl Guard {
    fn new(settings: &WalletSettings) -> Self {
        let breaker = Recloser::custom()
            .closed_len(settings.breaker_calls.max(1) as usize)
            .error_rate_closed(f32::from(settings.breaker_failures_percent.clamp(1, 100)) / 100.0)
            .half_open_len(settings.breaker_trial_calls.max(1) as usize)
            .error_rate_half_open(0.5)
            .open_wait(Duration::from_millis(settings.breaker_open_ms))
            .build();
        let calls = Semaphore::new((settings.concurrent_calls_per_agent.max(1) as usize).min(Semaphore::MAX_PERMITS));
        Self {
            calls,
            breaker: AsyncRecloser::from(breaker),
        }
    }
}

/// The guards of all agents that were ever called; there are as many as agents.
#[derive(Default)]
pub(super) struct Guards(Mutex<HashMap<String, Arc<Guard>>>);

impl Guards {
    pub fn of(&self, agent_id: &str, settings: &WalletSettings) -> Arc<Guard> {
        let mut guards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match guards.get(agent_id) {
            Some(guard) => Arc::clone(guard),
            None => Arc::clone(guards.entry(agent_id.to_owned()).or_insert_with(|| Arc::new(Guard::new(settings)))),
        }
    }
}
