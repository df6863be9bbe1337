//! Checking a round: the claim is recomputed under the configuration that it names, and held against what the record published.
//! Anybody may make a claim, so that few are looked at together and few wait; whoever comes beyond that comes again later.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::game::claim::RawClaim;
use crate::game::claim::{Claim, Published};
use crate::game::hazards::{Anchor, Epoch};
use crate::game::proof::{self, Proof};
use crate::ledger::history;
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
    let (shared, version) = (Arc::clone(context), raw.config_version.unwrap_or(context.configuration.version));
    // Nobody can stop the hashing, so that the turn is its own and not the caller's, who could pass it on by hanging up.
    let flow = context.spawn(async move {
        let _held = (place, turn);
        recompute(&shared, claim, version).await
    });
    flow.await.unwrap_or(Err(Refusal::Unavailable))
}

async fn recompute(context: &Arc<Context>, mut claim: Claim, version: i32) -> Result<Proof, Refusal> {
    let configuration = configuration(context, version).await?;
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
