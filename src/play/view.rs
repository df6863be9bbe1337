//! What players and strangers are told, before it becomes JSON.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use crate::game::difficulty::Difficulty;
use crate::game::money::{Amount, Coefficient};
use crate::game::round::EndReason;

/// One round as its player may see it. What could tell the road ahead is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoundView {
    /// The bet's, and the round's: a round is one bet.
    pub bet_id: Uuid,
    /// `None` while the round is open.
    pub end_reason: Option<EndReason>,
    pub is_win: bool,
    /// The last safe lane; on a hazard the lane that was hit; -1 before the first step.
    pub line_number: i16,
    /// What the lane pays per unit of stake; 0.00 where nothing is paid, so that `win_amount` is always the stake times this.
    pub coefficient: Coefficient,
    pub win_amount: Amount,
    pub stake: Amount,
    pub currency: String,
    pub decimal_places: u8,
    pub difficulty: Difficulty,
    pub max_lane: u8,
    pub hazard_epoch: u64,
    pub commitment: String,
    pub next_commitment: String,
    pub nonce: u64,
    pub configuration_version: i32,
    /// Only after the end: the lane that was hit, or empty.
    pub collision_positions: Option<Vec<u8>>,
    /// Only in the answer to a bet: the operator's balance after the debit, as an exact decimal text.
    pub balance: Option<String>,
    /// Only after an end.
    pub settlement: Option<Settlement>,
}

/// Whether the operator has confirmed what a round came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    Pending,
    Settled,
}

/// One bet in the player's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BetView {
    /// The bet's, and its round's.
    pub id: Uuid,
    pub created_at: DateTime<Utc>,
    pub settled_at: Option<DateTime<Utc>>,
    /// The state of the bet as in the ledger: PENDING, PLACED, PENDING_SETTLEMENT, WON ...
    pub status: String,
    pub settlement: Option<Settlement>,
    pub stake: Amount,
    pub win_amount: Amount,
    pub currency: String,
    pub decimal_places: u8,
    pub difficulty: Difficulty,
    pub coefficient: Coefficient,
    pub last_lane: i16,
    pub end_reason: Option<EndReason>,
    pub configuration_version: i32,
    pub configuration_hash: String,
    pub user_seed: String,
    pub user_seed_fresh: bool,
    pub nonce: u64,
    pub hazard_epoch: u64,
    pub hazard_seed: String,
    /// The published anchor of the epoch's day.
    pub anchor: String,
    pub commitment: String,
    /// `None` until the round has ended.
    pub server_seed: Option<String>,
    /// `None` until the round has ended.
    pub collision_columns: Option<Vec<u8>>,
}

/// The seeds that the player's next bet will use, without any server seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedsView {
    pub user_seed: String,
    pub commitment: String,
    pub next_commitment: String,
    pub nonce: u64,
}

/// What the operator says that the player has.
#[derive(Clone, Debug)]
pub struct Balance {
    pub currency: String,
    /// With the currency's decimals.
    pub balance: String,
}

/// What is public of a day's chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainView {
    pub date: NaiveDate,
    pub anchor: String,
    pub published_at: DateTime<Utc>,
    /// Link 17,279, from which all others follow; only when the day is over.
    pub seed: Option<String>,
}

/// How many signed-in users were heard of lately. Real counts only.
#[derive(Clone, Debug)]
pub struct OnlineCount {
    pub total: u64,
    pub game_mode: BTreeMap<String, u64>,
}
