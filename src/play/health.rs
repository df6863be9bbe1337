//! Whether this server can do its work, as load balancers and people ask, and what is told of Redis besides.

use std::sync::Arc;
use std::time::Duration;

use crate::live::{LiveError, MEMORY_WARNING_RATIO, ServerInfo};
use crate::play::context::Context;

/// How long it is told again what Redis said. The question is some sixty questions to Redis, on the connection of players' steps.
const FITNESS_FOR: Duration = Duration::from_millis(500);

/// What was found when it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether a bet could be placed as far as Redis is concerned.
    pub redis: Result<(), LiveError>,
    pub postgres: bool,
    pub draining: bool,
}

impl Health {
    /// Whether requests should be sent here. A full Redis is no reason to send none: open rounds are played on, and only their ends
    /// make room.
    pub fn is_ready(&self) -> bool {
        matches!(self.redis, Ok(()) | Err(LiveError::Full)) && self.postgres && !self.draining
    }
}

/// Asks Redis, twice a second at most however many want to know, and says what the probe last heard of PostgreSQL: whoever asks for
/// health causes no query.
pub async fn health(context: &Arc<Context>) -> Health {
    let live = Arc::clone(context);
    let asking = async move { live.live.fitness().await };
    let fitness = context
        .kept
        .fitness
        .get(&context.tasks, context.clock, asking, |_| FITNESS_FOR)
        .await;
    Health {
        redis: fitness.unwrap_or_else(|| Err(LiveError::Unreachable("it was not asked".to_owned()))),
        postgres: context.ledger.is_healthy() && !context.record_watch.forbids_play(),
        draining: context.draining.is_cancelled(),
    }
}

/// Shows how full Redis is, and says so in the log from 80 % on. A job calls this.
///
/// # Errors
/// Why Redis cannot be used.
pub async fn look_at_redis(context: &Context) -> Result<(), LiveError> {
    let info = context.live.server_info().await?;
    metrics::gauge!("faircross_redis_memory_used_bytes").set(info.used_memory_bytes.unwrap_or(0) as f64);
    metrics::gauge!("faircross_redis_memory_limit_bytes").set(info.maxmemory_bytes.unwrap_or(0) as f64);
    metrics::gauge!("faircross_redis_memory_used_ratio").set(info.memory_ratio().unwrap_or(0.0));
    warn_of_memory(&info);
    context.live.fitness().await
}

/// Redis will refuse bets soon, or does.
fn warn_of_memory(info: &ServerInfo) {
    if let Some(ratio) = info.memory_ratio().filter(|ratio| *ratio >= MEMORY_WARNING_RATIO) {
        let percent = (ratio * 100.0) as u64;
        tracing::warn!(
            percent,
            "Redis is nearly full: at maxmemory no bet is taken; raise maxmemory or find out what fills it"
        );
    }
}

/// What people should know of this Redis before players come: what it lacks, and in which ways it may lose what it is given.
///
/// # Errors
/// Only when it is one that will never do: older than 7.0.
pub async fn check_redis_at_start(context: &Context) -> Result<(), LiveError> {
    let info = match context.live.server_info().await {
        Ok(info) => info,
        Err(error @ LiveError::Unfit(crate::live::Unfit::TooOld { .. })) => return Err(error),
        Err(error) => {
            tracing::warn!(%error, "Redis cannot be used yet; rounds are refused until it can");
            return Ok(());
        }
    };
    if info.maxmemory_policy != "noeviction" {
        let policy = &info.maxmemory_policy;
        tracing::warn!(policy, "Redis may evict sessions: set maxmemory-policy noeviction");
    }
    if info.append_only == Some(false) {
        tracing::warn!("Redis keeps no append-only file: set appendonly yes (config/redis.conf)");
    }
    if info.append_only_ok == Some(false) {
        tracing::warn!("Redis could not write its append-only file (aof_last_write_status): look at its disk and its log");
    }
    if info.snapshot_ok == Some(false) {
        tracing::warn!("Redis's last snapshot failed (rdb_last_bgsave_status): look at its disk and its log");
    }
    if context.live.stops_after_failed_snapshot().await == Some(true) {
        tracing::warn!("a failed snapshot will stop every round: set stop-writes-on-bgsave-error no (config/redis.conf)");
    }
    warn_of_memory(&info);
    if let Err(error) = context.live.fitness().await {
        tracing::warn!(%error, "no round can be opened until this is put right");
    }
    Ok(())
}
