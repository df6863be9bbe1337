//! The rules of the game, and nothing else: money, seeds, roads, paytables, rounds and proofs.
//!
//! Everything here is a pure function of its arguments. There is no clock, no randomness, no input or output, no async and no
//! binary float, so that the server, the command line, an audit and a player's browser all reach the same result from the same
//! facts. `cargo check --lib --no-default-features` builds this module alone.

pub mod bet_state;
pub mod claim;
pub mod configuration;
pub mod currency;
pub mod difficulty;
pub mod fairness;
mod finding;
pub mod hazards;
pub mod money;
pub mod paytable;
pub mod player;
pub mod proof;
mod proof_of_end;
pub mod ratio;
pub mod round;
pub mod walk;
