//! A bet that is sent again under its Idempotency-Key. The key is kept with the bet, so the bet's own row says what the first
//! answer was or would have been; nothing is debited here. A bet whose debit never left has set its key free: it is not found, and
//! the repeat is a new bet.

use std::sync::Arc;

use crate::game::bet_state::BetState;
use crate::game::money::Amount;
use crate::ledger::history::{self, BetRow};
use crate::play::admission::{admit, admit_by_record, refuse_while_unwritable};
use crate::play::bet_order::BetRequest;
use crate::play::context::{Context, Player};
use crate::play::place_bet::{LONGEST_BET_PAUSE_MS, refusal_of_status, unwritable};
use crate::play::round::{stake_of, view_of_ended_bet};
use crate::play::view::RoundView;
use crate::play::{Refusal, recover};

/// A refusal before the debit: a bet that was placed under the same key answers first.
pub(super) async fn answer_by_key(
    context: &Arc<Context>,
    player: &Player,
    request: &BetRequest,
    refusal: Refusal,
) -> Result<RoundView, Refusal> {
    let Some(key) = request.idempotency_key.as_deref() else {
        return Err(refusal);
    };
    // What is wrong with a request is found before anybody was asked who may ask, and how often.
    match refusal {
        Refusal::Unauthenticated | Refusal::RateLimited { .. } => return Err(refusal),
        Refusal::Unavailable => admit_by_record(context, player).await?,
        _ => admit(context, player).await?,
    }
    let found = context
        .ledger
        .run_for(&player.id, async |connection| {
            history::by_idempotency_key(connection, &player.id, key).await
        })
        .await;
    match found {
        Ok(Some(bet)) if !same_contents(&bet, request) => Err(Refusal::IdempotencyKeyReused),
        Ok(Some(bet)) => answer_of(context, &bet).await,
        Ok(None) => Err(refusal),
        Err(error) => Err(unwritable(error)),
    }
}

/// Whether a repeat asks for the bet that was placed under its key.
fn same_contents(bet: &BetRow, request: &BetRequest) -> bool {
    let stake = u8::try_from(bet.decimal_places)
        .ok()
        .and_then(|places| Amount::parse(&request.bet_amount, places).ok());
    stake.is_some() && stake == stake_of(bet).ok() && bet.difficulty == request.difficulty && bet.currency == request.currency
}

/// What a repeat is told of the bet that its key names.
async fn answer_of(context: &Arc<Context>, bet: &BetRow) -> Result<RoundView, Refusal> {
    match bet.state {
        BetState::Pending => Err(Refusal::BetInProgress {
            retry_after_ms: LONGEST_BET_PAUSE_MS,
        }),
        BetState::Rejected => Err(refusal_of_status(bet.refused_status.as_deref().unwrap_or_default())),
        BetState::PendingCancel | BetState::Cancelled => Err(Refusal::BetUnconfirmed),
        BetState::Placed => {
            // It may open the session anew, or end the round.
            refuse_while_unwritable(context)?;
            recover::view_of_open_bet(context, bet).await
        }
        BetState::PendingSettlement | BetState::Won | BetState::Lost | BetState::PendingVoid | BetState::Voided => {
            view_of_ended_bet(bet).map_err(unwritable)
        }
    }
}
