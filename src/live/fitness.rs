//! Whether Redis can do what the product needs of it, asked of Redis itself: one script without any flag, which Redis refuses whenever it
//! would refuse a bet (it is full, it stopped writes after a failed snapshot, it has become a replica), and in which Redis says of each
//! command and kind of key whether our user may use it.

use redis::RedisError;

use super::{Live, LiveError, scripts};

/// The oldest version whose scripts have flags (`#!lua flags=allow-oom`) and can ask for permissions.
const OLDEST: (u32, u32) = (7, 0);

/// Every command, and the kind of key that it is used on; the ones without a key stand with an empty one. `config/redis-acl.conf` is the
/// same list as a user's rules.
pub const NEEDED: [(&str, &[&str]); 10] = [
    ("gameSession:", &["DEL", "EXPIRE", "HGET", "HMGET", "HSET", "TTL"]),
    ("player:", &["DEL", "EXPIRE", "HINCRBY", "HMGET", "HSET", "TYPE"]),
    ("bet-lock:", LOCK),
    ("retry-job-lock:", LOCK),
    ("hazards-", &["GET", "PTTL", "SET", "TYPE"]),
    ("record-mark", &["DEL", "HMGET", "HSET"]),
    ("user-sessions:", &["ZADD", "ZCOUNT", "ZREM", "ZREMRANGEBYSCORE"]),
    (
        "hazard-refresh-lock wallet-retry-scheduler-lock bet-cleanup-lock wallet-audit-cleanup-lock",
        LOCK,
    ),
    ("bet-cleanup-last-run wallet-audit-cleanup-last-run", &["GET", "SETEX"]),
    ("", &["TIME", "INFO", "PING", "EVALSHA", "SCRIPT|LOAD"]),
];
const LOCK: &[&str] = &["DEL", "EXPIRE", "GET", "PTTL", "SET"];

/// Why a Redis that answers is none that rounds can be played on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("Redis {version} is too old: install Redis 7.0 or later, or Valkey")]
    TooOld { version: String },
    #[error("Redis Cluster is not supported yet: point redis.url to a server that is not part of a cluster")]
    Cluster,
    #[error("it is a replica and takes no writes: point redis.url to the primary")]
    Replica,
    /// After a failed snapshot while `stop-writes-on-bgsave-error` is on, or when the append-only file cannot be written.
    #[error("Redis has stopped all writes (see config/redis.conf: stop-writes-on-bgsave-error no): {reason}")]
    WritesStopped { reason: String },
    #[error("the Redis user lacks a permission (config/redis-acl.conf has all that are needed): {what}")]
    Forbidden { what: String },
}

impl Unfit {
    /// In one word, as readiness says it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::TooOld { .. } => "too_old",
            Self::Cluster => "cluster_not_supported",
            Self::Replica => "replica",
            Self::WritesStopped { .. } => "writes_stopped",
            Self::Forbidden { .. } => "forbidden",
        }
    }

    /// Whether it may be over in a moment, as a failover is.
    pub(super) fn may_pass_soon(&self) -> bool {
        matches!(self, Self::Replica)
    }
}

impl Live {
    /// Whether a bet could be placed as far as Redis is concerned, in one round trip.
    ///
    /// # Errors
    /// [`LiveError::Full`], [`LiveError::Unfit`] with the reason, or [`LiveError::Unreachable`].
    pub async fn fitness(&self) -> Result<(), LiveError> {
        let mut script = scripts::CHECK_RIGHTS.on(&[]);
        for (keys, commands) in NEEDED {
            for key in keys.split(' ') {
                for command in commands {
                    script.arg(*command).arg(key);
                }
            }
        }
        let mut reply = self.run_script("permissions", &script).await?;
        reply.text()?;
        let mut denied = Vec::new();
        while let Ok(Some(what)) = reply.next_text() {
            denied.push(what);
        }
        if denied.is_empty() {
            return Ok(());
        }
        Err(LiveError::Unfit(Unfit::Forbidden { what: denied.join(", ") }))
    }
}

/// Whether a version is one that serves. Valkey names the Redis that it is compatible with, 7.2.4.
pub fn is_recent(version: &str) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= OLDEST
}

/// What an error of Redis says about Redis as a whole.
pub(super) fn error_of(error: &RedisError) -> LiveError {
    let text = || error.detail().unwrap_or_default().to_owned();
    match error.code() {
        Some("OOM") => LiveError::Full,
        Some("MISCONF") => LiveError::Unfit(Unfit::WritesStopped { reason: text() }),
        Some("NOPERM") => LiveError::Unfit(Unfit::Forbidden { what: text() }),
        Some("READONLY") => LiveError::Unfit(Unfit::Replica),
        _ => LiveError::Unreachable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::{NEEDED, is_recent};

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(["7.0.0", "7.0.15", "7.2.4", "10.1.0", "255.255.255"].into_iter().all(is_recent));
        assert!(!["6.2.14", "6.0.16", "5.9.9", "", "x.y"].into_iter().any(is_recent));
    }

    #[test]
    fn every_command_of_the_scripts_is_asked_for() {
        for script in include_dir() {
            for call in script.split("call('").skip(1) {
                let command = call.split('\'').next().unwrap_or_default();
                assert!(NEEDED.iter().any(|(_, commands)| commands.contains(&command)), "{command}");
            }
        }
    }

    fn include_dir() -> Vec<String> {
        let scripts = ["lua", "lua/shared"].into_iter().flat_map(|place| {
            let place = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(place);
            std::fs::read_dir(place).expect("a directory")
        });
        let files = scripts.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_file());
        files.map(|path| std::fs::read_to_string(path).expect("a script")).collect()
    }
}
