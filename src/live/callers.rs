//! Who may act: the gate that every player's request passes inside the script that serves it, and the start of a bet.

use super::hazards::{HazardRecord, record_from};
use super::reply::Reply;
use super::{Live, LiveError, keys, scripts};
use crate::game::difficulty::Difficulty;
use crate::game::player::PlayerId;

/// At most so many requests in each fixed window. Bets, moves and reads are counted separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests let through per window.
    pub requests: u32,
    /// Length of the window in milliseconds, at least 1.
    pub window_ms: u32,
}

/// The player on whose behalf a request runs.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Who it is.
    pub player: &'a PlayerId,
    /// The session generation in the caller's token. Signing out raises the player's own, which ends every older token.
    pub generation: u64,
    /// How often this kind of request may be made.
    pub rate_limit: RateLimit,
    /// This server's clock. Redis's own decides which window it is, and is asked where the two might differ.
    pub now_unix_ms: u64,
}

/// Why a request was turned away before it changed anything, in the order in which it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateRefusal {
    /// Redis has no copy of the player's standing, none that can be read, or one older than the caller's token. The caller refills it
    /// from PostgreSQL and asks once more; the same answer again means that PostgreSQL does not know this token.
    PlayerUnknown,
    /// The token is of an earlier generation.
    SignedOut,
    /// Suspended or locked, and this request needs an active player.
    Suspended,
    /// Too many requests.
    RateLimited {
        /// Milliseconds until the next window.
        retry_after_ms: u64,
    },
}

/// How the first round trip of a bet went.
#[derive(Clone, Debug, PartialEq)]
pub enum BeginBet {
    /// Not let through.
    Refused(GateRefusal),
    /// Another bet of this player is under way.
    LockHeld {
        /// Milliseconds until the lock ends by itself.
        retry_after_ms: u64,
    },
    /// Let through, with the lock taken.
    Begun {
        /// The public road, `None` when it must be published again.
        hazards: Option<HazardRecord>,
        /// Redis's clock.
        now_unix_ms: u64,
    },
}

impl Live {
    /// Checks the caller (who must be active), takes the bet lock for 30 s and reads the public road: one script. Asking again with the
    /// same token gives the same answer.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`]; the lock may have been taken.
    pub async fn begin_bet(&self, caller: Caller<'_>, difficulty: Difficulty, lock_token: &str) -> Result<BeginBet, LiveError> {
        let hazards_key = keys::hazards(difficulty);
        let player_key = keys::player(caller.player);
        let mut script = scripts::BEGIN_BET.on(&[&player_key, &keys::bet_lock(caller.player), &hazards_key]);
        caller.add_to(&mut script);
        script
            .arg(lock_token)
            .arg(if self.locks_enabled { keys::BET_LOCK_TTL_S } else { 0 });
        let mut reply = self.run_script(&player_key, &script).await?;
        match reply.text()?.as_str() {
            "begun" => {
                let now_unix_ms = reply.parsed()?;
                Ok(BeginBet::Begun {
                    hazards: record_from(&hazards_key, &mut reply)?,
                    now_unix_ms,
                })
            }
            "lock_held" => Ok(BeginBet::LockHeld {
                retry_after_ms: reply.parsed()?,
            }),
            tag => Ok(BeginBet::Refused(GateRefusal::from_reply(caller.player, tag, &mut reply)?)),
        }
    }

    /// The gate alone, for requests that touch nothing else in Redis. `None`: let through.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`].
    pub async fn check_caller(&self, caller: Caller<'_>, must_be_active: bool) -> Result<Option<GateRefusal>, LiveError> {
        let key = keys::player(caller.player);
        let mut script = scripts::CHECK_CALLER.on(&[&key]);
        caller.add_to(&mut script);
        script.arg(u8::from(must_be_active));
        let mut reply = self.run_script(&key, &script).await?;
        match reply.text()?.as_str() {
            "passed" => Ok(None),
            tag => GateRefusal::from_reply(caller.player, tag, &mut reply).map(Some),
        }
    }
}

impl Caller<'_> {
    /// The first two ARGV of every script with a gate.
    pub(super) fn add_to(&self, script: &mut scripts::ScriptCall) {
        let RateLimit { requests, window_ms } = self.rate_limit;
        let window_ms = window_ms.max(1);
        let window = self.now_unix_ms / u64::from(window_ms);
        script.arg(self.generation).arg(format!("{requests}/{window_ms}/{window}"));
    }
}

impl GateRefusal {
    /// Decodes a refusal of the gate; any other tag is one that no script of ours answers.
    pub(super) fn from_reply(player: &PlayerId, tag: &str, reply: &mut Reply<'_>) -> Result<Self, LiveError> {
        match tag {
            "player_unknown" => Ok(Self::PlayerUnknown),
            "player_unreadable" => {
                // Reported, and then refilled like a copy that is missing.
                super::unreadable(&keys::player(player));
                Ok(Self::PlayerUnknown)
            }
            "signed_out" => Ok(Self::SignedOut),
            "suspended" => Ok(Self::Suspended),
            "rate_limited" => Ok(Self::RateLimited {
                retry_after_ms: reply.parsed()?,
            }),
            _ => Err(reply.unreadable()),
        }
    }
}
