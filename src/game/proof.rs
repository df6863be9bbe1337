//! The proof that a round was fair: everything recomputed from what was shown before the bet and revealed after it.
//!
//! HTTP, the command line, the audit, the load tool and (in a language of its own) the player's browser all come to one of three
//! verdicts. A claim is invalid as soon as one thing in it is wrong. It is valid when nothing is missing of what a round's
//! fairness rests on: the commitment, the configuration, the columns, the beacon up to an anchor that was really published for
//! its day, the end and the payment. Anything between is incomplete, and what could not be checked is listed.
//! What rests on the configuration is checked under the one that the round names and under no other: another paytable gives another
//! road, and a right round would be called wrong.

use serde::Serialize;

use super::claim::{Claim, Published};
use super::configuration::GameConfiguration;
use super::fairness::{Commitment, HazardSeed, collision_columns, round_key};
use super::finding::{Check, Finding, Unchecked};
use super::hazards::{Anchor, EPOCH_MS, EPOCHS_PER_DAY, Epoch, index_under};
use super::proof_of_end;

const COLUMNS: &str = "collision_columns_match";

/// What follows from a claim as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All that a round's fairness rests on was checked, and is right.
    Valid,
    /// Something does not match.
    Invalid,
    /// Nothing is wrong, and something could not be checked.
    Incomplete,
}

/// What follows from a claim, and whether everything that it states agrees.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    pub verdict: Verdict,
    /// True only where the verdict is "valid".
    pub valid: bool,
    pub hashed_server_seed: String,
    /// The key of the round's keystream, in hexadecimal.
    pub round_key: String,
    /// The road of the round; null where the round names a configuration that is not at hand.
    pub collision_columns: Option<Vec<u8>>,
    /// What was compared; the first that is not ok is the first thing that does not match.
    pub checks: Vec<Check>,
    /// What could not be compared.
    pub unchecked: Vec<Unchecked>,
}

impl Proof {
    /// The first thing that does not match.
    pub fn first_mismatch(&self) -> Option<&Check> {
        self.checks.iter().find(|check| !check.ok)
    }

    fn of(computed: Computed, findings: Vec<Finding>) -> Self {
        let (mut checks, mut unchecked) = (Vec::new(), Vec::new());
        for finding in findings {
            match finding {
                Finding::Checked(check) => checks.push(check),
                Finding::Unchecked(missing) => unchecked.push(missing),
            }
        }
        let verdict = if checks.iter().any(|check| !check.ok) {
            Verdict::Invalid
        } else if unchecked.is_empty() {
            Verdict::Valid
        } else {
            Verdict::Incomplete
        };
        Self {
            verdict,
            valid: verdict == Verdict::Valid,
            hashed_server_seed: computed.commitment.as_str().to_owned(),
            round_key: hex::encode(computed.round_key),
            collision_columns: computed.columns,
            checks,
            unchecked,
        }
    }
}

/// What the seeds give.
struct Computed {
    commitment: Commitment,
    round_key: [u8; 32],
    columns: Option<Vec<u8>>,
}

/// Recomputes a round under the configuration that it is known to have, and compares it with what is claimed.
pub fn verify(claim: &Claim, configuration: &GameConfiguration) -> Proof {
    verify_under(claim, Some(configuration))
}

/// The same with the configuration that the round names, or `None` where it is not at hand: what rests on it is then listed.
pub fn verify_under(claim: &Claim, configuration: Option<&GameConfiguration>) -> Proof {
    let round_key = round_key(&claim.server_seed, &claim.user_seed, claim.nonce, &claim.hazard_seed);
    let computed = Computed {
        commitment: claim.server_seed.commitment(),
        columns: configuration.map(|configuration| collision_columns(&round_key, configuration.paytable(claim.difficulty).thresholds())),
        round_key,
    };
    let mut findings = vec![
        report_form(),
        check_commitment(claim.hashed_server_seed.as_ref(), &computed.commitment),
        check_configuration(claim.config_hash.as_deref(), configuration),
    ];
    findings.extend(check_beacon(claim));
    findings.extend(check_what_rests_on(configuration, claim, computed.columns.as_deref()));
    findings.extend(claim.user_seed_fresh.map(|claimed| check_freshness(claimed, claim.recorded_fresh)));
    Proof::of(computed, findings)
}

/// A claim is made of parsed parts, so this always holds by the time it is said.
fn report_form() -> Finding {
    let detail = || "server seed, user seed, nonce and hazard seed are written as the rules demand".to_owned();
    Finding::compared("inputs_are_well_formed", true, detail, String::new)
}

fn check_commitment(claimed: Option<&Commitment>, computed: &Commitment) -> Finding {
    const NAME: &str = "server_seed_matches_commitment";
    let Some(claimed) = claimed else {
        return Finding::missing(
            NAME,
            "the claim has no hashedServerSeed, the commitment that was shown before the bet",
        );
    };
    Finding::compared(
        NAME,
        claimed == computed,
        || "the SHA-256 of the server seed is the hash that was shown before the bet".to_owned(),
        || format!("the SHA-256 of the server seed is {}, not {}", computed.as_str(), claimed.as_str()),
    )
}

