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

/// What is of use.
#[derive(Debug, Default)]
pub struct InRedis {
    /// Sessions that had ended, by the id of their round.
    pub ended: HashMap<String, Session>,
    /// The highest nonce that a player was told of.
    nonces: HashMap<PlayerId, i64>,
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
        self.nonces.get(player).copied()
    }

    fn look_at(&mut self, entry: &Entry) {
        let key = String::from_utf8_lossy(&entry.key);
        let fields = fields_of(entry);
        if let Some(rest) = key.strip_prefix("gameSession:") {
            self.look_at_session(rest, &fields);
        } else if let Some(rest) = key.strip_prefix("fairness:") {
            // A copy for show, which servers of the first version wrote for seven days.
            let player = rest.split_once(':').and_then(|(user_id, agent_id)| player(agent_id, user_id));
            self.note_nonce(player, fields.get("nonce").and_then(|nonce| nonce.parse().ok()));
        } else if key == "record-mark" {
            self.note_sequence(fields.get("sequence").and_then(|sequence| sequence.parse().ok()));
        }
    }

    fn look_at_session(&mut self, rest: &str, fields: &HashMap<String, String>) {
        let sequence = fields.get("sequence").and_then(|sequence| sequence.parse().ok());
        self.note_sequence(sequence);
        let player = rest.split_once('-').and_then(|(user_id, agent_id)| player(agent_id, user_id));
        let pinned: Option<serde_json::Value> = fields.get("round").and_then(|round| serde_json::from_str(round).ok());
        self.note_nonce(player, pinned.and_then(|pinned| pinned["nonce"].as_i64()));
        if let Some(session) = ended_session(fields) {
            self.ended.insert(session.round_id.clone(), session);
        }
    }

    fn note_nonce(&mut self, player: Option<PlayerId>, nonce: Option<i64>) {
        if let (Some(player), Some(nonce)) = (player, nonce) {
            let highest = self.nonces.entry(player).or_default();
            *highest = nonce.max(*highest);
        }
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

fn player(agent_id: &str, user_id: &str) -> Option<PlayerId> {
    Some(PlayerId {
        agent_id: AgentId::parse(agent_id).ok()?,
        user_id: UserId::parse(user_id).ok()?,
    })
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
