//! Checking a round: the claim is recomputed under the configuration that it names, by version or by hash, and held against what
//! the record published. Where it names none, it is the configuration in force.
//! Anybody may make a claim, so that few are looked at together and few wait; whoever comes beyond that comes again later.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::game::claim::{Claim, Published, RawClaim};
use crate::game::hazards::{Anchor, Epoch};
use crate::game::proof::{self, Proof};
use crate::ledger::{configurations, history};
use crate::play::Refusal;
use crate::play::context::{Configuration, Context};
use crate::play::hazards::anchor_for_anybody;
use crate::play::kept_answers::ABSENT_FOR;
use crate::play::place_bet::unwritable;

/// So many claims are verified at a time: each may cost seventeen thousand hashes.
static VERIFICATIONS: Semaphore = Semaphore::const_new(2);
/// So many are verified or wait for their turn.
pub const MOST_CLAIMS: usize = 32;
static PLACES: Semaphore = Semaphore::const_new(MOST_CLAIMS);

/// A stored configuration version.
///
/// # Errors
/// [`Refusal::NotFound`] when there is no such version, [`Refusal::Unavailable`] when too many were asked for that there are not.
pub async fn configuration(context: &Context, version: i32) -> Result<Arc<Configuration>, Refusal> {
    const NOT_FOUND: Refusal = Refusal::NotFound {
        what: "the configuration version",
    };
    if let Some(known) = context.known_configuration(version) {
        return Ok(known);
    }
    if context.kept.unknown_versions.get(&version).is_some() {
        return Err(NOT_FOUND);
    }
    if !context.kept.may_ask_for_unknown() {
        return Err(Refusal::Unavailable);
    }
    let found = context.configuration(version).await.map_err(unwritable)?;
    if found.is_none() {
        context.kept.unknown_versions.put(version, (), ABSENT_FOR);
    }
    found.ok_or(NOT_FOUND)
}

/// The configuration that a claim names by its version, or else by its hash. Where it names none, or a hash that no configuration of
/// ours ever had, it is the one in force: a hash that does not match it is then wrong.
///
/// # Errors
/// As [`configuration`], for a version.
async fn named_configuration(context: &Context, version: Option<i32>, hash: Option<&str>) -> Result<Arc<Configuration>, Refusal> {
    let found = match (version, hash) {
        (Some(version), _) => return configuration(context, version).await,
        (None, Some(hash)) => configuration_of(context, hash).await?,
        (None, None) => None,
    };
    Ok(found.unwrap_or_else(|| Arc::clone(&context.configuration)))
}

/// The stored configuration with this hash.
async fn configuration_of(context: &Context, hash: &str) -> Result<Option<Arc<Configuration>>, Refusal> {
    if let Some(known) = context.known_configuration_of(hash) {
        return Ok(Some(known));
    }
    if context.kept.unknown_configurations.get(&hash.to_owned()).is_some() {
        return Ok(None);
    }
    if !context.kept.may_ask_for_unknown() {
        return Err(Refusal::Unavailable);
    }
    let version = context
        .ledger
        .run(async |connection| configurations::version_of(connection, hash).await)
        .await
        .map_err(unwritable)?;
    let Some(version) = version else {
        context.kept.unknown_configurations.put(hash.to_owned(), (), ABSENT_FOR);
        return Ok(None);
    };
    context.configuration(version).await.map_err(unwritable)
}

/// Verifies a claim.
///
/// # Errors
/// [`Refusal::ValidationFailed`] naming the field that cannot be read, or the code of its own that the difficulty and the user
/// seed have, [`Refusal::NotFound`] for an unknown configuration, [`Refusal::Unavailable`] when too many claims wait.
pub async fn verify(context: &Arc<Context>, raw: &RawClaim) -> Result<Proof, Refusal> {
    let claim = raw.parse().map_err(|error| match error.field {
        "difficulty" => Refusal::InvalidDifficulty,
        "userSeed" => Refusal::InvalidUserSeed,
        field => Refusal::ValidationFailed {
            field,
            detail: error.reason,
        },
    })?;
    let place = PLACES.try_acquire().map_err(|_| Refusal::Unavailable)?;
    let turn = VERIFICATIONS.acquire().await.map_err(|_| Refusal::Unavailable)?;
    let (shared, version) = (Arc::clone(context), raw.config_version);
    // Nobody can stop the hashing, so that the turn is its own and not the caller's, who could pass it on by hanging up.
    let flow = context.spawn(async move {
        let _held = (place, turn);
        recompute(&shared, claim, version).await
    });
    flow.await.unwrap_or(Err(Refusal::Unavailable))
}

async fn recompute(context: &Arc<Context>, mut claim: Claim, version: Option<i32>) -> Result<Proof, Refusal> {
    let configuration = named_configuration(context, version, claim.config_hash.as_deref()).await?;
    add_what_was_published(context, &mut claim).await?;
    // Not on a thread that serves players.
    tokio::task::spawn_blocking(move || proof::verify(&claim, &configuration.game))
        .await
        .map_err(|_| Refusal::Unavailable)
}

async fn add_what_was_published(context: &Arc<Context>, claim: &mut Claim) -> Result<(), Refusal> {
    if let Some(epoch) = claim.hazard_epoch {
        claim.published = published(context, epoch).await?;
    }
    if claim.user_seed_fresh.is_some() {
        // Whoever brings the server seed was shown it, or the seed is none of ours.
        let commitment = claim.server_seed.commitment();
        claim.recorded_fresh = context
            .ledger
            .run(async |connection| history::freshness(connection, commitment.as_str()).await)
            .await
            .map_err(unwritable)?;
    }
    Ok(())
}

async fn published(context: &Arc<Context>, epoch: Epoch) -> Result<Published, Refusal> {
    let Some(found) = anchor_for_anybody(context, epoch.number()).await? else {
        return Ok(Published::Never);
    };
    Ok(Published::Anchor {
        anchor: Anchor::parse(&found.anchor).map_err(|_| Refusal::Unavailable)?,
        at_unix_ms: u64::try_from(found.published_at.timestamp_millis()).ok(),
    })
}
