//! What can go wrong with the operator: answers that are wrong, one by one, and whole operators that lie, are slow or close what rests.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::chapter::{Chapter, pause};
use crate::dice::Dice;
use crate::report::{Counts, Report};

/// An operator that has a bad time of a kind of its own.
#[derive(Clone, Copy, Debug)]
pub enum OperatorAccident {
    /// Says "already applied" to the first attempt of every settle, cancel and void, and has applied nothing.
    Liar,
    /// Answers nobody sooner than in half a second or more, or than its callers wait.
    SlowForAll,
    /// Closes connections that rest for a moment.
    ShortRests,
}

pub const OPERATOR_ACCIDENTS: [OperatorAccident; 3] = [OperatorAccident::Liar, OperatorAccident::SlowForAll, OperatorAccident::ShortRests];

/// The chance of each wrong answer of the operator at all times, in a thousand: eleven kinds make 4 %.
pub const NOISE_PER_MILLE: u32 = 4;

impl Chapter {
    pub async fn operator_accident(&mut self, accident: OperatorAccident, dice: &mut Dice) {
        match accident {
            // It has lied since before anybody played.
            OperatorAccident::Liar => pause(dice.between(3_000, 6_000)).await,
            OperatorAccident::SlowForAll => {
                let slow = json!({ "kind": "delay_after", "delayMs": dice.between(500, 1_300) });
                self.order(json!({ "*": slow })).await;
                pause(dice.between(3_000, 6_000)).await;
                self.order(json!({ "*": [] })).await;
            }
            OperatorAccident::ShortRests => {
                self.operator_line
                    .close_what_rests(Some(Duration::from_millis(dice.between(1, 100))));
                pause(dice.between(3_000, 6_000)).await;
                self.operator_line.close_what_rests(None);
            }
        }
        Report::count(&mut self.report.operator_accidents, format!("{accident:?}"));
    }
}

/// The faults of an episode from its beginning. The lies come before the noise, and before anybody plays: of a message that was lost
/// before the operator ever saw it, "already applied" would be believed, as it has to be.
pub fn from_the_beginning(accident: Option<OperatorAccident>, dice: &mut Dice) -> Value {
    let mut faults = noise(NOISE_PER_MILLE, dice);
    if matches!(accident, Some(OperatorAccident::Liar)) {
        for action in ["settle", "cancelBet", "voidBet"] {
            let list = faults[action].as_array_mut().expect("a list");
            list.insert(0, json!({ "kind": "refuse", "status": "1038", "firstAttemptOnly": true }));
        }
    }
    faults
}

/// The ways in which an operator answers wrongly, by the name under which they are counted.
fn wrong_answers() -> [(&'static str, Value); 11] {
    [
        ("handled beyond the deadline", json!({ "kind": "delay", "delayMs": 1_500 })),
        ("answered beyond the deadline", json!({ "kind": "delay_after", "delayMs": 1_500 })),
        ("dropped before applying", json!({ "kind": "drop_before" })),
        ("dropped after applying", json!({ "kind": "drop_after" })),
        ("500 before applying", json!({ "kind": "http_500" })),
        (
            "500 after applying",
            json!({ "kind": "http_500", "applied": true, "httpStatus": 502 }),
        ),
        ("garbage", json!({ "kind": "garbage" })),
        ("wrong id", json!({ "kind": "wrong_id" })),
        ("unlisted status, not applied", json!({ "kind": "refuse", "status": "7777" })),
        ("unlisted status, applied", json!({ "kind": "answer", "status": "7778" })),
        ("delivered twice", json!({ "kind": "duplicate", "delayMs": 300 })),
    ]
}

/// A debit that "was applied already", although none was. Of other calls an operator that says so is believed where an earlier attempt
/// may have left, so that here it says so only when it is true; `tests/attempts.rs` has the one that lies.
fn already_applied() -> (&'static str, Value) {
    ("already applied, which is not so", json!({ "kind": "refuse", "status": "1016" }))
}

/// Answers that are right, in a form that not everybody expects.
fn odd_forms() -> [(&'static str, Value); 2] {
    [
        ("a byte order mark", json!({ "kind": "byte_order_mark" })),
        ("gzipped", json!({ "kind": "gzip" })),
    ]
}

const ACTIONS: [&str; 5] = ["getBalance", "bet", "cancelBet", "settle", "voidBet"];

/// Every wrong answer of every action, each with this chance in a thousand.
pub fn noise(per_mille: u32, dice: &mut Dice) -> Value {
    let mut orders = Map::new();
    for action in ACTIONS {
        let mut faults = wrong_answers().to_vec();
        faults.extend(odd_forms());
        if action == "bet" {
            faults.push(already_applied());
        }
        dice.shuffle(&mut faults);
        let faults = faults.into_iter().map(|(_, mut fault)| {
            fault["probability"] = json!(f64::from(per_mille) / 1_000.0);
            fault["seed"] = json!(dice.below(1 << 32));
            fault
        });
        orders.insert(action.to_owned(), Value::Array(faults.collect()));
    }
    Value::Object(orders)
}

/// Adds up what the operator did since its faults were ordered.
pub fn harvest(faults: &Value, into: &mut Counts) {
    for (action, list) in faults.as_object().into_iter().flatten() {
        for fault in list.as_array().into_iter().flatten() {
            let name = wrong_answers()
                .into_iter()
                .chain([already_applied()])
                .chain(odd_forms())
                .find(|(_, wrong)| {
                    wrong
                        .as_object()
                        .into_iter()
                        .flatten()
                        .all(|(key, value)| key == "delayMs" || fault[key] == *value)
                        && fault["applied"] == wrong["applied"]
                })
                .map_or_else(
                    || fault["kind"].as_str().unwrap_or_default().to_owned(),
                    |(name, _)| name.to_owned(),
                );
            let fired = fault["fired"].as_u64().unwrap_or_default();
            if fired > 0 {
                *into.entry(format!("{action}: {name}")).or_default() += fired;
            }
        }
    }
}
