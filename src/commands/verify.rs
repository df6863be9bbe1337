//! `faircross verify`: checks a round offline, with nothing but what was shown before the bet and revealed after it.

use std::path::PathBuf;
use std::process::ExitCode;

use super::Failure;
use crate::game::claim::RawClaim;
use crate::game::configuration::GameConfiguration;
use crate::game::proof;

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
    /// The anchor of the epoch's day, as it was published.
    #[arg(long)]
    pub anchor: Option<String>,
    /// The lanes that were shown as collisions, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub collision_columns: Option<Vec<u8>>,
    /// The SHA-256 of the configuration that the round names.
    #[arg(long)]
    pub config_hash: Option<String>,
    /// The bytes of that configuration (GET /api/fairness/config/{version}); the built-in one by default.
    #[arg(long, value_name = "FILE")]
    pub configuration: Option<PathBuf>,
}

/// Recomputes the round and compares. Exits with 1 when something does not match, naming the first thing that does not.
///
/// # Errors
/// When an option cannot be read, by name.
pub fn run(options: VerifyOptions) -> Result<ExitCode, Failure> {
    let configuration = match &options.configuration {
        None => GameConfiguration::embedded_default(),
        Some(file) => GameConfiguration::parse(&std::fs::read(file).map_err(|error| format!("--configuration: {error}"))?)?,
    };
    let raw = RawClaim {
        server_seed: Some(options.server_seed),
        user_seed: Some(options.user_seed),
        nonce: Some(options.nonce),
        hazard_seed: Some(options.hazard_seed),
        difficulty: Some(options.difficulty),
        hashed_server_seed: options.hashed_server_seed,
        hazard_epoch: options.hazard_epoch,
        anchor: options.anchor,
    };
    let mut claim = raw.parse()?;
    claim.collision_columns = options.collision_columns;
    claim.config_hash = options.config_hash;
    let proof = proof::verify(&claim, &configuration);
    println!("hashedServerSeed  {}", proof.hashed_server_seed);
    println!("roundKey          {}", proof.round_key);
    println!("collisionColumns  {:?}", proof.collision_columns);
    for check in &proof.checks {
        println!(
            "{}  {}: {}",
            if check.ok { "ok      " } else { "MISMATCH" },
            check.name,
            check.detail
        );
    }
    match proof.first_mismatch() {
        None => Ok(ExitCode::SUCCESS),
        Some(check) => {
            println!("the round does not verify: {}", check.name);
            Ok(ExitCode::FAILURE)
        }
    }
}
