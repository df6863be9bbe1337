//! Rounds whose facts this server has met lately. What a round pins never changes, so whoever knows it from the last step need
//! not have it read, sent and parsed again for the next one. Where a round stands is never kept here: every move asks Redis.

use std::sync::Arc;

use quick_cache::sync::Cache;
use uuid::Uuid;

use crate::play::round::RoundFacts;

/// So many are kept, those that were asked for last: about five megabytes.
const KNOWN_ROUNDS: usize = 4_096;

/// Facts by the round's id.
pub struct KnownRounds(Cache<Uuid, Arc<RoundFacts>>);

impl Default for KnownRounds {
    fn default() -> Self {
        Self(Cache::new(KNOWN_ROUNDS))
    }
}

impl KnownRounds {
    /// The facts of the round that a client names, if they are known here. Whose round it is, and whether it is the open one,
    /// only the session says.
    pub fn find(&self, round_id: Option<&str>) -> Option<Arc<RoundFacts>> {
        self.0.get(&Uuid::parse_str(round_id?).ok()?)
    }

    /// Keeps the facts of a round.
    pub fn keep(&self, facts: &Arc<RoundFacts>) {
        self.0.insert(facts.round_id, Arc::clone(facts));
    }
}
