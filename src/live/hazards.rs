//! The public road of the current epoch. Which epoch that is, Redis's clock decides inside the publishing script, so a server with a
//! wrong clock can neither reveal a link early nor put an old one in its place.

use serde::{Deserialize, Serialize};

use super::reply::Reply;
use super::{Live, LiveError, keys, scripts};
use crate::game::difficulty::Difficulty;
use crate::game::hazards::EPOCH_MS;

/// What everybody may know of an epoch's road.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HazardRecord {
    /// Whose road it is.
    pub difficulty: Difficulty,
    /// The columns with a visible hazard.
    pub hazards: Vec<u8>,
    /// Unix time in units of five seconds.
    pub epoch: u64,
    /// The epoch's link of the day's chain, 64 hexadecimal characters.
    pub hazard_seed: String,
    /// The epoch before.
    pub previous_epoch: u64,
    /// Its link.
    pub previous_hazard_seed: String,
    /// When the epoch began, RFC 3339.
    pub last_refresh: String,
    /// When the next one begins, RFC 3339.
    pub next_refresh: String,
}

/// What became of a road that was to be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publish {
    /// It is public now.
    Published,
    /// Somebody else had published the same epoch.
    Already,
    /// It is not the epoch of Redis's clock, or a later one is public.
    WrongEpoch {
        /// Redis's clock.
        now_unix_ms: u64,
    },
}

impl Live {
    /// Publishes the records of `epoch`, one JSON text for each difficulty, all together or none, for 7.5 seconds.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`].
    pub async fn publish_hazards(&self, epoch: u64, records: &[(Difficulty, String)]) -> Result<Publish, LiveError> {
        let keys: Vec<String> = records.iter().map(|(difficulty, _)| keys::hazards(*difficulty)).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let mut script = scripts::PUBLISH_HAZARDS.on(&keys);
        script.arg(epoch).arg(EPOCH_MS).arg(keys::HAZARDS_TTL_MS);
        for (_, record) in records {
            script.arg(record);
        }
        let mut reply = self.run_script("hazards", &script).await?;
        match reply.text()?.as_str() {
            "published" => Ok(Publish::Published),
            "already" => Ok(Publish::Already),
            "wrong_epoch" => Ok(Publish::WrongEpoch {
                now_unix_ms: reply.parsed()?,
            }),
            _ => Err(reply.unreadable()),
        }
    }

    /// The public road of a difficulty and Redis's time in Unix milliseconds. `None`: missing or unreadable, publish it again.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`].
    pub async fn read_hazards(&self, difficulty: Difficulty) -> Result<(Option<HazardRecord>, u64), LiveError> {
        let key = keys::hazards(difficulty);
        let mut reply = self.run_script(&key, &scripts::READ_HAZARDS.on(&[&key])).await?;
        let now_unix_ms = reply.parsed()?;
        Ok((record_from(&key, &mut reply)?, now_unix_ms))
    }
}

/// Decodes a record (empty: none) and the flag that says whether the key held something else.
pub(super) fn record_from(key: &str, reply: &mut Reply<'_>) -> Result<Option<HazardRecord>, LiveError> {
    let record = reply.bytes()?;
    let other_type = reply.flag()?;
    if record.is_empty() && !other_type {
        return Ok(None);
    }
    let parsed = serde_json::from_slice(&record).ok();
    if parsed.is_none() {
        super::unreadable(key);
    }
    Ok(parsed)
}
