//! Checking a round: the claim is recomputed under the configuration that it names, with what the record published.

use crate::game::claim::RawClaim;
use crate::game::proof::{self, Proof};
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

/// Verifies a claim.
///
/// # Errors
/// [`Refusal::ValidationFailed`] naming the field that cannot be read, [`Refusal::NotFound`] for an unknown configuration.
pub async fn verify(context: &Context, claim: &RawClaim, configuration_version: Option<i32>) -> Result<Proof, Refusal> {
    let mut claim = claim.parse().map_err(|error| Refusal::ValidationFailed {
        field: error.field,
        detail: error.reason,
    })?;
    let version = configuration_version.unwrap_or(context.configuration.version);
    let configuration = context.configuration(version).await.map_err(unwritable)?;
    let configuration = configuration.ok_or(Refusal::NotFound {
        what: "the configuration version",
    })?;
    if let (Some(epoch), Some(anchor)) = (claim.hazard_epoch, &claim.anchor) {
        let published = anchor_of_epoch(context, epoch.number())
            .await?
            .filter(|published| published.anchor == anchor.as_str());
        claim.published_at_unix_ms = published.and_then(|published| u64::try_from(published.published_at.timestamp_millis()).ok());
    }
    Ok(proof::verify(&claim, &configuration.game))
}
