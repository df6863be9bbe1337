//! A player's past bets, with everything that is needed to check them. The seed of a bet is shown once it is no longer open,
//! whichever way it ended.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::game::hazards::EPOCHS_PER_DAY;
use crate::ledger::LedgerError;
use crate::ledger::history::{self, BetRow};
use crate::play::Refusal;
use crate::play::admission::admit;
use crate::play::context::{Context, Player};
use crate::play::hazards::anchor_of_epoch;
use crate::play::place_bet::unwritable;
use crate::play::round::{coefficient_of, end_reason_of, facts_of_bet, open_server_seed, payout_of, player_of, settlement_of, stake_of};
use crate::play::view::BetView;

/// The most bets that one page shows.
pub const LARGEST_PAGE: u32 = 100;

/// One page of the history, newest first.
pub struct BetPage {
    pub bets: Vec<BetView>,
    /// Continues after the last bet; `None` at the end.
    pub next: Option<String>,
}

/// A page of the player's bets. `before` is the `next` of the page before.
///
/// # Errors
/// [`Refusal::ValidationFailed`] when the limit or the cursor is not one, the gate's refusals, or [`Refusal::Unavailable`].
pub async fn bets(context: &Arc<Context>, player: &Player, limit: u32, before: Option<&str>) -> Result<BetPage, Refusal> {
    admit(context, player).await?;
    if !(1..=LARGEST_PAGE).contains(&limit) {
        return Err(Refusal::ValidationFailed {
            field: "limit",
            detail: format!("1 to {LARGEST_PAGE}"),
        });
    }
    let before: i64 = match before {
        None => i64::MAX,
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().map_err(|_| bad_cursor())?,
        Some(_) => return Err(bad_cursor()),
    };
    let rows = context
        .ledger
        .run_for(&player.id, async |connection| {
            history::page(connection, &player.id, before, i64::from(limit) + 1).await
        })
        .await;
    let mut rows = rows.map_err(unwritable)?;
    let is_last = rows.len() <= limit as usize;
    rows.truncate(limit as usize);
    let next = rows.last().filter(|_| !is_last).map(|bet| bet.nonce.to_string());
    // The bets of a page share few days, and each day is asked for once.
    let mut anchors: HashMap<u64, String> = HashMap::new();
    let mut bets = Vec::with_capacity(rows.len());
    for row in rows {
        let day = epoch_of(&row) / u64::from(EPOCHS_PER_DAY);
        let anchor = match anchors.get(&day) {
            Some(known) => known.clone(),
            None => anchors.entry(day).or_insert(anchor_of(context, &row).await?).clone(),
        };
        bets.push(view_of(context, &row, anchor).await.map_err(unwritable)?);
    }
    Ok(BetPage { bets, next })
}

fn bad_cursor() -> Refusal {
    Refusal::ValidationFailed {
        field: "before",
        detail: "the `next` of an earlier page".to_owned(),
    }
}

/// One of the player's bets.
///
/// # Errors
/// [`Refusal::NotFound`] when it is not the player's, the gate's refusals, or [`Refusal::Unavailable`].
pub async fn bet(context: &Arc<Context>, player: &Player, bet_id: Uuid) -> Result<BetView, Refusal> {
    admit(context, player).await?;
    let row = context
        .ledger
        .run_for(&player.id, async |connection| history::by_id(connection, &player.id, bet_id).await)
        .await
        .map_err(unwritable)?;
    let row = row.ok_or(Refusal::NotFound { what: "the bet" })?;
    let anchor = anchor_of(context, &row).await?;
    view_of(context, &row, anchor).await.map_err(unwritable)
}

fn epoch_of(bet: &BetRow) -> u64 {
    u64::try_from(bet.hazard_epoch).unwrap_or_default()
}

async fn anchor_of(context: &Arc<Context>, bet: &BetRow) -> Result<String, Refusal> {
    let published = anchor_of_epoch(context, epoch_of(bet)).await?;
    Ok(published.map(|published| published.anchor).unwrap_or_default())
}

async fn view_of(context: &Context, bet: &BetRow, anchor: String) -> Result<BetView, LedgerError> {
    const UNREADABLE: LedgerError = LedgerError::Unreadable { what: "bets" };
    let configuration = context.configuration(bet.configuration_version).await?.ok_or(UNREADABLE)?;
    let (server_seed, collision_columns) = if bet.state.is_open() {
        (None, None)
    } else {
        let seed = open_server_seed(bet, &player_of(bet)?, &context.sealing)?;
        (
            Some(seed.reveal().to_owned()),
            Some(facts_of_bet(context, bet).await?.collision_columns),
        )
    };
    Ok(BetView {
        id: bet.bet_id,
        created_at: bet.created_at,
        settled_at: bet.settled_at,
        status: bet.state.as_str().to_owned(),
        settlement: settlement_of(bet.state),
        stake: stake_of(bet)?,
        win_amount: payout_of(bet)?,
        currency: bet.currency.clone(),
        decimal_places: u8::try_from(bet.decimal_places).map_err(|_| UNREADABLE)?,
        difficulty: bet.difficulty.parse().map_err(|_| UNREADABLE)?,
        coefficient: coefficient_of(bet)?,
        last_lane: bet.last_lane,
        end_reason: end_reason_of(bet)?,
        configuration_version: bet.configuration_version,
        configuration_hash: configuration.game.hash().to_owned(),
        user_seed: bet.user_seed.clone(),
        user_seed_fresh: bet.user_seed_fresh,
        nonce: u64::try_from(bet.nonce).map_err(|_| UNREADABLE)?,
        hazard_epoch: u64::try_from(bet.hazard_epoch).map_err(|_| UNREADABLE)?,
        hazard_seed: bet.hazard_seed.clone(),
        anchor,
        commitment: bet.commitment.clone(),
        server_seed,
        collision_columns,
    })
}
