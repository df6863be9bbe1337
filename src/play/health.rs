//! Whether this server can do its work, as load balancers and people ask.

use crate::play::context::Context;

/// What was found when it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    pub redis: bool,
    pub postgres: bool,
    pub draining: bool,
}

impl Health {
    /// Whether requests should be sent here.
    pub fn is_ready(self) -> bool {
        self.redis && self.postgres && !self.draining
    }
}

/// Asks Redis, and says what the probe last heard of PostgreSQL: whoever asks for health causes no query.
pub async fn health(context: &Context) -> Health {
    Health {
        redis: context.live.ping().await.is_ok(),
        postgres: context.ledger.is_healthy() && !context.record_watch.forbids_play(),
        draining: context.draining.is_cancelled(),
    }
}
