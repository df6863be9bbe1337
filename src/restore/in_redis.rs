//! What Redis still knows: ends that were decided, and how far nonces, fencing numbers and the mark had come. After that all of it
//! goes, because it belongs to bets and seeds that the record does not have any more.

use std::collections::HashMap;

use redis::RedisError;

use crate::audit::{Entry, RedisScan};
use crate::game::player::{AgentId, PlayerId, UserId};
use crate::game::round::EndReason;
use crate::live::Session;

/// Everything of a player or of a round; what the jobs remember of themselves stays. The mark goes too: the restored record has
/// another one.
const REMOVED: [&str; 8] = [
    "gameSession:",
    "fairness:",
    "player:",
    "bet-lock:",
    "retry-job-lock:",
    "user-sessions:",
    "hazards-",
    "record-mark",
];

/// What Redis tells of a player.
#[derive(Debug, Default)]
pub struct Traces {
    /// The highest nonce of a round.
    pub nonce: Option<i64>,
    /// The currency of a round; `None`: no round is left, only the copy of the player's standing.
    pub currency: Option<String>,
}

/// What is of use.
#[derive(Debug, Default)]
pub struct InRedis {
    /// Sessions that had ended, by the id of their round.
    pub ended: HashMap<String, Session>,
    /// All players of whom there is anything.
    pub players: HashMap<PlayerId, Traces>,
    /// The highest fencing number.
    pub highest_sequence: i64,
}

impl InRedis {
    /// Reads all keys.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn read(client: &redis::Client) -> Result<Self, RedisError> {
        let mut known = Self::default();
        let mut scan = RedisScan::connect(client).await?;
        while let Some(batch) = scan.next().await? {
            batch.entries.iter().for_each(|entry| known.look_at(entry));
        }
        Ok(known)
    }

    /// The highest nonce of a player that Redis tells of.
    pub fn nonce_of(&self, player: &PlayerId) -> Option<i64> {
        self.players.get(player)?.nonce
    }

    fn look_at(&mut self, entry: &Entry) {
        let key = String::from_utf8_lossy(&entry.key);
        let fields = fields_of(entry);
        if let Some(rest) = key.strip_prefix("gameSession:") {
            self.look_at_session(rest, &fields);
        } else if let Some(rest) = key.strip_prefix("player:") {
            self.traces_of(rest);
        } else if key == "record-mark" {
            self.note_sequence(fields.get("sequence").and_then(|sequence| sequence.parse().ok()));
        }
    }

    fn look_at_session(&mut self, rest: &str, fields: &HashMap<String, String>) {
        let sequence = fields.get("sequence").and_then(|sequence| sequence.parse().ok());
        self.note_sequence(sequence);
        if let Some(traces) = self.traces_of(rest) {
            let pinned: serde_json::Value = fields
                .get("round")
                .and_then(|round| serde_json::from_str(round).ok())
                .unwrap_or_default();
            traces.nonce = traces.nonce.max(pinned["nonce"].as_i64());
            traces.currency = pinned["currency"].as_str().map(ToOwned::to_owned).or(traces.currency.take());
        }
        if let Some(session) = ended_session(fields) {
            self.ended.insert(session.round_id.clone(), session);
        }
    }

    /// The traces of the player whom `{userId}-{agentId}` names.
    fn traces_of(&mut self, name: &str) -> Option<&mut Traces> {
        let (user_id, agent_id) = name.split_once('-')?;
        let player = PlayerId {
            agent_id: AgentId::parse(agent_id).ok()?,
            user_id: UserId::parse(user_id).ok()?,
        };
        Some(self.players.entry(player).or_default())
    }

    fn note_sequence(&mut self, sequence: Option<i64>) {
        self.highest_sequence = self.highest_sequence.max(sequence.unwrap_or_default());
    }
}

/// Removes all that is of players and rounds. Returns how many keys that were.
///
/// # Errors
/// When Redis does not answer.
pub async fn remove(client: &redis::Client) -> Result<u64, RedisError> {
    let mut scan = RedisScan::connect(client).await?;
    let mut removed = 0;
    while let Some(batch) = scan.next().await? {
        let keys: Vec<&[u8]> = batch
            .entries
            .iter()
            .map(|entry| entry.key.as_slice())
            .filter(|key| REMOVED.iter().any(|prefix| key.starts_with(prefix.as_bytes())))
            .collect();
        removed += scan.remove(&keys).await?;
    }
    Ok(removed)
}

fn fields_of(entry: &Entry) -> HashMap<String, String> {
    let texts: Vec<String> = entry.texts.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect();
    let (pairs, _) = texts.as_chunks::<2>();
    pairs.iter().map(|[name, value]| (name.clone(), value.clone())).collect()
}

/// A session that says how it ended; one that is open or cannot be read decides nothing.
fn ended_session(fields: &HashMap<String, String>) -> Option<Session> {
    if fields.get("isActive")? != "0" {
        return None;
    }
    Some(Session {
        sequence: fields.get("sequence")?.parse().ok()?,
        round_id: fields.get("roundId")?.clone(),
        round_json: Some(fields.get("round")?.clone()),
        current_step: fields.get("currentStep")?.parse().ok()?,
        is_active: false,
        is_win: fields.get("isWin").is_some_and(|win| win == "1"),
        end: Some(EndReason::parse(fields.get("endReason")?).ok()?),
        first_collision: None,
        max_lane: fields.get("maxLane")?.parse().ok()?,
        restored: false,
    })
}
