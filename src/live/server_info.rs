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
    /// Memory in use, of which nothing is counted against the limit that only buffers writes for the file and replicas.
    pub used_memory_bytes: Option<u64>,
    /// Whether the last snapshot was written.
    pub snapshot_ok: Option<bool>,
    /// Whether the last write to the append-only file succeeded.
    pub append_only_ok: Option<bool>,
    /// The server's clock.
    pub now_unix_ms: u64,
}

impl ServerInfo {
    /// How much of the limit is in use, 1.0 for all of it; `None` without a limit.
    pub fn memory_ratio(&self) -> Option<f64> {
        let limit = self.maxmemory_bytes.filter(|limit| *limit > 0)?;
        Some(self.used_memory_bytes? as f64 / limit as f64)
    }
}

/// What is counted against `maxmemory`.
pub fn used_bytes(info: &InfoDict) -> Option<u64> {
    let buffers: u64 = info.get("mem_not_counted_for_evict").unwrap_or(0);
    Some(info.get::<u64>("used_memory")?.saturating_sub(buffers))
}

/// From this part of the memory limit on, people are warned.
pub const MEMORY_WARNING_RATIO: f64 = 0.8;

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
            used_memory_bytes: used_bytes(&info),
            snapshot_ok: info.get::<String>("rdb_last_bgsave_status").map(|status| status == "ok"),
            append_only_ok: info.get::<String>("aof_last_write_status").map(|status| status == "ok"),
            now_unix_ms: unix_ms(time),
        })
    }
}

impl Live {
    /// Whether a failed snapshot makes this server refuse all writes; `None` where our user may not ask (CONFIG is not needed otherwise).
    pub async fn stops_after_failed_snapshot(&self) -> Option<bool> {
        const NAME: &str = "stop-writes-on-bgsave-error";
        let answer: Result<Vec<String>, LiveError> = self.connection.query("CONFIG", cmd("CONFIG").arg("GET").arg(NAME)).await;
        answer.ok()?.into_iter().nth(1).map(|value| value == "yes")
    }
}

fn unix_ms((seconds, microseconds): (u64, u64)) -> u64 {
    seconds.saturating_mul(1000).saturating_add(microseconds / 1000)
}