fn check_configuration(claimed: Option<&str>, configuration: Option<&GameConfiguration>) -> Finding {
    const NAME: &str = "configuration_matches_hash";
    let Some(claimed) = claimed else {
        return Finding::missing(NAME, "the claim has no configHash");
    };
    let Some(configuration) = configuration else {
        return Finding::missing(NAME, "the configuration that the round names is not at hand");
    };
    Finding::compared(
        NAME,
        claimed == configuration.hash(),
        || "the configuration is the one that the round names".to_owned(),
        || format!("the SHA-256 of the configuration is {}, not {claimed}", configuration.hash()),
    )
}

/// Columns, stake, end and payment: under another configuration than the round's they would be called wrong where they are right.
fn check_what_rests_on(configuration: Option<&GameConfiguration>, claim: &Claim, columns: Option<&[u8]>) -> Vec<Finding> {
    if let (Some(configuration), Some(columns)) = (configuration, columns) {
        let mut findings = vec![check_columns(claim.collision_columns.as_deref(), columns)];
        findings.extend(proof_of_end::check(claim, configuration, columns));
        return findings;
    }
    let why = "it rests on the configuration that the round names, which is not at hand";
    let names = [COLUMNS].into_iter().chain(proof_of_end::NAMES);
    names.map(|name| Finding::missing(name, why)).collect()
}

/// The hazard seed is a link of its day's chain, and the chain's anchor was public before the day. Anybody can make up a chain
/// and its anchor: what counts is the one that was published.
fn check_beacon(claim: &Claim) -> Vec<Finding> {
    const CHAIN: &str = "hazard_seed_belongs_to_anchor";
    const ANCHOR: &str = "anchor_is_the_published_one";
    let known = match &claim.published {
        Published::Anchor { anchor, .. } => Some(anchor),
        Published::Unknown | Published::Never => None,
    };
    let chain = match claim.anchor.as_ref().or(known) {
        Some(anchor) => check_chain(CHAIN, &claim.hazard_seed, anchor, claim.hazard_epoch),
        None => Finding::missing(CHAIN, "the anchor of the day is not known"),
    };
    let Some(epoch) = claim.hazard_epoch else {
        return vec![chain, Finding::missing(ANCHOR, "the claim has no hazardEpoch, which says the day")];
    };
    match &claim.published {
        Published::Unknown => vec![
            chain,
            Finding::missing(ANCHOR, "the anchor that was published for the day is not known here"),
        ],
        Published::Never => {
            let wrong = || "no anchor was ever published for the day of this epoch".to_owned();
            vec![chain, Finding::compared(ANCHOR, false, String::new, wrong)]
        }
        Published::Anchor { anchor, at_unix_ms } => {
            let mut findings = vec![chain, check_anchor(ANCHOR, claim.anchor.as_ref().unwrap_or(anchor), anchor)];
            findings.extend(at_unix_ms.map(|at_unix_ms| report_publication(epoch, at_unix_ms)));
            findings
        }
    }
}

fn check_chain(name: &'static str, hazard_seed: &HazardSeed, anchor: &Anchor, epoch: Option<Epoch>) -> Finding {
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
    Finding::Checked(Check { name, ok, detail })
}

fn check_anchor(name: &'static str, claimed: &Anchor, published: &Anchor) -> Finding {
    Finding::compared(
        name,
        claimed == published,
        || "the anchor is the one that was published for the day".to_owned(),
        || {
            format!(
                "the anchor published for the day is {}, not {}",
                published.as_str(),
                claimed.as_str()
            )
        },
    )
}

/// The anchor is due no later than the day before its own. A late one proves less, but nothing is wrong with the round.
fn report_publication(epoch: Epoch, published_at_unix_ms: u64) -> Finding {
    let day_begins_at_unix_ms = epoch.day() * u64::from(EPOCHS_PER_DAY) * EPOCH_MS;
    let detail = || {
        if published_at_unix_ms < day_begins_at_unix_ms {
            "the anchor was published before its day began".to_owned()
        } else {
            let late_s = (published_at_unix_ms - day_begins_at_unix_ms) / 1_000;
            format!("late: the anchor was published {late_s} s after its day began")
        }
    };
    Finding::compared("anchor_published_in_time", true, detail, String::new)
}

fn check_columns(claimed: Option<&[u8]>, computed: &[u8]) -> Finding {
    let Some(claimed) = claimed else {
        return Finding::missing(COLUMNS, "the claim has no collisionColumns");
    };
    Finding::compared(
        COLUMNS,
        claimed == computed,
        || "the collision columns are those that were shown".to_owned(),
        || format!("the collision columns are {computed:?}, not {claimed:?}"),
    )
}

/// No seed tells whether the player had sent the user seed before: only the record of the player's bets does.
fn check_freshness(claimed: bool, recorded: Option<bool>) -> Finding {
    const NAME: &str = "user_seed_fresh_as_recorded";
    let Some(recorded) = recorded else {
        return Finding::missing(
            NAME,
            "userSeedFresh follows from no seed, and the bet is not in a record that is at hand",
        );
    };
    let word = if recorded { "fresh" } else { "not fresh" };
    Finding::compared(
        NAME,
        claimed == recorded,
        || format!("the record says as well that the user seed was {word}"),
        || format!("the record says that the user seed was {word}"),
    )
}
