//! Everything that money and play depend on, as it stands at one moment: the record, the live rounds and the operator's
//! ledger. A request that was refused must leave all of it as it was.

use std::collections::{BTreeMap, BTreeSet};

use redis::AsyncCommands as _;
use serde_json::{Value, json};

use super::{World, wait_for};

/// The tables of the record; sessions, seeds and launch tokens among them.
const TABLES: [&str; 7] = [
    "agents",
    "players",
    "launch_tokens",
    "bets",
    "revealed_commitments",
    "outbox",
    "wallet_audit",
];

/// The keys of Redis that belong to a player. Locks are among them: a refusal leaves none behind.
const PLAYER_KEYS: [&str; 3] = ["gameSession:*", "bet-lock:*", "player:*"];

/// What belongs to somebody: to an agent with all its players, or to one player of it.
#[derive(Clone, Debug)]
pub struct Belongings {
    pub agent_id: String,
    pub user_id: Option<String>,
}

impl Belongings {
    /// The picture without what is theirs. Commitments name nobody, and are left out too.
    pub fn taken_out_of(&self, mut parts: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
        parts.remove("revealed_commitments");
        let bets: BTreeSet<i64> = rows(&parts["bets"])
            .filter(|bet| self.owns_row(bet))
            .filter_map(|bet| bet["sequence"].as_i64())
            .collect();
        let is_their_bet = |row: &Value| row["sequence"].as_i64().is_some_and(|sequence| bets.contains(&sequence));
        for (part, content) in &mut parts {
            match content {
                Value::Array(rows) => rows.retain(|row| !is_their_bet(row) && !self.owns_row(row)),
                Value::Object(content) if part == "Redis" => content.retain(|key, _| !self.owns_key(key)),
                Value::Object(content) => content.values_mut().filter_map(Value::as_array_mut).for_each(|list| {
                    list.retain(|entry| self.user_id.is_some() && entry["userId"] != *self.user_id.as_deref().unwrap_or_default());
                }),
                _ => {}
            }
        }
        parts
    }

    /// A row of theirs. One without a player is the agent's, and then everybody's who plays there: an audited enquiry.
    fn owns_row(&self, row: &Value) -> bool {
        let is_the_players = match (&self.user_id, row["user_id"].as_str()) {
            (Some(ours), Some(user_id)) => ours == user_id,
            (Some(_), None) => row["sequence"].is_null() && row.get("action").is_some(),
            (None, _) => true,
        };
        row["agent_id"] == *self.agent_id && is_the_players
    }

    fn owns_key(&self, key: &str) -> bool {
        let user_id = self.user_id.as_deref().unwrap_or_default();
        ["-", ":"]
            .iter()
            .any(|between| key.ends_with(&format!("{user_id}{between}{}", self.agent_id)))
    }
}

fn rows(part: &Value) -> impl Iterator<Item = &Value> {
    part.as_array().into_iter().flatten()
}

impl World {
    /// The whole picture, by the name of its parts.
    pub async fn snapshot(&self) -> BTreeMap<String, Value> {
        let rows = TABLES.map(|table| format!("'{table}', (select coalesce(json_agg(t order by t::text), '[]') from {table} t)"));
        let record = self.ask_database(&format!("json_build_object({})", rows.join(", "))).await;
        let mut parts: BTreeMap<String, Value> = serde_json::from_str(&record).expect("JSON");
        parts.insert("Redis".to_owned(), json!(self.player_keys().await));
        parts.insert("the operator's ledger".to_owned(), self.operator.ledger().await);
        parts
    }

    /// What Redis knows of players, without the rate counters: a refused request is a request too.
    async fn player_keys(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let mut connection = self.redis_connection().await;
        let mut names: Vec<String> = Vec::new();
        for pattern in PLAYER_KEYS {
            let mut found = connection.scan_match(pattern).await.expect("Redis answers");
            while let Some(name) = found.next_item().await {
                names.push(name.expect("a name"));
            }
        }
        let mut known = BTreeMap::new();
        for name in names {
            let fields: BTreeMap<String, String> = if name.starts_with("bet-lock:") {
                BTreeMap::from([("held".to_owned(), "yes".to_owned())])
            } else {
                connection.hgetall(&name).await.expect("a hash")
            };
            let is_counter = |field: &str| field.ends_with("Window") || field.ends_with("Left");
            if fields.get("isActive").is_some_and(|active| active == "0") {
                continue; // It ended, and goes by itself within a minute.
            }
            known.insert(name, fields.into_iter().filter(|(field, _)| !is_counter(field)).collect());
        }
        known
    }

    /// Waits until nothing is under way any more: every call that is owed is made, and every session of a round that has ended
    /// is retired. Rounds may be open.
    pub async fn wait_until_quiet(&self) {
        let owed = "select concat_ws(', ',
            (select string_agg(state || ' ' || bet_id, ', ') from bets where state not in ('PLACED', 'WON', 'LOST', 'VOIDED', 'CANCELLED', 'REJECTED')),
            (select string_agg(action || ' ' || sequence, ', ') from outbox where state = 'open'))";
        wait_for("nothing is under way", async || {
            let owed = self.ask_database(owed).await;
            if !owed.is_empty() {
                return Err(owed);
            }
            self.session_to_retire()
                .await
                .map_or(Ok(()), |key| Err(format!("{key} is not retired")))
        })
        .await;
    }

    /// A session that has ended and was not cut short yet.
    async fn session_to_retire(&self) -> Option<String> {
        let mut connection = self.redis_connection().await;
        let mut names: Vec<String> = Vec::new();
        let mut found = connection.scan_match("gameSession:*").await.expect("Redis answers");
        while let Some(name) = found.next_item().await {
            names.push(name.expect("a name"));
        }
        drop(found);
        for name in names {
            let active: Option<String> = connection.hget(&name, "isActive").await.expect("a hash");
            let seconds: i64 = connection.ttl(&name).await.expect("Redis answers");
            if active.as_deref() == Some("0") && seconds > 60 {
                return Some(name);
            }
        }
        None
    }
}
