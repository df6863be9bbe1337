//! What PostgreSQL really did for the product: for a while it explains every statement into its log (`auto_explain`), with the
//! product's own text and arguments, the statements of triggers and of background jobs included. Nothing here is copied from the
//! product, so nothing can differ from it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::Failure;
use crate::own_set::{DATABASE, OwnSet};

/// For the set's PostgreSQL: the explaining library, switched off at first, and what makes filling quick.
pub const SETTINGS: [(&str, &str); 11] = [
    ("session_preload_libraries", "auto_explain"),
    ("auto_explain.log_analyze", "on"),
    ("auto_explain.log_buffers", "on"),
    ("auto_explain.log_nested_statements", "on"),
    ("auto_explain.log_format", "json"),
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    ("max_wal_size", "4GB"),
    ("maintenance_work_mem", "512MB"),
    ("shared_buffers", "512MB"),
    ("log_checkpoints", "off"),
];
/// The tables that grow for ever. None of them is read as a whole.
const GROWING: [&str; 4] = ["bets", "outbox", "wallet_audit", "revealed_commitments"];
/// The statements that must have been seen, by what only they contain.
const EXPECTED: [(&str, &str); 7] = [
    ("bet insert", "insert into bets (bet_id"),
    ("history page", "and nonce < $3 order by nonce desc limit $4"),
    ("retry claim", "for update skip locked"),
    ("sweep", "where is_open and (agent_id, user_id, game_code) > ($1, $2, $3)"),
    ("getTransactionStatus", "from bets where bet_id = $1 and agent_id = $2"),
    ("end of a round", "message, attempts, lease_token, leased_until, may_have_left)"),
    ("settled", "with done as ("),
];

/// One statement of the product at one size of the table.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// How many bets there were.
    pub rows: u64,
    /// Its name among those that must be seen.
    pub name: Option<&'static str>,
    pub text: String,
    pub runs: u64,
    pub slowest_ms: f64,
    /// Blocks that its slowest run touched.
    pub blocks: u64,
    /// How it reached each table: "Index Scan of bets by bets_one_open".
    pub ways: BTreeSet<String>,
    /// Growing tables that it read as a whole.
    pub read_whole: BTreeSet<String>,
    /// The most rows that one scan of it read and threw away.
    pub thrown_away: u64,
    /// The plan of its slowest run.
    pub plan: Value,
}

/// Switches the explanations on or off for all connections.
///
/// # Errors
/// With PostgreSQL's message.
pub fn switch(set: &OwnSet, on: bool) -> Result<(), Failure> {
    let duration = if on { "0" } else { "-1" };
    let postgres = set.postgres();
    postgres.execute(DATABASE, &format!("alter system set auto_explain.log_min_duration = {duration}"))?;
    postgres.execute(DATABASE, "select pg_reload_conf()")?;
    Ok(())
}

/// The statements that were explained and touch a growing table.
///
/// # Errors
/// When the log cannot be read, or a statement that must have run is not in it.
pub fn collect(set: &OwnSet, rows: u64) -> Result<Vec<Statement>, Failure> {
    let log = std::fs::read(set.postgres().directory().join("log"))?;
    let mut statements: BTreeMap<String, Statement> = BTreeMap::new();
    for explained in explanations(&String::from_utf8_lossy(&log)) {
        let (Some(text), plan) = (explained["Query Text"].as_str(), &explained["Plan"]) else {
            continue;
        };
        let mut found = Found::default();
        found.walk(plan);
        // The tool's own questions come from psql and have no arguments.
        if found.ways.is_empty() || text.contains("auto_explain") || text.contains("from outbox where done_at is null") {
            continue;
        }
        let ms = plan["Actual Total Time"].as_f64().unwrap_or_default();
        let seen = statements.entry(text.to_owned()).or_insert_with(|| Statement {
            rows,
            name: EXPECTED.iter().find(|(_, part)| text.contains(part)).map(|(name, _)| *name),
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
            runs: 0,
            slowest_ms: -1.0,
            blocks: 0,
            ways: BTreeSet::new(),
            read_whole: BTreeSet::new(),
            thrown_away: 0,
            plan: Value::Null,
        });
        seen.runs += 1;
        seen.ways.extend(found.ways);
        seen.read_whole.extend(found.read_whole);
        seen.thrown_away = seen.thrown_away.max(found.thrown_away);
        if ms > seen.slowest_ms {
            let blocks = |name: &str| plan[name].as_u64().unwrap_or_default();
            seen.slowest_ms = ms;
            seen.blocks = blocks("Shared Hit Blocks") + blocks("Shared Read Blocks");
            seen.plan = plan.clone();
        }
    }
    let missing = EXPECTED
        .iter()
        .find(|(name, _)| !statements.values().any(|statement| statement.name == Some(*name)));
    if let Some((name, part)) = missing {
        return Err(format!("{name}: no explained statement contains {part:?}").into());
    }
    let mut statements: Vec<Statement> = statements.into_values().collect();
    statements.sort_by_key(|statement| (statement.name.is_none(), statement.name));
    Ok(statements)
}

/// The plans in a log: each is JSON on lines that begin with a tab.
fn explanations(log: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut lines = log.lines().peekable();
    while let Some(line) = lines.next() {
        if !(line.contains("LOG:  duration:") && line.ends_with("plan:")) {
            continue;
        }
        let mut json = String::new();
        while let Some(line) = lines.next_if(|line| line.starts_with('\t')) {
            json.push_str(line);
        }
        found.extend(serde_json::from_str::<Value>(&json).ok());
    }
    found
}

/// What is of interest in a plan.
#[derive(Default)]
struct Found {
    ways: BTreeSet<String>,
    read_whole: BTreeSet<String>,
    thrown_away: u64,
}

impl Found {
    fn walk(&mut self, plan: &Value) {
        let text = |name: &str| plan[name].as_str();
        let node = text("Node Type").unwrap_or_default();
        match (text("Relation Name"), text("Index Name")) {
            (Some(table), index) if GROWING.contains(&table) && node != "ModifyTable" => {
                let by = index.map(|index| format!(" by {index}")).unwrap_or_default();
                self.ways.insert(format!("{node} of {table}{by}"));
                self.thrown_away = self.thrown_away.max(plan["Rows Removed by Filter"].as_u64().unwrap_or(0));
                if node == "Seq Scan" {
                    self.read_whole.insert(table.to_owned());
                }
            }
            (Some(table), _) if GROWING.contains(&table) => {
                let operation = text("Operation").unwrap_or("Change");
                self.ways.insert(format!("{operation} of {table}"));
            }
            (None, Some(index)) => {
                self.ways.insert(format!("{node} by {index}"));
            }
            _ => {}
        }
        for below in plan["Plans"].as_array().into_iter().flatten() {
            self.walk(below);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_found_in_a_log_and_its_scan_in_the_plan() {
        let log = "2026-01-01 LOG:  start\n2026-01-01 [1] LOG:  duration: 0.1 ms  plan:\n\t{\n\t  \"Query Text\": \"select\",\n\t  \
                   \"Plan\": {\"Node Type\": \"Limit\", \"Plans\": [{\"Node Type\": \"Seq Scan\", \"Relation Name\": \"bets\"}]}\n\t}\nmore";
        let found = explanations(log);
        assert_eq!(found.len(), 1);
        let mut in_plan = Found::default();
        in_plan.walk(&found[0]["Plan"]);
        assert!(in_plan.ways.contains("Seq Scan of bets") && in_plan.read_whole.contains("bets"));
    }
}
