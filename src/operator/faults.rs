//! Faults to order. `PUT /faults` takes an object of actions, each with one fault or a list:
//!
//! ```json
//! {"bet": {"kind": "drop_after", "count": 1}, "settle": [{"kind": "refuse", "status": "9998", "probability": 0.2, "seed": 7}]}
//! ```
//!
//! It replaces the faults of the actions that it names (an empty list clears them; `*` is every action, asked after the
//! action's own); `DELETE /faults` clears all. The first fault of a list that has not yet fired `count` times and whose draw
//! succeeds happens to a call.
//!
//! | kind | what happens |
//! |---|---|
//! | `delay` | nothing but `delayMs` before the call is handled; it is handled even if the caller has left |
//! | `delay_after` | handled at once, answered after `delayMs` |
//! | `refuse` | `status` (default 9998) is answered and nothing is done |
//! | `answer` | it is done, and `status` (default 9999) is answered |
//! | `http_500` | HTTP `httpStatus` (default 500), before it is done, or after with `"applied": true` |
//! | `drop_before`, `drop_after` | the connection is closed without an answer, before or after it is done |
//! | `garbage` | it is done (not with `"applied": false`), and the answer is `body` (default: not JSON) |
//! | `duplicate` | it is delivered twice; with `delayMs`, the second time so much later and after the answer |
//! | `byte_order_mark`, `gzip` | it is done, and the answer begins with a UTF-8 byte order mark, or is gzipped |
//! | `wrong_id` | it is done, and the answer is about another player and bet |
//!
//! `refuse` with 1016 or 1038 is an operator that lies: "already applied" to what it has not done. Something that it has done before is
//! answered as it was then.
//!
//! With `"firstAttemptOnly": true` a fault happens only to the first message about each bet that it sees; a repeat is handled as usual.
//!
//! `delayMs` delays every other kind too, before it is done. With `"held": true` a delay lasts until the fault is taken back
//! (replaced or cleared) and not for `delayMs`.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::message::CallbackAction;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Handled late.
    Delay,
    /// Answered late.
    DelayAfter,
    /// Not done, with a status.
    Refuse,
    /// Done, with a status.
    Answer,
    /// An HTTP error.
    #[serde(rename = "http_500", alias = "http_status", alias = "http500")]
    Http500,
    /// Not done, no answer.
    DropBefore,
    /// Done, no answer.
    DropAfter,
    /// An answer that nobody can read.
    Garbage,
    /// Delivered twice.
    Duplicate,
    /// Answered with a UTF-8 byte order mark in front.
    ByteOrderMark,
    /// Answered in gzip, asked for or not.
    Gzip,
    /// Answered for somebody else.
    WrongId,
}

/// One ordered fault.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// Milliseconds to wait.
    #[serde(default, alias = "delay_ms")]
    pub delay_ms: u64,
    /// Whether to wait until the fault is taken back instead.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// The status to answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The HTTP status to answer.
    #[serde(default, alias = "http_status", skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// Whether it is done nevertheless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<bool>,
    /// The garbage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// How many times it happens; for ever without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// How likely it happens to a call, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// Whether it happens to the first message about each bet only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub first_attempt_only: bool,
    /// Starts the draws, so that a run can be repeated.
    #[serde(default)]
    pub seed: u64,
    /// Cancelled when the fault is taken back.
    #[serde(skip)]
    pub taken_back: CancellationToken,
}

impl Fault {
    /// Waits as long as the fault delays.
    pub async fn pause(&self) {
        if self.held {
            self.taken_back.cancelled().await;
        } else if self.delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(self.delay_ms)).await;
        }
    }
}

/// One fault or several, as `PUT /faults` takes them.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    Many(Vec<Fault>),
    One(Box<Fault>),
}

/// An action, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum Target {
    Action(CallbackAction),
    Every(Star),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub(super) enum Star {
    #[serde(rename = "*")]
    Star,
}

/// A fault with its luck and how often it has happened.
#[derive(Serialize)]
pub(super) struct Ordered {
    #[serde(flatten)]
    fault: Fault,
    fired: u32,
    #[serde(skip)]
    draws: ChaCha8Rng,
    /// The bets of which it has seen a message, where it matters.
    #[serde(skip)]
    seen: HashSet<String>,
}

/// All ordered faults.
#[derive(Default, Serialize)]
#[serde(transparent)]
pub(super) struct Faults(BTreeMap<Target, Vec<Ordered>>);

impl Faults {
    pub fn order(&mut self, orders: BTreeMap<Target, OneOrMany>) {
        for (target, faults) in orders {
            let faults = match faults {
                OneOrMany::One(fault) => vec![*fault],
                OneOrMany::Many(faults) => faults,
            };
            let ordered = faults.into_iter().map(|fault| Ordered {
                draws: ChaCha8Rng::seed_from_u64(fault.seed),
                fault,
                fired: 0,
                seen: HashSet::new(),
            });
            self.0.insert(target, ordered.collect());
        }
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// What happens to this call.
    pub fn draw(&mut self, action: CallbackAction, platform_tx_id: Option<&str>) -> Option<Fault> {
        [Target::Action(action), Target::Every(Star::Star)]
            .into_iter()
            .find_map(|target| self.0.get_mut(&target)?.iter_mut().find_map(|ordered| ordered.draw(platform_tx_id)))
    }
}

impl Drop for Ordered {
    /// The calls that it holds go on.
    fn drop(&mut self) {
        self.fault.taken_back.cancel();
    }
}

impl Ordered {
    fn draw(&mut self, platform_tx_id: Option<&str>) -> Option<Fault> {
        if self.fault.first_attempt_only && !platform_tx_id.is_some_and(|id| self.seen.insert(id.to_owned())) {
            return None;
        }
        if self.fault.count.is_some_and(|count| self.fired >= count) {
            return None;
        }
        let drawn = f64::from(self.draws.next_u32()) / 4_294_967_296.0;
        if self.fault.probability.is_some_and(|probability| drawn >= probability) {
            return None;
        }
        self.fired = self.fired.saturating_add(1);
        Some(self.fault.clone())
    }
}
