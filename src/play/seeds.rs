//! The player's seeds: what the next bet will use, and the player's own part of it.

use crate::failpoint;
use crate::game::fairness::UserSeed;
use crate::ledger::players::{self, SeedChange, SeedPair};
use crate::play::Refusal;
use crate::play::admission::admit;
use crate::play::context::{Context, Player};
use crate::play::place_bet::unwritable;
use crate::play::view::SeedsView;

/// The seeds that the player's next bet will use.
///
/// # Errors
/// The gate's refusals, or [`Refusal::Unavailable`].
pub async fn seeds(context: &Context, player: &Player) -> Result<SeedsView, Refusal> {
    admit(context, player).await?;
    read(context, player).await
}

/// Replaces the user seed while no round is open.
///
/// # Errors
/// [`Refusal::InvalidUserSeed`], [`Refusal::ActiveSessionExists`], or as [`seeds`].
pub async fn change_user_seed(context: &Context, player: &Player, user_seed: &str) -> Result<SeedsView, Refusal> {
    admit(context, player).await?;
    let user_seed = UserSeed::parse(user_seed).map_err(|_| Refusal::InvalidUserSeed)?;
    let changed = context
        .ledger
        .run_for(&player.id, async |connection| {
            players::change_user_seed(connection, &player.id, user_seed.as_str()).await
        })
        .await
        .map_err(unwritable)?;
    failpoint::reach("K19");
    match changed {
        SeedChange::Changed => read(context, player).await,
        SeedChange::RoundOpen => Err(Refusal::ActiveSessionExists),
        SeedChange::NoSeeds => Err(Refusal::Unauthenticated),
    }
}

async fn read(context: &Context, player: &Player) -> Result<SeedsView, Refusal> {
    let pair = context
        .ledger
        .run_for(&player.id, async |connection| players::seed_pair(connection, &player.id).await)
        .await
        .map_err(unwritable)?;
    let SeedPair {
        user_seed,
        commitment,
        next_commitment,
        nonce,
    } = pair.ok_or(Refusal::Unauthenticated)?;
    Ok(SeedsView {
        user_seed,
        commitment,
        next_commitment,
        nonce: u64::try_from(nonce).map_err(|_| Refusal::Unavailable)?,
    })
}
