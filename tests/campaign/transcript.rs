//! What players were told, held against what is in the record: no told win that is not in the row, and no amount differs.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;
use sqlx::FromRow;

use crate::world::World;

/// One answer.
#[derive(Clone, Debug)]
pub enum Told {
    Placed {
        bet_id: String,
        key: Option<String>,
        round: Value,
    },
    Standing {
        bet_id: String,
        lane: i64,
        win_minor: i64,
    },
    Ended {
        bet_id: String,
        reason: String,
        lane: i64,
        win_minor: i64,
        stake_minor: i64,
    },
    Declined {
        user_id: String,
        key: String,
    },
    Unconfirmed {
        user_id: String,
        key: String,
    },
}

/// Everything that the players of one world were told.
#[derive(Default)]
pub struct Transcript {
    told: Mutex<Vec<Told>>,
    /// The rounds as they were answered, for the audit.
    rounds: Mutex<Vec<Value>>,
    /// Answers that no careful client can make sense of.
    unexpected: Mutex<Vec<String>>,
    /// Whether Redis has lost writes: a round that nobody came back to may then end below what was shown.
    pub redis_lost_writes: AtomicBool,
    pub repeats: AtomicU64,
    pub walked_back: AtomicU64,
}

#[derive(FromRow)]
struct Row {
    bet_id: String,
    user_id: String,
    key: Option<String>,
    state: String,
    stake_minor: i64,
    payout_minor: i64,
    end_reason: Option<String>,
    last_lane: i16,
    nonce: i64,
    commitment: String,
}

/// What the comparison found.
#[derive(Default)]
pub struct Comparison {
    pub compared: u64,
    pub violations: Vec<String>,
    /// Rounds that ended at their deadline below what was shown, after Redis had lost writes.
    pub below_what_was_shown: u64,
    /// Bets whose player was told that the stake is on its way back although the debit had been recorded.
    pub unconfirmed_but_placed: u64,
    pub ended_by: BTreeMap<String, u64>,
    pub bets: u64,
}

impl Transcript {
    pub fn told(&self, told: Told) {
        self.told.lock().expect("not poisoned").push(told);
    }

    pub fn answered(&self, round: &Value) {
        self.rounds.lock().expect("not poisoned").push(round.clone());
    }

    /// Writes the answers as the audit reads them: a line each.
    pub fn write(&self, file: &Path) {
        let rounds = self.rounds.lock().expect("not poisoned");
        let lines: Vec<String> = rounds.iter().map(Value::to_string).collect();
        std::fs::write(file, lines.join("\n")).expect("the transcript can be written");
    }

    pub fn unexpected(&self, text: String) {
        self.unexpected.lock().expect("not poisoned").push(text);
    }

    /// What no careful client could make sense of since this was asked last.
    pub fn take_unexpected(&self) -> Vec<String> {
        std::mem::take(&mut self.unexpected.lock().expect("not poisoned"))
    }

    /// Holds all that was told so far against the rows.
    pub async fn compare(&self, world: &World) -> Comparison {
        let mut connection = world.connection().await;
        let rows: Vec<Row> = sqlx::query_as(
            "select bet_id::text, user_id, idempotency_key as key, state, stake_minor, payout_minor, end_reason, last_lane, nonce, commitment from bets",
        )
        .fetch_all(&mut connection)
        .await
        .expect("the rows");
        let by_id: HashMap<&str, &Row> = rows.iter().map(|row| (row.bet_id.as_str(), row)).collect();
        let by_key: HashMap<(&str, &str), &Row> = rows
            .iter()
            .filter_map(|row| Some(((row.user_id.as_str(), row.key.as_deref()?), row)))
            .collect();
        let mut comparison = Comparison {
            bets: rows.len() as u64,
            ..Comparison::default()
        };
        for row in &rows {
            let reason = row.end_reason.clone().unwrap_or_else(|| row.state.clone());
            *comparison.ended_by.entry(reason).or_default() += 1;
        }
        for told in self.told.lock().expect("not poisoned").iter() {
            comparison.compared += 1;
            if let Err(difference) = self.agrees(told, &by_id, &by_key, &mut comparison) {
                comparison.violations.push(format!("{difference}: told {told:?}"));
            }
        }
        comparison.violations.append(&mut self.take_unexpected());
        comparison
    }

    fn agrees(
        &self,
        told: &Told,
        by_id: &HashMap<&str, &Row>,
        by_key: &HashMap<(&str, &str), &Row>,
        comparison: &mut Comparison,
    ) -> Result<(), String> {
        let row_of = |bet_id: &str| by_id.get(bet_id).copied().ok_or_else(|| "no such bet".to_owned());
        match told {
            Told::Placed { bet_id, key, round } => {
                let row = row_of(bet_id)?;
                same(
                    "state is that of a placed bet",
                    &["WON", "LOST", "VOIDED"].contains(&row.state.as_str()),
                    &true,
                )?;
                same("stake", &minor(&round["betAmount"]), &row.stake_minor)?;
                same("nonce", &round["nonce"].as_i64(), &Some(row.nonce))?;
                same("commitment", &round["hashedServerSeed"].as_str(), &Some(row.commitment.as_str()))?;
                if key.is_some() {
                    same("key", key, &row.key)?;
                }
                Ok(())
            }
            Told::Standing { bet_id, lane, win_minor } => {
                let row = row_of(bet_id)?;
                let (end, end_lane) = (row.end_reason.as_deref().unwrap_or_default(), i64::from(row.last_lane));
                if end_lane == *lane && ["cashout", "win", "deadline"].contains(&end) {
                    same("what the lane pays", win_minor, &row.payout_minor)?;
                }
                match end {
                    "hazard" => same("the hazard is beyond a safe lane", &(end_lane > *lane), &true),
                    "deadline" | "void" if end_lane < *lane && self.redis_lost_writes.load(Ordering::Relaxed) => {
                        comparison.below_what_was_shown += 1;
                        Ok(())
                    }
                    _ => same("nothing below a safe lane that was shown", &(end_lane >= *lane), &true),
                }
            }
            Told::Ended {
                bet_id,
                reason,
                lane,
                win_minor,
                stake_minor,
            } => {
                let row = row_of(bet_id)?;
                same("end", &Some(reason.as_str()), &row.end_reason.as_deref())?;
                same("lane", lane, &i64::from(row.last_lane))?;
                same("winnings", win_minor, &row.payout_minor)?;
                same("stake", stake_minor, &row.stake_minor)
            }
            Told::Declined { user_id, key } => match by_key.get(&(user_id, key)) {
                Some(row) => same("nothing was taken", &["REJECTED", "CANCELLED"].contains(&row.state.as_str()), &true),
                None => Err("no bet of that key".to_owned()),
            },
            Told::Unconfirmed { user_id, key } => {
                let placed = by_key
                    .get(&(user_id, key))
                    .is_some_and(|row| ["WON", "LOST", "VOIDED"].contains(&row.state.as_str()));
                comparison.unconfirmed_but_placed += u64::from(placed);
                Ok(())
            }
        }
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, told: &T, recorded: &T) -> Result<(), String> {
    if told == recorded {
        Ok(())
    } else {
        Err(format!("{what}: {told:?} is not {recorded:?}"))
    }
}

/// An amount of an answer in minor units; -1 for what is none, which equals no amount.
pub fn minor(amount: &Value) -> i64 {
    let digits: String = amount
        .as_str()
        .unwrap_or_default()
        .chars()
        .filter(|character| *character != '.')
        .collect();
    digits.parse().unwrap_or(-1)
}
