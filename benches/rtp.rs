//! The RTP as it is measured, not as it is claimed: rounds of every difficulty through the real seeds, keys and thresholds.
//!
//! `cargo bench --no-default-features --bench rtp -- 10000000` (or the environment's `RTP_ROUNDS`) plays that many rounds of each
//! difficulty on all cores and asks of every lane how many rounds survive to stand on it. A lane is judged against its exact chance:
//! within 5 standard deviations where at least 100 survivors are expected, and within the Poisson interval of the same tail
//! probability where the normal law is no longer near. Outside of it the program ends with 1. The rounds are drawn from a fixed seed,
//! so a run can be repeated; another can be named with `RTP_SEED`.

use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use faircross::game::configuration::GameConfiguration;
use faircross::game::difficulty::Difficulty;
use faircross::game::fairness::{HazardSeed, Nonce, ServerSeed, UserSeed, collision_columns, round_key};
use faircross::game::paytable::Paytable;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const DEFAULT_ROUNDS: u64 = 10_000_000;
const WIDEST_DEVIATION: f64 = 5.0;
/// The chance that a normal variable lies more than 5 standard deviations above its mean.
const SMALLEST_TAIL: f64 = 2.866_515_718_791_933e-7;
/// Below so many expected survivors the normal law is not near enough.
const FEWEST_FOR_NORMAL_LAW: f64 = 100.0;

/// What one lane showed.
struct Lane {
    coefficient: f64,
    survival: f64,
    survivors: u64,
    measured_rtp: f64,
    judgement: Judgement,
}

enum Judgement {
    /// By how many standard deviations the survivors differ from what is expected.
    Normal { deviation: f64 },
    /// How likely so few, or so many, survivors are: the smaller of both tails.
    Poisson { tail: f64 },
}

fn main() -> ExitCode {
    let argument = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let rounds = argument.or_else(|| read_environment("RTP_ROUNDS")).unwrap_or(DEFAULT_ROUNDS).max(1);
    let seed = read_environment("RTP_SEED").unwrap_or(1);
    let configuration = GameConfiguration::embedded_default();
    println!(
        "{rounds} rounds of each difficulty, seed {seed}, configuration {}\n",
        configuration.hash()
    );
    #[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
    let started = Instant::now();
    let results = Difficulty::ALL.map(|difficulty| {
        let paytable = configuration.paytable(difficulty);
        let lanes = judge(paytable, &play(paytable, difficulty, rounds, seed), rounds);
        print_lanes(difficulty, &lanes);
        (difficulty, lanes)
    });
    let seconds = started.elapsed().as_secs_f64();
    print_summary(&results, rounds);
    println!("\n{:.0} rounds per second", 4.0 * rounds as f64 / seconds);
    let outside = results
        .iter()
        .flat_map(|(_, lanes)| lanes)
        .filter(|lane| !lane.is_within_bound())
        .count();
    if outside == 0 {
        println!("every lane is within its bound");
        ExitCode::SUCCESS
    } else {
        println!("{outside} lanes are outside their bound");
        ExitCode::FAILURE
    }
}

fn read_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Plays the rounds on all cores. The answer says for each lane how many rounds had their first collision there.
fn play(paytable: &Paytable, difficulty: Difficulty, rounds: u64, seed: u64) -> Vec<u64> {
    let threads = thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let mut total = vec![0; paytable.thresholds().len()];
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let share = rounds / threads + u64::from(thread < rounds % threads);
                scope.spawn(move || play_share(paytable, difficulty, share, [seed, thread]))
            })
            .collect();
        for worker in workers {
            let collisions = worker.join().expect("a worker plays its share");
            total.iter_mut().zip(collisions).for_each(|(sum, count)| *sum += count);
        }
    });
    total
}

fn play_share(paytable: &Paytable, difficulty: Difficulty, rounds: u64, [seed, thread]: [u64; 2]) -> Vec<u64> {
    let mut chance = ChaCha20Rng::from_seed(generator_seed(difficulty, seed, thread));
    let user_seed = UserSeed::parse("the-players-own-seed").expect("a user seed");
    let mut random_bytes = || {
        let mut bytes = [0; 32];
        chance.fill_bytes(&mut bytes);
        bytes
    };
    let hazard_seed = HazardSeed::from_bytes(random_bytes());
    let mut collisions = vec![0; paytable.thresholds().len()];
    for number in 0..rounds {
        let server_seed = ServerSeed::from_bytes(random_bytes());
        let nonce = Nonce::new(number).expect("a nonce");
        let key = round_key(&server_seed, &user_seed, nonce, &hazard_seed);
        if let Some(first) = collision_columns(&key, paytable.thresholds()).first() {
            collisions[usize::from(*first)] += 1;
        }
    }
    collisions
}

