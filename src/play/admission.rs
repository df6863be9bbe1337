//! The gate: whether the bearer of a session token may ask at all. Redis answers, in the script that does the work where
//! there is one; PostgreSQL is the owner of the answer, refills a missing copy, and is asked itself for reads while Redis is
//! down.

use crate::failpoint;
use crate::ledger::players;
use crate::live::{Caller, GateRefusal, LiveError, PlayerStanding};
use crate::play::{Context, Player, Refusal};

/// The player as the scripts' gate knows them.
pub fn caller<'a>(context: &Context, player: &'a Player) -> Caller<'a> {
    Caller {
        player: &player.id,
        generation: player.generation,
        rate_limit: context.rate_limit(),
        now_unix_ms: context.clock.now_unix_ms(),
    }
}

/// A script that begins with the gate, asked again once when the player's copy had to be refilled.
///
/// # Errors
/// The gate's refusal, or [`Refusal::Unavailable`].
pub async fn through_gate<T, F: Future<Output = Result<T, LiveError>>>(
    context: &Context,
    player: &Player,
    ask: impl Fn() -> F,
    refusal_of: impl Fn(&T) -> Option<GateRefusal>,
) -> Result<T, Refusal> {
    for refilled in [false, true] {
        let answer = ask().await.map_err(unreachable)?;
        match refusal_of(&answer) {
            None => return Ok(answer),
            Some(GateRefusal::PlayerUnknown) if !refilled => {
                Box::pin(refill(context, player)).await?;
                failpoint::reach("refilled");
            }
            Some(refusal) => return Err(refused(refusal)),
        }
    }
    Err(Refusal::Unavailable)
}

/// Admits a read. While Redis is down the record itself is asked; the rate limit then rests.
///
/// # Errors
/// [`Refusal::Unauthenticated`] after a sign-out, [`Refusal::RateLimited`], or [`Refusal::Unavailable`].
pub async fn admit(context: &Context, player: &Player) -> Result<(), Refusal> {
    context.note_activity(&player.id);
    let asked = through_gate(
        context,
        player,
        || context.live.check_caller(caller(context, player), false),
        |refusal: &Option<GateRefusal>| *refusal,
    )
    .await;
    match asked {
        Ok(_) => Ok(()),
        Err(Refusal::Unavailable) => admit_by_record(context, player).await,
        Err(refusal) => Err(refusal),
    }
}

/// Admits a read by the record alone.
///
/// # Errors
/// As [`admit`].
pub(super) async fn admit_by_record(context: &Context, player: &Player) -> Result<(), Refusal> {
    let standing = context
        .ledger
        .run_for(&player.id, async |connection| players::standing(connection, &player.id).await)
        .await;
    match standing {
        Ok(Some(standing)) if standing.generation == player.generation => Ok(()),
        Ok(_) => Err(Refusal::Unauthenticated),
        Err(error) => {
            tracing::warn!(%error, "a read could be admitted by neither store");
            Err(Refusal::Unavailable)
        }
    }
}

/// Writes the player's standing from the record to Redis.
async fn refill(context: &Context, player: &Player) -> Result<(), Refusal> {
    let standing = context
        .ledger
        .run_for(&player.id, async |connection| players::standing(connection, &player.id).await)
        .await
        .map_err(|_| Refusal::Unavailable)?
        // A token of a sign-in that the record does not know is nobody's.
        .filter(|standing| standing.generation >= player.generation)
        .ok_or(Refusal::Unauthenticated)?;
    let standing = PlayerStanding {
        player: player.id.clone(),
        revision: standing.revision,
        generation: standing.generation,
        status: standing.status,
    };
    context.live.write_player(&standing).await.map_err(unreachable)
}

/// The gate's refusal in the player's words.
pub fn refused(refusal: GateRefusal) -> Refusal {
    match refusal {
        GateRefusal::SignedOut => Refusal::Unauthenticated,
        // The record knew the token a moment ago, so Redis has lost the copy again: that is no reason to sign in anew.
        GateRefusal::PlayerUnknown => Refusal::Unavailable,
        GateRefusal::Suspended => Refusal::AccountSuspended,
        GateRefusal::RateLimited { retry_after_ms } => Refusal::RateLimited { retry_after_ms },
    }
}

/// Redis could not be asked. What a script may have done is found out by whoever asks next.
pub fn unreachable(error: LiveError) -> Refusal {
    tracing::warn!(%error, "Redis could not be used");
    match error {
        LiveError::Full => Refusal::RedisFull,
        _ => Refusal::Unavailable,
    }
}

/// While the record cannot be written no end could be made durable, and on one that lacks bets none may be: whatever could end a round
/// is refused, all alike, before its script runs.
pub(super) fn refuse_while_unwritable(context: &Context) -> Result<(), Refusal> {
    if context.ledger.is_healthy() && !context.record_watch.forbids_play() {
        Ok(())
    } else {
        Err(Refusal::Unavailable)
    }
}
