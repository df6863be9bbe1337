//! Cashing out: one script decides it, one statement makes it durable, then the player is told.

use std::sync::Arc;

use crate::play::Refusal;
use crate::play::context::{Context, Player};
use crate::play::take_step::move_on;
use crate::play::view::RoundView;

/// Cashes out where the player stands, or on the lane that is named. A round that has just ended returns its end.
///
/// # Errors
/// The refusals of the contract; on [`Refusal::Unavailable`] a repeat tells what became of it.
pub async fn cash_out(
    context: &Arc<Context>,
    player: &Player,
    line_number: Option<u8>,
    round_id: Option<&str>,
) -> Result<RoundView, Refusal> {
    move_on(context, player, round_id, |caller, round| {
        context.live.cash_out(caller, line_number, round)
    })
    .await
}
