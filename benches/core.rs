//! How many instructions the pure core takes: figures that no other process on the machine can disturb.
//!
//! `make bench-core` runs it under valgrind. A count is of one call, what it is given was made before.

use std::hint::black_box;

use faircross::game::claim::Claim;
use faircross::game::claim::RawClaim;
use faircross::game::configuration::GameConfiguration;
use faircross::game::difficulty::Difficulty;
use faircross::game::fairness::{HazardSeed, Nonce, ServerSeed, UserSeed};
use faircross::game::hazards::Chain;
use faircross::game::money::{Amount, Coefficient};
use faircross::game::proof::Proof;
use faircross::game::{fairness, hazards, money, proof};
use gungraun::{library_benchmark, library_benchmark_group, main};

const USER_SEED: &str = "0123456789abcdef0123456789abcdef";
const NONCE: u64 = 42;

struct Seeds {
    server_seed: ServerSeed,
    user_seed: UserSeed,
    nonce: Nonce,
    hazard_seed: HazardSeed,
}

fn seeds() -> Seeds {
    Seeds {
        server_seed: ServerSeed::from_bytes([7; 32]),
        user_seed: UserSeed::parse(USER_SEED).expect("a user seed"),
        nonce: Nonce::new(NONCE).expect("a nonce"),
        hazard_seed: HazardSeed::from_bytes([9; 32]),
    }
}

fn thresholds(difficulty: Difficulty) -> Vec<u64> {
    GameConfiguration::embedded_default().paytable(difficulty).thresholds().to_vec()
}

fn stake_and_coefficient() -> (Amount, Coefficient) {
    let stake = Amount::from_minor(2_550).expect("a stake");
    (stake, Coefficient::parse("23.24").expect("a coefficient"))
}

fn claim() -> (Claim, GameConfiguration) {
    let raw = RawClaim {
        server_seed: Some("07".repeat(32)),
        user_seed: Some(USER_SEED.to_owned()),
        nonce: Some(NONCE.to_string()),
        hazard_seed: Some("09".repeat(32)),
        difficulty: Some(Difficulty::Easy.as_str().to_owned()),
        ..RawClaim::default()
    };
    (raw.parse().expect("a claim"), GameConfiguration::embedded_default())
}

#[library_benchmark]
#[bench::a_round(setup = seeds)]
fn round_key(seeds: Seeds) -> [u8; 32] {
    black_box(fairness::round_key(
        &seeds.server_seed,
        &seeds.user_seed,
        seeds.nonce,
        &seeds.hazard_seed,
    ))
}

#[library_benchmark]
#[bench::easy(args = (Difficulty::Easy), setup = thresholds)]
#[bench::daredevil(args = (Difficulty::Daredevil), setup = thresholds)]
fn collision_columns(thresholds: Vec<u64>) -> Vec<u8> {
    black_box(fairness::collision_columns(black_box(&[7; 32]), &thresholds))
}

#[library_benchmark]
#[bench::a_win(setup = stake_and_coefficient)]
fn payout((stake, coefficient): (Amount, Coefficient)) -> Amount {
    black_box(money::payout(black_box(stake), black_box(coefficient))).expect("a payout")
}

#[library_benchmark]
#[bench::a_round(setup = claim)]
fn verify((claim, configuration): (Claim, GameConfiguration)) -> Proof {
    black_box(proof::verify(&claim, &configuration))
}

#[library_benchmark]
#[bench::a_day([5; 32])]
fn hazard_chain(last_link: [u8; 32]) -> Chain {
    black_box(Chain::from_last_link(black_box(last_link)))
}

#[library_benchmark]
#[bench::easy(HazardSeed::from_bytes([9; 32]))]
fn visible_hazards(hazard_seed: HazardSeed) -> Vec<u8> {
    black_box(hazards::visible_hazards(&hazard_seed, Difficulty::Easy, 30, 3))
}

library_benchmark_group!(
    name = core;
    benchmarks = round_key, collision_columns, payout, verify, hazard_chain, visible_hazards
);

main!(library_benchmark_groups = core);
