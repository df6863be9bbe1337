//! The simulated wallet's book: pure, and rebuilt from its records. A record is applied once, in the order of the journal,
//! and everything that the wallet ever answered follows from the records alone.
//!
//! Idempotency is by (agent, action, platformTxId). A repeat changes nothing and gets the answer of the first time; a
//! repeat with other bytes is refused and noted as a violation, because it means that somebody rebuilt a stored message.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::amount::Amount4;
use super::decision::{Change, decide};
use super::message::{CallbackAction, Transaction};

/// What the journal keeps.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "record", rename_all = "camelCase")]
pub(super) enum Record {
    /// A player was seen for the first time, or was set from outside.
    #[serde(rename_all = "camelCase")]
    Player {
        user_id: String,
        balance: Option<Amount4>,
        status: Option<PlayerStatus>,
    },
    /// A transaction arrived.
    Delivery(Delivery),
    /// Something that our side must never send arrived.
    Violation(Violation),
}

/// A transaction as it arrived.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Delivery {
    pub at: String,
    pub agent_id: String,
    pub action: CallbackAction,
    pub transaction: Transaction,
    pub message_sha256: String,
    /// Ordered by a fault: answer this and do nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced_status: Option<String>,
}

/// Something that our side must never do.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Violation {
    pub kind: String,
    pub at: String,
    pub agent_id: String,
    pub action: Option<CallbackAction>,
    pub platform_tx_id: Option<String>,
    pub detail: String,
}

/// What a transaction is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub status: String,
    /// The balance afterwards and when it was; none with a status other than success.
    pub balance: Option<(Amount4, String)>,
}

/// Whether a player may bet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PlayerStatus {
    #[default]
    Active,
    Suspended,
    Locked,
    Closed,
}

/// A player's money. Setting a balance from outside moves the starting balance with it, so that the difference between the
/// two always is what the bets did.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Player {
    pub user_id: String,
    pub balance: Amount4,
    pub starting_balance: Amount4,
    pub status: PlayerStatus,
}

/// What became of a bet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum BetState {
    /// Took nothing: the answer was not 0000.
    Refused,
    /// The stake is taken.
    Bet,
    /// The stake was taken and returned.
    Cancelled,
    /// Cancelled before it was seen: it never takes anything.
    CancelledBeforeBet,
    /// The win is paid.
    Settled,
    /// Taken back by a void.
    Voided,
}

/// A bet with all that was ever said about it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bet {
    agent_id: String,
    platform_tx_id: String,
    pub user_id: String,
    pub round_id: String,
    currency: Option<String>,
    pub bet_amount: Option<Amount4>,
    pub state: BetState,
    pub win_amount: Option<Amount4>,
    /// What the first debit that arrived said of the game and of times.
    #[serde(skip)]
    pub debit: Option<String>,
    history: Vec<Event>,
    #[serde(skip)]
    answered: Vec<Answered>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    action: CallbackAction,
    at: String,
    status: String,
    applied: bool,
    message_sha256: String,
}

#[derive(Clone, Debug)]
struct Answered {
    action: CallbackAction,
    message_sha256: String,
    answer: Answer,
}

/// All players, bets and violations.
pub(super) struct Book {
    starting_balance: Amount4,
    currencies: BTreeSet<String>,
    players: BTreeMap<String, Player>,
    positions: HashMap<(String, String), usize>,
    bets: Vec<Arc<Bet>>,
    violations: Vec<Violation>,
}

/// The book as of one instant; cheap to take, because the bets are shared until they change.
pub(super) struct Snapshot {
    pub players: Vec<Player>,
    pub bets: Vec<Arc<Bet>>,
    pub violations: Vec<Violation>,
}

impl Book {
    pub fn new(starting_balance: Amount4, currencies: impl IntoIterator<Item = String>) -> Self {
        Self {
            starting_balance,
            currencies: currencies.into_iter().collect(),
            players: BTreeMap::new(),
            positions: HashMap::new(),
            bets: Vec::new(),
            violations: Vec::new(),
        }
    }

    pub fn player(&self, user_id: &str) -> Option<&Player> {
        self.players.get(user_id)
    }

    /// The record by which a player enters the book.
    pub fn welcome(&self, user_id: &str) -> Record {
        Record::Player {
            user_id: user_id.to_owned(),
            balance: Some(self.starting_balance),
            status: None,
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            players: self.players.values().cloned().collect(),
            bets: self.bets.clone(),
            violations: self.violations.clone(),
        }
    }

    /// Applies a record; only deliveries are answered.
    pub fn apply(&mut self, record: &Record) -> Option<Answer> {
        match record {
            Record::Player { user_id, balance, status } => {
                self.set_player(user_id, *balance, *status);
                None
            }
            Record::Violation(violation) => {
                self.violations.push(violation.clone());
                None
            }
            Record::Delivery(delivery) => Some(self.deliver(delivery)),
        }
    }

    fn set_player(&mut self, user_id: &str, balance: Option<Amount4>, status: Option<PlayerStatus>) {
        let player = self.players.entry(user_id.to_owned()).or_insert_with(|| Player {
            user_id: user_id.to_owned(),
            balance: self.starting_balance,
            starting_balance: self.starting_balance,
            status: PlayerStatus::Active,
        });
        if let Some(balance) = balance {
            let moved = balance
                .checked_sub(player.balance)
                .and_then(|difference| player.starting_balance.checked_add(difference));
            player.starting_balance = moved.unwrap_or(balance);
            player.balance = balance;
        }
        player.status = status.unwrap_or(player.status);
    }

