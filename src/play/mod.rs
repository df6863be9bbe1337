//! What happens, told in order. One file per flow; only this module sees the live store, the record and the operators at
//! once, and nothing here knows of HTTP. The order of events is the protocol: a bet is intent, call, outcome; an end is
//! decided by a script, made durable by one statement, and only then told.

pub mod accounts;
pub mod admission;
pub mod balance;
pub mod bet_order;
pub mod cash_out;
pub mod context;
pub mod deliver;
pub mod fairness;
pub mod hazards;
pub mod health;
pub mod history;
pub mod kept_answers;
pub mod known_rounds;
pub mod leases;
pub mod lobby;
pub mod place_bet;
pub mod record_mark;
pub mod recover;
pub mod refusal;
mod repeated_bet;
pub mod round;
pub mod seeds;
pub mod settle;
pub mod take_step;
pub mod under_way;
pub mod view;

pub use context::{Context, Player};
pub use refusal::Refusal;
