//! Every key in Redis. All of it may be lost: PostgreSQL holds the truth, and what is missing or unreadable is rebuilt from there.
//!
//! | key | type and contents | time to live | owner |
//! |---|---|---|---|
//! | `gameSession:{userId}-{agentId}` | hash: `round` (immutable JSON) and what the scripts touch: `sequence` `roundId` `currentStep` `isActive` `isWin` `endReason` (at the end) `firstCollision` `maxLane` `restored` `run` | deadline + 1 day; 60 s after the end | sessions |
//! | `bet-lock:{userId}-{agentId}` | string: the holder's random token | 30 s | sessions (taken by `begin_bet`) |
//! | `player:{userId}-{agentId}` | hash: `revision` `generation` `status` `run`, and the rate counters `betWindow` `betLeft` `moveWindow` `moveLeft` `readWindow` `readLeft` | 1 day | players |
//! | `hazards-{DIFFICULTY}` | string: JSON of a `HazardRecord` | 7.5 s | hazards |
//! | `user-sessions:{agentId}` | sorted set: user id by last activity in Unix milliseconds | none, idle members are removed | presence |
//! | `record-mark` | hash: `system` `timeline` `sequence` `betId` (how far PostgreSQL had come when it was last seen) | none | mark |
//! | `hazard-refresh-lock` | string: token | 5 s | locks |
//! | `wallet-retry-scheduler-lock` | string: token | 60 s | locks |
//! | `retry-job-lock:{platformTxId}:{apiAction}` | string: token | 300 s | locks |
//! | `bet-cleanup-lock`, `wallet-audit-cleanup-lock` | string: token | 300 s | locks |
//! | `bet-cleanup-last-run`, `wallet-audit-cleanup-last-run` | string: `YYYY-MM-DD` | 3 days | locks |
//!
//! The keys are spelled for one server, without braces. On a cluster a player's keys would share a hash tag; every script already takes
//! all of its keys in KEYS.

use crate::game::difficulty::Difficulty;
use crate::game::player::{AgentId, PlayerId};

/// Seconds that a bet lock is held at most.
pub const BET_LOCK_TTL_S: u64 = 30;
/// Seconds that a copy of a player's standing lives.
pub const PLAYER_TTL_S: u64 = 86_400;
/// Seconds that a session lives on after its end is committed.
pub const RETIRED_SESSION_TTL_S: u64 = 60;
/// Milliseconds that a hazard record lives: one and a half epochs, so that a missed refresh shows.
pub const HAZARDS_TTL_MS: u64 = 7_500;
/// Seconds that the date of a clean-up's last run is remembered.
pub const LAST_RUN_TTL_S: u64 = 3 * 86_400;

/// Held while the hazard record is refreshed.
pub const HAZARD_REFRESH_LOCK: &str = "hazard-refresh-lock";
/// Held while due operator calls are handed out.
pub const WALLET_RETRY_SCHEDULER_LOCK: &str = "wallet-retry-scheduler-lock";
/// Held while old bets are removed.
pub const BET_CLEANUP_LOCK: &str = "bet-cleanup-lock";
/// Held while old audit rows are removed.
pub const WALLET_AUDIT_CLEANUP_LOCK: &str = "wallet-audit-cleanup-lock";
/// The day on which old bets were last removed.
pub const BET_CLEANUP_LAST_RUN: &str = "bet-cleanup-last-run";
/// The day on which old audit rows were last removed.
pub const WALLET_AUDIT_CLEANUP_LAST_RUN: &str = "wallet-audit-cleanup-last-run";
/// How far PostgreSQL had come when it was last seen.
pub const RECORD_MARK: &str = "record-mark";

/// The round that a player is playing.
pub fn game_session(player: &PlayerId) -> String {
    format!("gameSession:{}-{}", player.user_id.as_str(), player.agent_id.as_str())
}

/// Held while a player's bet is being placed.
pub fn bet_lock(player: &PlayerId) -> String {
    format!("bet-lock:{}-{}", player.user_id.as_str(), player.agent_id.as_str())
}

/// A player's standing and rate counters.
pub fn player(player: &PlayerId) -> String {
    format!("player:{}-{}", player.user_id.as_str(), player.agent_id.as_str())
}

/// The public road of a difficulty.
pub fn hazards(difficulty: Difficulty) -> String {
    format!("hazards-{}", difficulty.as_str())
}

/// Who of an agent's users was active when.
pub fn user_sessions(agent: &AgentId) -> String {
    format!("user-sessions:{}", agent.as_str())
}

/// Held while one operator call is being retried.
pub fn retry_job_lock(platform_tx_id: &str, api_action: &str) -> String {
    format!("retry-job-lock:{platform_tx_id}:{api_action}")
}
