//! What the server answers, as far as players look at it.

use serde::Deserialize;

/// A round.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Round {
    pub round_id: String,
    pub bet_id: String,
    pub is_finished: bool,
    pub is_win: bool,
    pub end_reason: Option<String>,
    pub line_number: i16,
    pub coeff: String,
    pub win_amount: String,
    pub bet_amount: String,
    pub currency: String,
    pub difficulty: String,
    pub max_lane: u8,
    pub hazard_epoch: u64,
    pub hashed_server_seed: String,
    pub next_hashed_server_seed: String,
    pub nonce: u64,
    pub config_version: i32,
    pub collision_positions: Option<Vec<u8>>,
}

/// A bet in the history.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bet {
    pub id: String,
    pub round_id: String,
    pub bet_amount: String,
    pub win_amount: String,
    pub coeff: String,
    pub difficulty: String,
    pub last_lane: i16,
    pub end_reason: Option<String>,
    pub config_hash: String,
    pub fairness: Fairness,
}

/// What a bet's outcome follows from.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fairness {
    pub user_seed: String,
    pub user_seed_fresh: bool,
    pub nonce: u64,
    pub hazard_epoch: u64,
    pub hazard_seed: String,
    pub anchor: String,
    pub hashed_server_seed: String,
    pub server_seed: Option<String>,
    pub collision_columns: Option<Vec<u8>>,
}

/// A page of the history.
#[derive(Debug, Deserialize)]
pub struct History {
    pub bets: Vec<Bet>,
}

/// The seeds of the next bet.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seeds {
    pub user_seed: String,
    pub hashed_server_seed: String,
    pub next_hashed_server_seed: String,
    pub nonce: u64,
}

/// The public road.
#[derive(Debug, Deserialize)]
pub struct Hazards {
    pub epoch: u64,
}

/// The configuration in force.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    pub config_version: i32,
}

/// A session token.
#[derive(Debug, Deserialize)]
pub struct SignedIn {
    pub result: String,
}

/// An operator's answer.
#[derive(Debug, Deserialize)]
pub struct Platform {
    pub status: String,
    pub url: Option<String>,
}

/// An error.
#[derive(Debug, Deserialize)]
pub struct Problem {
    pub code: String,
}
