//! The rules of the game against an independent implementation (`vectors.json`) and against arithmetic done again, the slow way.

mod configurations;
mod laws;
mod money;
mod proofs;
mod rounds;
mod vectors;

use faircross::game::money::Amount;

fn amount(minor: u64) -> Amount {
    Amount::from_minor(minor).expect("the tests stay within the largest amount")
}
