//! Checking a round: the claim is recomputed under the configuration that it names, with what the record published.

use tokio::sync::Semaphore;

use crate::game::claim::RawClaim;
use crate::game::hazards::Anchor;
use crate::game::proof::{self, Proof, Publication};
use crate::play::Refusal;
use crate::play::context::Context;
use crate::play::hazards::anchor_of_epoch;
use crate::play::place_bet::unwritable;

/// The stored bytes of a configuration version.
///
/// # Errors
/// [`Refusal::NotFound`] when there is no such version.
pub async fn configuration_bytes(context: &Context, version: i32) -> Result<Vec<u8>, Refusal> {
    let configuration = context.configuration(version).await.map_err(unwritable)?;
    Ok(configuration
        .ok_or(Refusal::NotFound {
            what: "the configuration version",
        })?
        .game
        .bytes()
        .to_vec())
}

/// So many claims are verified at a time; the others wait their turn.
static VERIFICATIONS: Semaphore = Semaphore::const_new(2);

/// Verifies a claim.
///
/// # Errors
/// [`Refusal::ValidationFailed`] naming the field that cannot be read, or the code of its own that the difficulty and the user
/// seed have, [`Refusal::NotFound`] for an unknown configuration.
pub async fn verify(context: &Context, claim: &RawClaim, configuration_version: Option<i32>) -> Result<Proof, Refusal> {
    let mut claim = claim.parse().map_err(|error| match error.field {
        "difficulty" => Refusal::InvalidDifficulty,
        "userSeed" => Refusal::InvalidUserSeed,
        field => Refusal::ValidationFailed {
            field,
            detail: error.reason,
        },
    })?;
    let version = configuration_version.unwrap_or(context.configuration.version);
    let configuration = context.configuration(version).await.map_err(unwritable)?;
    let configuration = configuration.ok_or(Refusal::NotFound {
        what: "the configuration version",
    })?;
    if let Some(epoch) = claim.hazard_epoch {
        let published = anchor_of_epoch(context, epoch.number()).await?;
        claim.publication = published.and_then(|published| {
            Some(Publication {
                anchor: Anchor::parse(&published.anchor).ok()?,
                at_unix_ms: u64::try_from(published.published_at.timestamp_millis()).ok()?,
            })
        });
    }
    // A claim about a chain may cost seventeen thousand hashes, and anybody may make one: not on a thread that serves players.
    let _turn = VERIFICATIONS.acquire().await.map_err(|_| Refusal::Unavailable)?;
    tokio::task::spawn_blocking(move || proof::verify(&claim, &configuration.game))
        .await
        .map_err(|_| Refusal::Unavailable)
}
