//! `faircross verify`: checks a round offline, with nothing but what was shown before the bet and revealed after it.

use std::num::ParseIntError;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use super::Failure;
use crate::game::claim::{Published, RawClaim};
use crate::game::configuration::GameConfiguration;
use crate::game::hazards::Anchor;
use crate::game::proof::{self, Proof, Verdict};

/// Lanes, as they are written on a command line.
#[derive(Clone, Debug)]
pub struct Columns(Vec<u8>);

impl FromStr for Columns {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self(Vec::new()));
        }
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

/// What is claimed of the round.
#[derive(Clone, Debug, clap::Args)]
pub struct VerifyOptions {
    /// The server seed that was revealed after the round: 64 lower-case hexadecimal characters.
    #[arg(long)]
    pub server_seed: String,
    /// The player's seed.
    #[arg(long)]
    pub user_seed: String,
    /// The number of the player's bet.
    #[arg(long)]
    pub nonce: String,
    /// The link of the epoch that the bet named.
    #[arg(long)]
    pub hazard_seed: String,
    /// EASY, MEDIUM, HARD or DAREDEVIL.
    #[arg(long)]
    pub difficulty: String,
    /// The commitment that was shown before the bet.
    #[arg(long)]
    pub hashed_server_seed: Option<String>,
    /// The epoch that the bet named.
    #[arg(long)]
    pub hazard_epoch: Option<String>,
    /// The anchor of the epoch's day, as the round's record names it.
    #[arg(long)]
    pub anchor: Option<String>,
    /// The anchor of that day as you know it to have been published: noted before the day, or from a source that you trust. Without
    /// it the beacon cannot be checked to its end.
    #[arg(long)]
    pub published_anchor: Option<String>,
    /// The lanes that were shown as collisions, separated by commas; "none" where there was none.
    #[arg(long)]
    pub collision_columns: Option<Columns>,
    /// The SHA-256 of the configuration that the round names.
    #[arg(long)]
    pub config_hash: Option<String>,
    /// The stake, such as 10.00.
    #[arg(long)]
    pub bet_amount: Option<String>,
    /// The currency of the stake, such as INR.
    #[arg(long)]
    pub currency: Option<String>,
    /// The last safe lane, or the lane that was hit; -1 for none.
    #[arg(long, allow_hyphen_values = true)]
    pub last_lane: Option<i16>,
    /// win, cashout, hazard, deadline, void, cancelled or refused.
    #[arg(long)]
    pub end_reason: Option<String>,
    /// What was paid, such as 10.10.
    #[arg(long)]
    pub win_amount: Option<String>,
    /// The coefficient that was paid, such as 1.01; 0.00 where nothing was.
    #[arg(long)]
    pub coeff: Option<String>,
    /// The bytes of that configuration (GET /api/fairness/config/{version}). It is needed where the round names another than the
    /// built-in one: without it nothing that rests on the configuration can be checked.
    #[arg(long, value_name = "FILE")]
    pub configuration: Option<PathBuf>,
}

/// The exit code where nothing is wrong and something could not be checked.
const INCOMPLETE: u8 = 2;

/// Recomputes the round and compares. Exits with 0 for a valid round, with 1 when something does not match, naming the first thing
/// that does not, and with 2 when nothing is wrong and something could not be checked, which is listed.
///
/// # Errors
/// When an option cannot be read, by name.
pub fn run(options: VerifyOptions) -> Result<ExitCode, Failure> {
    let configuration = match &options.configuration {
        None => GameConfiguration::embedded_default(),
        Some(file) => GameConfiguration::parse(&std::fs::read(file).map_err(|error| format!("--configuration: {error}"))?)?,
    };
    let is_given = options.configuration.is_some();
    let published_anchor = options.published_anchor.as_deref().map(Anchor::parse).transpose();
    let published_anchor = published_anchor.map_err(|error| format!("--published-anchor: {error}"))?;
    let mut claim = raw_claim(options).parse()?;
    if let Some(anchor) = published_anchor {
        claim.published = Published::Anchor { anchor, at_unix_ms: None };
    }
    let is_another = claim.config_hash.as_deref().is_some_and(|hash| hash != configuration.hash());
    let is_at_hand = is_given || !is_another;
    let proof = proof::verify_under(&claim, is_at_hand.then_some(&configuration));
    print(&proof);
    if !is_at_hand {
        println!("give --configuration: --config-hash is not the built-in one's");
    }
    Ok(match (proof.verdict, proof.first_mismatch()) {
        (Verdict::Invalid, mismatch) => {
            let name = mismatch.map_or("something", |check| check.name);
            println!("invalid: the first thing that does not match is {name}");
            ExitCode::FAILURE
        }
        (Verdict::Incomplete, _) => {
            println!(
                "incomplete: nothing is wrong, and {} things could not be checked",
                proof.unchecked.len()
            );
            ExitCode::from(INCOMPLETE)
        }
        (Verdict::Valid, _) => {
            println!("valid");
            ExitCode::SUCCESS
        }
    })
}

fn raw_claim(options: VerifyOptions) -> RawClaim {
    RawClaim {
        server_seed: Some(options.server_seed),
        user_seed: Some(options.user_seed),
        user_seed_fresh: None,
        nonce: Some(options.nonce),
        hazard_seed: Some(options.hazard_seed),
        difficulty: Some(options.difficulty),
        hashed_server_seed: options.hashed_server_seed,
        hazard_epoch: options.hazard_epoch,
        anchor: options.anchor,
        collision_columns: options.collision_columns.map(|columns| columns.0),
        config_version: None,
        config_hash: options.config_hash,
        bet_amount: options.bet_amount,
        currency: options.currency,
        last_lane: options.last_lane,
        end_reason: options.end_reason,
        win_amount: options.win_amount,
        coeff: options.coeff,
    }
}

fn print(proof: &Proof) {
    println!("hashedServerSeed  {}", proof.hashed_server_seed);
    println!("roundKey          {}", proof.round_key);
    match &proof.collision_columns {
        Some(columns) => println!("collisionColumns  {columns:?}"),
        None => println!("collisionColumns  not known without the configuration"),
    }
    for check in &proof.checks {
        let mark = if check.ok { "ok      " } else { "MISMATCH" };
        println!("{mark}  {}: {}", check.name, check.detail);
    }
    for missing in &proof.unchecked {
        println!("unchecked {}: {}", missing.name, missing.why);
    }
}

#[cfg(test)]
mod tests {
    use super::Columns;

    #[test]
    fn a_road_without_hazards_can_be_stated() {
        let columns = |text: &str| text.parse().map(|Columns(lanes)| lanes).ok();
        assert_eq!(columns("none"), Some(Vec::new()));
        assert_eq!(columns("5,12,28"), Some(vec![5, 12, 28]));
        for unreadable in ["", "5,", "None", "256", "-1", "5 12"] {
            assert_eq!(columns(unreadable), None, "{unreadable:?}");
        }
    }
}
