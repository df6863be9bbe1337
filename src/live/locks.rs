//! Locks that spare work and never guard money: `SET token NX EX`, released by compare-and-delete, so that a holder who outlived its
//! lock leaves the next one's alone. With locks switched off every request for one is granted.

use chrono::NaiveDate;
use redis::Cmd;

use super::{Live, LiveError, keys, scripts};
use crate::game::player::PlayerId;

impl Live {
    /// Takes the lock `name` (see [`keys`]) for `ttl_s` seconds. `true` also when this token holds it already.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`]; the lock may have been taken.
    pub async fn acquire(&self, name: &str, token: &str, ttl_s: u64) -> Result<bool, LiveError> {
        if !self.locks_enabled {
            return Ok(true);
        }
        let mut script = scripts::ACQUIRE_LOCK.on(&[name]);
        script.arg(token).arg(ttl_s);
        let mut reply = self.run_script(name, &script).await?;
        Ok(reply.text()? == "acquired")
    }

    /// Gives the lock back if the token still holds it. `false`: it had ended, and may be somebody else's.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`]; the lock then ends by itself.
    pub async fn release(&self, name: &str, token: &str) -> Result<bool, LiveError> {
        if !self.locks_enabled {
            return Ok(true);
        }
        let mut script = scripts::RELEASE_LOCK.on(&[name]);
        script.arg(token);
        let mut reply = self.run_script(name, &script).await?;
        Ok(reply.text()? == "released")
    }

    /// Gives a bet lock back, for a bet that ends before its session opens. `false`: it had ended.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`]; the lock then ends by itself.
    pub async fn release_bet_lock(&self, player: &PlayerId, token: &str) -> Result<bool, LiveError> {
        self.release(&keys::bet_lock(player), token).await
    }

    /// The day on which a clean-up last ran; `None` when it is not known, and running again does no harm.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`].
    pub async fn last_run(&self, name: &str) -> Result<Option<NaiveDate>, LiveError> {
        let read: Result<Option<Vec<u8>>, LiveError> = self.connection.query(name, &Cmd::get(name)).await;
        let value = match read {
            Ok(Some(value)) => value,
            Ok(None) | Err(LiveError::Unreadable { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let day = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
        if day.is_none() {
            super::unreadable(name);
        }
        Ok(day)
    }

    /// Remembers for three days on which day a clean-up ran.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`].
    pub async fn set_last_run(&self, name: &str, day: NaiveDate) -> Result<(), LiveError> {
        self.connection
            .query(name, &Cmd::set_ex(name, day.to_string(), keys::LAST_RUN_TTL_S))
            .await
    }
}
