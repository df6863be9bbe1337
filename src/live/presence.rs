//! Who is here: each agent's signed-in users by their last activity, so that the counts shown are real.

use redis::cmd;

use super::{Live, LiveError, keys};
use crate::game::player::{AgentId, UserId};

impl Live {
    /// Notes when users were last active; an earlier time never replaces a later one.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`]; [`LiveError::Unreadable`] when the key holds something else.
    pub async fn touch_users(&self, agent: &AgentId, users: &[(UserId, u64)]) -> Result<(), LiveError> {
        if users.is_empty() {
            return Ok(());
        }
        let key = keys::user_sessions(agent);
        let mut command = cmd("ZADD");
        command.arg(&key).arg("GT");
        for (user, active_unix_ms) in users {
            command.arg(*active_unix_ms).arg(user.as_str());
        }
        self.connection.query(&key, &command).await
    }

    /// Forgets users who signed out.
    ///
    /// # Errors
    /// As [`Live::touch_users`].
    pub async fn remove_users(&self, agent: &AgentId, users: &[UserId]) -> Result<(), LiveError> {
        if users.is_empty() {
            return Ok(());
        }
        let key = keys::user_sessions(agent);
        let mut command = cmd("ZREM");
        command.arg(&key);
        for user in users {
            command.arg(user.as_str());
        }
        self.connection.query(&key, &command).await
    }

    /// Forgets users who were last active before the given Unix time; returns how many.
    ///
    /// # Errors
    /// As [`Live::touch_users`].
    pub async fn forget_idle_users(&self, agent: &AgentId, before_unix_ms: u64) -> Result<u64, LiveError> {
        let key = keys::user_sessions(agent);
        let mut command = cmd("ZREMRANGEBYSCORE");
        command.arg(&key).arg("-inf").arg(format!("({before_unix_ms}"));
        self.connection.query(&key, &command).await
    }

    /// How many users were active at or after the given Unix time.
    ///
    /// # Errors
    /// As [`Live::touch_users`].
    pub async fn count_users(&self, agent: &AgentId, since_unix_ms: u64) -> Result<u64, LiveError> {
        let key = keys::user_sessions(agent);
        let mut command = cmd("ZCOUNT");
        command.arg(&key).arg(since_unix_ms).arg("+inf");
        self.connection.query(&key, &command).await
    }
}