fn generator_seed(difficulty: Difficulty, seed: u64, thread: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&thread.to_le_bytes());
    bytes[16] = difficulty as u8;
    bytes
}

/// Cashing out on lane k wins if and only if the first collision lies behind it.
fn judge(paytable: &Paytable, collisions: &[u64], rounds: u64) -> Vec<Lane> {
    let mut survivors = rounds;
    (0..paytable.lanes())
        .zip(collisions)
        .map(|(lane, ended_here)| {
            survivors -= ended_here;
            let exact = paytable.survival(lane).expect("the paytable has this lane");
            let survival = exact.numerator() as f64 / exact.denominator() as f64;
            let coefficient = paytable.coefficient(lane).expect("the paytable has this lane").hundredths() as f64 / 100.0;
            let measured_rtp = survivors as f64 / rounds as f64 * coefficient;
            let judgement = judge_survivors(survivors, rounds as f64, survival);
            Lane {
                coefficient,
                survival,
                survivors,
                measured_rtp,
                judgement,
            }
        })
        .collect()
}

fn judge_survivors(survivors: u64, rounds: f64, survival: f64) -> Judgement {
    let expected = rounds * survival;
    if expected < FEWEST_FOR_NORMAL_LAW {
        return Judgement::Poisson {
            tail: poisson_tail(survivors, expected),
        };
    }
    Judgement::Normal {
        deviation: (survivors as f64 - expected) / (expected * (1.0 - survival)).sqrt(),
    }
}

/// The smaller of P(X <= count) and P(X >= count) of a Poisson variable. Each side is summed by itself, from terms of its own, so that
/// a small tail is not the difference of two numbers near one.
fn poisson_tail(count: u64, expected: f64) -> f64 {
    let mut term = (-expected).exp();
    let (mut at_most, mut at_least) = (0.0, 0.0);
    // Far beyond the mean, and beyond the count, the remaining terms no longer change a sum of doubles.
    let end = count + 20 * (expected as u64 + 10);
    for number in 0..=end {
        if number <= count {
            at_most += term;
        }
        if number >= count {
            at_least += term;
        }
        term *= expected / (number + 1) as f64;
    }
    f64::min(at_most, at_least)
}

impl Lane {
    fn is_within_bound(&self) -> bool {
        match self.judgement {
            Judgement::Normal { deviation } => deviation.abs() <= WIDEST_DEVIATION,
            Judgement::Poisson { tail } => tail >= SMALLEST_TAIL,
        }
    }
}

fn print_lanes(difficulty: Difficulty, lanes: &[Lane]) {
    println!("{difficulty}");
    println!("lane  coefficient  survivors  expected chance  measured RTP  bound");
    for (number, lane) in lanes.iter().enumerate() {
        let bound = match lane.judgement {
            Judgement::Normal { deviation } => format!("{deviation:+.2} sigma of {WIDEST_DEVIATION}"),
            Judgement::Poisson { tail } => format!("Poisson tail {tail:.1e} of {SMALLEST_TAIL:.1e}"),
        };
        let Lane {
            coefficient,
            survivors,
            survival,
            measured_rtp,
            ..
        } = lane;
        println!("{number:>4}  {coefficient:>11.2}  {survivors:>9}  {survival:>15.3e}  {measured_rtp:>12.5}  {bound}");
    }
    println!();
}

/// A table for docs/fairness.md: what cashing out on the first, the middle and the last lane returned, and the worst of all lanes.
fn print_summary(results: &[(Difficulty, Vec<Lane>)], rounds: u64) {
    println!(
        "| {rounds} rounds each | RTP, first lane | RTP, middle lane | RTP, last lane | survivors, last lane | worst deviation | smallest Poisson tail |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (difficulty, lanes) in results {
        let rtp = |lane: Option<&Lane>| lane.map_or(f64::NAN, |lane| lane.measured_rtp);
        let worst = lanes.iter().filter_map(|lane| match lane.judgement {
            Judgement::Normal { deviation } => Some(deviation),
            Judgement::Poisson { .. } => None,
        });
        let worst = worst.max_by(|left, right| left.abs().total_cmp(&right.abs()));
        let tails = lanes.iter().filter_map(|lane| match lane.judgement {
            Judgement::Poisson { tail } => Some(tail),
            Judgement::Normal { .. } => None,
        });
        println!(
            "| {difficulty} | {:.5} | {:.5} | {:.5} | {} | {} | {} |",
            rtp(lanes.first()),
            rtp(lanes.get(lanes.len() / 2)),
            rtp(lanes.last()),
            lanes.last().map_or(0, |lane| lane.survivors),
            worst.map_or("none".to_owned(), |deviation| format!("{deviation:+.2} sigma")),
            tails.min_by(f64::total_cmp).map_or("none".to_owned(), |tail| format!("{tail:.2}")),
        );
    }
}
