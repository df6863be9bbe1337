//! The proof that a round was fair: everything recomputed from what was shown before the bet and revealed after it.
//!
//! HTTP, the command line, the audit and the player's browser all call `verify`. A claim states what is known of a round; each
//! optional statement adds a check, and the first check that is not ok names the first thing that does not match.

use serde::Serialize;

use super::configuration::GameConfiguration;
use super::difficulty::Difficulty;
use super::fairness::{Commitment, HazardSeed, Nonce, ServerSeed, UserSeed, collision_columns, round_key};
use super::hazards::{Anchor, EPOCH_MS, EPOCHS_PER_DAY, Epoch, index_under};

/// What is claimed of a round. It holds a server seed and therefore has no `Debug`.
#[derive(Clone)]
pub struct Claim {
    pub server_seed: ServerSeed,
    pub user_seed: UserSeed,
    pub nonce: Nonce,
    pub hazard_seed: HazardSeed,
    pub difficulty: Difficulty,
    /// The commitment that was shown before the bet.
    pub hashed_server_seed: Option<Commitment>,
    /// The epoch that the bet named.
    pub hazard_epoch: Option<Epoch>,
    /// The anchor of the epoch's day.
    pub anchor: Option<Anchor>,
    /// What was really published for the epoch's day, if somebody who knows it adds it.
    pub publication: Option<Publication>,
    /// The collision columns that were shown after the round.
    pub collision_columns: Option<Vec<u8>>,
    /// The SHA-256 of the configuration that the round names.
    pub config_hash: Option<String>,
}

/// An anchor as it was published.
#[derive(Clone)]
pub struct Publication {
    pub anchor: Anchor,
    /// In Unix milliseconds. Late is reported, and is not wrong.
    pub at_unix_ms: u64,
}

/// What follows from a claim, and whether everything that it states agrees.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    pub valid: bool,
    pub hashed_server_seed: String,
    /// The key of the round's keystream, in hexadecimal.
    pub round_key: String,
    pub collision_columns: Vec<u8>,
    pub checks: Vec<Check>,
}

/// One comparison.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Check {
    pub name: &'static str,
    pub ok: bool,
    /// What was compared, in words.
    pub detail: String,
}

impl Proof {
    /// The first thing that does not match.
    pub fn first_mismatch(&self) -> Option<&Check> {
        self.checks.iter().find(|check| !check.ok)
    }
}

/// Recomputes a round under a configuration and compares it with what is claimed.
pub fn verify(claim: &Claim, configuration: &GameConfiguration) -> Proof {
    let commitment = claim.server_seed.commitment();
    let round_key = round_key(&claim.server_seed, &claim.user_seed, claim.nonce, &claim.hazard_seed);
    let columns = collision_columns(&round_key, configuration.paytable(claim.difficulty).thresholds());
    let published = claim.publication.as_ref().map(|publication| &publication.anchor);
    let checks: Vec<Check> = [
        Some(report_form()),
        claim
            .hashed_server_seed
            .as_ref()
            .map(|claimed| check_commitment(claimed, &commitment)),
        claim
            .anchor
            .as_ref()
            .or(published)
            .map(|anchor| check_chain(&claim.hazard_seed, anchor, claim.hazard_epoch)),
        claim
            .anchor
            .as_ref()
            .zip(published)
            .map(|(claimed, published)| check_anchor(claimed, published)),
        claim
            .hazard_epoch
            .zip(claim.publication.as_ref())
            .map(|(epoch, publication)| report_publication(epoch, publication.at_unix_ms)),
        claim
            .config_hash
            .as_deref()
            .map(|claimed| check_configuration(claimed, configuration)),
        claim.collision_columns.as_deref().map(|claimed| check_columns(claimed, &columns)),
    ]
    .into_iter()
    .flatten()
    .collect();
    Proof {
        valid: checks.iter().all(|check| check.ok),
        hashed_server_seed: commitment.as_str().to_owned(),
        round_key: hex::encode(round_key),
        collision_columns: columns,
        checks,
    }
}

/// A claim is made of parsed parts, so this always holds by the time it is said.
fn report_form() -> Check {
    let detail = "server seed, user seed, nonce and hazard seed are written as the rules demand".to_owned();
    Check {
        name: "inputs_are_well_formed",
        ok: true,
        detail,
    }
}

fn check_commitment(claimed: &Commitment, computed: &Commitment) -> Check {
    let ok = claimed == computed;
    let detail = if ok {
        "the SHA-256 of the server seed is the hash that was shown before the bet".to_owned()
    } else {
        format!("the SHA-256 of the server seed is {}, not {}", computed.as_str(), claimed.as_str())
    };
    Check {
        name: "server_seed_matches_commitment",
        ok,
        detail,
    }
}

fn check_chain(hazard_seed: &HazardSeed, anchor: &Anchor, epoch: Option<Epoch>) -> Check {
    let (ok, detail) = match (index_under(hazard_seed, anchor), epoch) {
        (None, _) => (
            false,
            format!("hashed up to {EPOCHS_PER_DAY} times, the hazard seed never becomes the anchor of the day"),
        ),
        (Some(index), Some(epoch)) if index != epoch.index() => (
            false,
            format!(
                "the hazard seed belongs to epoch {index} of its day, not to epoch {} as claimed",
                epoch.index()
            ),
        ),
        (Some(index), _) => (
            true,
            format!("hashed {} times, the hazard seed becomes the anchor of the day", index + 1),
        ),
    };
    Check {
        name: "hazard_seed_belongs_to_anchor",
        ok,
        detail,
    }
}

/// Anybody can make up a chain and its anchor. What counts is the one that was published.
fn check_anchor(claimed: &Anchor, published: &Anchor) -> Check {
    let ok = claimed == published;
    let detail = if ok {
        "the anchor is the one that was published for the day".to_owned()
    } else {
        format!(
            "the anchor published for the day is {}, not {}",
            published.as_str(),
            claimed.as_str()
        )
    };
    Check {
        name: "anchor_is_the_published_one",
        ok,
        detail,
    }
}

/// The anchor is due no later than the day before its own. A late one proves less, but nothing is wrong with the round.
fn report_publication(epoch: Epoch, published_at_unix_ms: u64) -> Check {
    let day_begins_at_unix_ms = epoch.day() * u64::from(EPOCHS_PER_DAY) * EPOCH_MS;
    let detail = if published_at_unix_ms < day_begins_at_unix_ms {
        "the anchor was published before its day began".to_owned()
    } else {
        let late_s = (published_at_unix_ms - day_begins_at_unix_ms) / 1_000;
        format!("late: the anchor was published {late_s} s after its day began")
    };
    Check {
        name: "anchor_published_in_time",
        ok: true,
        detail,
    }
}

fn check_configuration(claimed: &str, configuration: &GameConfiguration) -> Check {
    let ok = claimed == configuration.hash();
    let detail = if ok {
        "the configuration is the one that the round names".to_owned()
    } else {
        format!("the SHA-256 of the configuration is {}, not {claimed}", configuration.hash())
    };
    Check {
        name: "configuration_matches_hash",
        ok,
        detail,
    }
}

fn check_columns(claimed: &[u8], computed: &[u8]) -> Check {
    let ok = claimed == computed;
    let detail = if ok {
        "the collision columns are those that were shown".to_owned()
    } else {
        format!("the collision columns are {computed:?}, not {claimed:?}")
    };
    Check {
        name: "collision_columns_match",
        ok,
        detail,
    }
}
