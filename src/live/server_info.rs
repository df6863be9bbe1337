//! What the start-up check and `doctor` want to know about the Redis server itself.

use redis::{InfoDict, cmd, pipe};

use super::{Live, LiveError};

/// How the server is set up. A field is empty or `None` when the server does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerInfo {
    /// For example `7.0.15`.
    pub version: String,
    /// `noeviction` is right; anything else may evict sessions of open rounds once `maxmemory_bytes` is reached.
    pub maxmemory_policy: String,
    /// The memory limit, 0 for none.
    pub maxmemory_bytes: Option<u64>,
    /// Whether writes go to an append-only file, so that a restart keeps open rounds.
    pub append_only: Option<bool>,
    /// Memory in use.
    pub used_memory_bytes: Option<u64>,
    /// The server's clock.
    pub now_unix_ms: u64,
}

impl Live {
    /// Whether Redis answers.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`].
    pub async fn ping(&self) -> Result<(), LiveError> {
        self.connection.query("PING", &cmd("PING")).await
    }

    /// Redis's time in Unix milliseconds.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`].
    pub async fn now_unix_ms(&self) -> Result<u64, LiveError> {
        let time: (u64, u64) = self
            .connection
            .run("TIME", |mut counted| async move { cmd("TIME").query_async(&mut counted).await })
            .await?;
        Ok(unix_ms(time))
    }

    /// How the server is set up, in one round trip.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`].
    pub async fn server_info(&self) -> Result<ServerInfo, LiveError> {
        let asked = self.connection.run("INFO", |mut counted| async move {
            pipe()
                .cmd("INFO")
                .cmd("TIME")
                .query_async::<(InfoDict, (u64, u64))>(&mut counted)
                .await
        });
        let (info, time) = asked.await?;
        Ok(ServerInfo {
            version: info.get("redis_version").unwrap_or_default(),
            maxmemory_policy: info.get("maxmemory_policy").unwrap_or_default(),
            maxmemory_bytes: info.get("maxmemory"),
            append_only: info.get::<u8>("aof_enabled").map(|enabled| enabled == 1),
            used_memory_bytes: info.get("used_memory"),
            now_unix_ms: unix_ms(time),
        })
    }
}

fn unix_ms((seconds, microseconds): (u64, u64)) -> u64 {
    seconds.saturating_mul(1000).saturating_add(microseconds / 1000)
}
