//! Who plays: an operator's player, named by the operator (the agent) and the name that the operator gave.
//!
//! The allowed characters are those of the operators' protocol. They are what makes an identity safe to put into a key, a
//! header or a log line without quoting.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text names nobody.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlayerError {
    #[error("an agent id is 1 to 50 characters of A-Z, a-z, 0-9 and _")]
    AgentId,
    #[error("a user id is 1 to 21 characters of 0-9 and a-z")]
    UserId,
    #[error("a player's status is active, suspended or locked")]
    Status,
}

/// An operator: 1 to 50 characters of `[A-Za-z0-9_]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentId(String);

impl AgentId {
    /// Reads an agent id, or refuses it.
    pub fn parse(text: &str) -> Result<AgentId, PlayerError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if is_name(text, 50, is_allowed) {
            Ok(AgentId(text.to_owned()))
        } else {
            Err(PlayerError::AgentId)
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An operator's name for a player: 1 to 21 characters of `[0-9a-z]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(String);

impl UserId {
    /// Reads a user id, or refuses it.
    pub fn parse(text: &str) -> Result<UserId, PlayerError> {
        let is_allowed = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
        if is_name(text, 21, is_allowed) {
            Ok(UserId(text.to_owned()))
        } else {
            Err(PlayerError::UserId)
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_name(text: &str, longest: usize, is_allowed: impl Fn(u8) -> bool) -> bool {
    (1..=longest).contains(&text.len()) && text.bytes().all(is_allowed)
}

impl fmt::Display for AgentId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for AgentId {
    type Err = PlayerError;
    fn from_str(text: &str) -> Result<AgentId, PlayerError> {
        AgentId::parse(text)
    }
}

impl FromStr for UserId {
    type Err = PlayerError;
    fn from_str(text: &str) -> Result<UserId, PlayerError> {
        UserId::parse(text)
    }
}

impl TryFrom<String> for AgentId {
    type Error = PlayerError;
    fn try_from(text: String) -> Result<AgentId, PlayerError> {
        AgentId::parse(&text)
    }
}

impl TryFrom<String> for UserId {
    type Error = PlayerError;
    fn try_from(text: String) -> Result<UserId, PlayerError> {
        UserId::parse(&text)
    }
}

impl From<AgentId> for String {
    fn from(agent_id: AgentId) -> String {
        agent_id.0
    }
}

impl From<UserId> for String {
    fn from(user_id: UserId) -> String {
        user_id.0
    }
}

/// One player at one operator. The same user name at another operator is another player.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlayerId {
    pub agent_id: AgentId,
    pub user_id: UserId,
}

/// Whether a player may begin a round. Whatever it says, an open round may be finished.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlayerStatus {
    Active,
    Suspended,
    Locked,
}

impl PlayerStatus {
    /// The status as it is stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            PlayerStatus::Active => "active",
            PlayerStatus::Suspended => "suspended",
            PlayerStatus::Locked => "locked",
        }
    }

    /// Reads a stored status, or refuses it.
    pub fn parse(text: &str) -> Result<PlayerStatus, PlayerError> {
        [PlayerStatus::Active, PlayerStatus::Suspended, PlayerStatus::Locked]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(PlayerError::Status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_keep_to_their_alphabet_and_length() {
        assert!(AgentId::parse(&"A_9z".repeat(12)).is_ok());
        assert!(UserId::parse(&"a".repeat(21)).is_ok());
        for text in ["", "a-b", "a b", "é", "a:b", &"a".repeat(51)] {
            assert_eq!(AgentId::parse(text), Err(PlayerError::AgentId), "{text:?}");
        }
        for text in ["", "A", "a_b", "a-b", "é", &"a".repeat(22)] {
            assert_eq!(UserId::parse(text), Err(PlayerError::UserId), "{text:?}");
        }
    }

    #[test]
    fn reading_json_applies_the_same_rules() {
        let player: PlayerId = serde_json::from_str(r#"{"agentId":"demo","userId":"alice1"}"#).unwrap();
        assert_eq!(player.user_id.as_str(), "alice1");
        assert!(serde_json::from_str::<UserId>(r#""Alice""#).is_err());
    }

    #[test]
    fn a_status_is_read_as_it_is_written() {
        for status in [PlayerStatus::Active, PlayerStatus::Suspended, PlayerStatus::Locked] {
            assert_eq!(PlayerStatus::parse(status.as_str()), Ok(status));
        }
        assert_eq!(PlayerStatus::parse("Active"), Err(PlayerError::Status));
    }
}