    fn deliver(&mut self, delivery: &Delivery) -> Answer {
        let key = (delivery.agent_id.clone(), delivery.transaction.platform_tx_id.clone());
        let position = self.positions.get(&key).copied();
        let known = position.and_then(|position| self.bets.get(position)).cloned();
        let earlier = known
            .as_ref()
            .and_then(|bet| bet.answered.iter().find(|answered| answered.action == delivery.action));
        let (answer, change) = match earlier {
            Some(earlier) => (self.repeat(delivery, known.as_deref(), earlier), None),
            None => self.first(delivery, known.as_deref()),
        };
        let opens_an_entry = match delivery.action {
            CallbackAction::Bet => true,
            CallbackAction::CancelBet => delivery.forced_status.is_none(),
            _ => false,
        };
        drop(known);
        if position.is_some() || opens_an_entry {
            let position = position.unwrap_or_else(|| self.open_entry(key, delivery));
            self.enter(position, delivery, &answer, change);
        }
        answer
    }

    /// A repeat changes nothing; a bet that was cancelled since is not confirmed again.
    fn repeat(&mut self, delivery: &Delivery, bet: Option<&Bet>, earlier: &Answered) -> Answer {
        if earlier.message_sha256 != delivery.message_sha256 {
            self.note(delivery, "repeat_with_other_bytes");
            return without_balance("9999");
        }
        let was_cancelled = bet.is_some_and(|bet| matches!(bet.state, BetState::Cancelled | BetState::CancelledBeforeBet));
        if delivery.action == CallbackAction::Bet && was_cancelled {
            without_balance("1043")
        } else {
            earlier.answer.clone()
        }
    }

    fn first(&mut self, delivery: &Delivery, bet: Option<&Bet>) -> (Answer, Option<Change>) {
        if let Some(status) = &delivery.forced_status {
            return (without_balance(status), None);
        }
        let Some(player) = self.players.get(&delivery.transaction.user_id).cloned() else {
            return (without_balance("1002"), None);
        };
        let decision = decide(delivery, bet, &player, &self.currencies);
        if let Some(kind) = decision.violation {
            self.note(delivery, kind);
        }
        let Some(change) = decision.change else {
            return (without_balance(decision.status), None);
        };
        let Some(balance) = player
            .balance
            .checked_add(change.credit)
            .and_then(|balance| balance.checked_sub(change.debit))
        else {
            return (without_balance("9999"), None);
        };
        if let Some(player) = self.players.get_mut(&delivery.transaction.user_id) {
            player.balance = balance;
        }
        (
            Answer {
                status: decision.status.to_owned(),
                balance: Some((balance, delivery.at.clone())),
            },
            Some(change),
        )
    }

    fn open_entry(&mut self, key: (String, String), delivery: &Delivery) -> usize {
        let position = self.bets.len();
        self.positions.insert(key, position);
        let transaction = &delivery.transaction;
        self.bets.push(Arc::new(Bet {
            agent_id: delivery.agent_id.clone(),
            platform_tx_id: transaction.platform_tx_id.clone(),
            user_id: transaction.user_id.clone(),
            round_id: transaction.round_id.clone(),
            currency: None,
            bet_amount: None,
            state: BetState::Refused,
            win_amount: None,
            debit: None,
            history: Vec::new(),
            answered: Vec::new(),
        }));
        position
    }

    /// Writes what happened into the bet's entry.
    fn enter(&mut self, position: usize, delivery: &Delivery, answer: &Answer, change: Option<Change>) {
        let Some(bet) = self.bets.get_mut(position) else { return };
        let bet = Arc::make_mut(bet);
        let applied = change.is_some();
        bet.history.push(Event {
            action: delivery.action,
            at: delivery.at.clone(),
            status: answer.status.clone(),
            applied,
            message_sha256: delivery.message_sha256.clone(),
        });
        if delivery.action == CallbackAction::Bet && bet.debit.is_none() {
            bet.debit = Some(delivery.transaction.said.clone());
        }
        if delivery.action == CallbackAction::Bet && bet.bet_amount.is_none() {
            bet.bet_amount = delivery.transaction.bet_amount;
            bet.currency.clone_from(&delivery.transaction.currency);
        }
        // A bet's answer stands whatever it was; anything else that failed may be tried again.
        let is_final = applied || delivery.action == CallbackAction::Bet;
        if is_final && !bet.answered.iter().any(|answered| answered.action == delivery.action) {
            bet.answered.push(Answered {
                action: delivery.action,
                message_sha256: delivery.message_sha256.clone(),
                answer: answer.clone(),
            });
        }
        let Some(change) = change else { return };
        bet.state = change.state;
        match delivery.action {
            CallbackAction::Settle => {
                bet.win_amount = delivery.transaction.win_amount;
                bet.answered.retain(|answered| answered.action != CallbackAction::Unsettle);
            }
            CallbackAction::Unsettle => {
                bet.win_amount = None;
                bet.answered.retain(|answered| answered.action != CallbackAction::Settle);
            }
            CallbackAction::GetBalance
            | CallbackAction::Bet
            | CallbackAction::CancelBet
            | CallbackAction::VoidBet
            | CallbackAction::VoidSettle => {}
        }
    }

    fn note(&mut self, delivery: &Delivery, kind: &str) {
        self.violations.push(Violation {
            kind: kind.to_owned(),
            at: delivery.at.clone(),
            agent_id: delivery.agent_id.clone(),
            action: Some(delivery.action),
            platform_tx_id: Some(delivery.transaction.platform_tx_id.clone()),
            detail: format!("userId {}, message {}", delivery.transaction.user_id, delivery.message_sha256),
        });
    }
}

fn without_balance(status: &str) -> Answer {
    Answer {
        status: status.to_owned(),
        balance: None,
    }
}
