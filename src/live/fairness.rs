//! The display copy of a player's seeds. It holds no server seed, is written after the commit that changed them and never goes back to
//! an earlier nonce; no bet reads it.

use std::collections::HashMap;

use redis::Cmd;

use super::{Live, LiveError, keys, scripts};
use crate::game::player::PlayerId;

/// What a player may see of the seed pair in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FairnessDisplay {
    /// The player's part.
    pub user_seed: String,
    /// The commitment of the next bet.
    pub hashed_server_seed: String,
    /// The commitment of the bet after it.
    pub next_hashed_server_seed: String,
    /// The nonce of the next bet.
    pub nonce: u64,
}

impl FairnessDisplay {
    /// The ARGV in the order in which `lua/shared/fairness.lua` reads them.
    pub(super) fn add_to(&self, script: &mut scripts::ScriptCall) {
        script
            .arg(self.nonce)
            .arg(&self.user_seed)
            .arg(&self.hashed_server_seed)
            .arg(&self.next_hashed_server_seed);
        script.arg(keys::FAIRNESS_TTL_S);
    }

    fn from_fields(mut fields: HashMap<String, String>) -> Option<Self> {
        Some(Self {
            user_seed: fields.remove("userSeed")?,
            hashed_server_seed: fields.remove("hashedServerSeed")?,
            next_hashed_server_seed: fields.remove("nextHashedServerSeed")?,
            nonce: fields.remove("nonce")?.parse().ok()?,
        })
    }
}

impl Live {
    /// Writes the display copy for seven days, unless one with a later nonce is there.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`].
    pub async fn write_fairness(&self, player: &PlayerId, display: &FairnessDisplay) -> Result<(), LiveError> {
        let key = keys::fairness(player);
        let mut script = scripts::WRITE_FAIRNESS.on(&[&key]);
        display.add_to(&mut script);
        self.run_script(&key, &script).await?;
        Ok(())
    }

    /// The display copy, `None` when it is missing or cannot be read and must be written again from PostgreSQL.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`].
    pub async fn read_fairness(&self, player: &PlayerId) -> Result<Option<FairnessDisplay>, LiveError> {
        let key = keys::fairness(player);
        let read: Result<HashMap<Vec<u8>, Vec<u8>>, LiveError> = self.connection.query(&key, &Cmd::hgetall(&key)).await;
        let fields = match read {
            Err(LiveError::Unreadable { .. }) => return Ok(None),
            other => other?,
        };
        if fields.is_empty() {
            return Ok(None);
        }
        let texts = fields
            .into_iter()
            .filter_map(|(name, value)| Some((String::from_utf8(name).ok()?, String::from_utf8(value).ok()?)));
        let display = FairnessDisplay::from_fields(texts.collect());
        if display.is_none() {
            super::unreadable(&key);
        }
        Ok(display)
    }
}
