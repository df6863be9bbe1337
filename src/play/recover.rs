//! Recovery: what makes every bet come to its end whatever died on the way. The sweep keeps the progress of open rounds,
//! finishes ends that were decided but not committed, cancels intents that nobody came back to, and ends rounds whose time is
//! over. A lost session is rebuilt from its bet row, because lanes are a pure function of what the row pins.

use std::sync::Arc;

use chrono::TimeDelta;

use crate::failpoint;
use crate::game::bet_state::BetState;
use crate::game::player::{AgentId, PlayerId, UserId};
use crate::ledger::LedgerError;
use crate::ledger::bets;
use crate::ledger::history::{self, BetRow};
use crate::ledger::sweep::{self, OpenBet};
use crate::live::{LiveError, Progress};
use crate::play::context::Context;
use crate::play::place_bet::{cancel_plan, next_seed, open_session, unwritable};
use crate::play::round::{RoundFacts, facts_of_bet, player_of, stake_of};
use crate::play::settle::Finished;
use crate::play::view::RoundView;
use crate::play::{Refusal, deliver, settle};
use crate::wallet::message::{BetFacts, Debit, cancel_message};

/// Open rounds that one pipelined read asks for.
const SWEEP_BATCH: i64 = 500;
/// How long an ended round still answers to requests that name no round.
const ENDED_JUST_NOW_S: i64 = 60;

/// What became of a lost session.
pub enum Restored {
    /// It is there again, at the last lane known to the record.
    Opened,
    /// No round is open; the player's latest bet, if there is one.
    NoneOpen { latest: Option<Box<BetRow>> },
}

/// Rebuilds the session of the player's open round from the record.
///
/// # Errors
/// [`Refusal::Unavailable`] when a store cannot be used.
pub async fn restore_open_round(context: &Context, player: &PlayerId) -> Result<Restored, Refusal> {
    let latest = context
        .ledger
        .run_for(player, async |connection| history::latest(connection, player).await)
        .await
        .map_err(unwritable)?;
    match latest {
        Some(bet) if bet.state == BetState::Placed => {
            restore(context, &bet).await?;
            Ok(Restored::Opened)
        }
        latest => Ok(Restored::NoneOpen {
            latest: latest.map(Box::new),
        }),
    }
}

/// Opens the session of a placed bet again, marked as restored: the next move first walks to the lane that its client names.
///
/// # Errors
/// [`Refusal::Unavailable`] when a store cannot be used.
pub async fn restore(context: &Context, bet: &BetRow) -> Result<(), Refusal> {
    let facts = facts_of_bet(context, bet).await.map_err(unwritable)?;
    tracing::info!(sequence = bet.sequence, lane = bet.last_lane, "a lost session is rebuilt");
    if open_session(context, &facts, bet.sequence, bet.last_lane, true, None).await {
        Ok(())
    } else {
        Err(Refusal::Unavailable)
    }
}

/// What a repeated bet is told while its round is open: where the player stands, as far as anybody knows.
///
/// # Errors
/// [`Refusal::Unavailable`] when the record cannot be used.
pub async fn view_of_open_bet(context: &Arc<Context>, bet: &BetRow) -> Result<RoundView, Refusal> {
    let player = player_of(bet).map_err(unwritable)?;
    let session = match context.live.session_of(&player).await {
        Ok(session) => session.filter(|session| session.sequence == bet.sequence),
        // A placed bet is always answered with its round, also while Redis is down.
        Err(_) => None,
    };
    match session {
        Some(session) if !session.is_active => settle::finish(context, session).await.map(Finished::view),
        Some(session) => {
            let facts = RoundFacts::of_session(&session).map_err(|_| Refusal::Unavailable)?;
            facts.view_standing(session.current_step).map_err(|_| Refusal::Unavailable)
        }
        None => {
            let facts = facts_of_bet(context, bet).await.map_err(unwritable)?;
            open_session(context, &facts, bet.sequence, bet.last_lane, true, None).await;
            facts.view_standing(bet.last_lane).map_err(|_| Refusal::Unavailable)
        }
    }
}

/// Whether a bet ended within the last minute.
pub fn ended_just_now(context: &Context, bet: &BetRow) -> bool {
    bet.ended_at
        .is_some_and(|ended_at| context.clock.now() - ended_at < TimeDelta::seconds(ENDED_JUST_NOW_S))
}

/// Removes a session whose JSON cannot be read, so that the next request rebuilds it.
pub async fn discard(context: &Context, sequence: i64) {
    let bet = context
        .ledger
        .run(async |connection| history::by_sequence(connection, sequence).await)
        .await;
    if let Ok(Some(bet)) = bet
        && let Ok(player) = player_of(&bet)
    {
        let _ = context.live.discard_unreadable_session(&player, sequence).await;
    }
}

/// What one sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub open: usize,
    pub progressed: u64,
    pub finished: usize,
    pub cancelled: usize,
    pub past_deadline: usize,
}

/// Why a sweep stopped.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    #[error("{0}")]
    Ledger(#[from] LedgerError),
    #[error("{0}")]
    Live(#[from] LiveError),
}

/// Goes over all open bets once. A bet that cannot be dealt with is passed over, so that it does not keep the others from
/// their end; while Redis is down intents are cancelled all the same.
///
/// # Errors
/// When a store cannot be used; what was done is done, the next sweep does the rest.
pub async fn sweep(context: &Arc<Context>) -> Result<Swept, SweepError> {
    let mut swept = Swept::default();
    if context.record_watch.forbids_play() {
        return Ok(swept);
    }
    let (mut after, mut redis_is_down) = (None, None);
    loop {
        let batch = context
            .ledger
            .run_reserved(async |connection| sweep::open_bets(connection, after.as_ref(), SWEEP_BATCH).await)
            .await?;
        after = batch.last().cloned();
        if after.is_none() {
            break;
        }
        swept.open += batch.len();
        let (pending, placed): (Vec<_>, Vec<_>) = batch.into_iter().partition(|bet| bet.state == BetState::Pending);
        for bet in pending {
            if bet.is_older_than(context.settings.recovery.pending_after_ms) {
                swept.cancelled += usize::from(or_passed_over(cancel(context, bet.sequence).await, bet.sequence)?);
            }
        }
        if redis_is_down.is_none() {
            match sweep_placed(context, placed, &mut swept).await {
                Err(SweepError::Live(error)) => redis_is_down = Some(error),
                done => done?,
            }
        }
    }
    if swept.cancelled > 0 {
        deliver::soon(context);
    }
    redis_is_down.map_or(Ok(swept), |error| Err(error.into()))
}

/// What became of one bet; one whose own values stand in its way is reported and left to people.
fn or_passed_over(outcome: Result<bool, SweepError>, sequence: i64) -> Result<bool, SweepError> {
    match outcome {
        // A row that somebody holds locked is swept the next time.
        Err(SweepError::Ledger(error)) if error.is_of_its_own() => {
            tracing::warn!(%error, sequence, "an open bet is busy and is passed over");
            Ok(false)
        }
        Err(SweepError::Ledger(LedgerError::Unavailable(error))) => Err(LedgerError::Unavailable(error).into()),
        Err(SweepError::Live(error)) if !matches!(error, LiveError::Unreadable { .. }) => Err(error.into()),
        Err(error) => {
            tracing::error!(%error, sequence, "an open bet cannot be swept and is passed over");
            Ok(false)
        }
        Ok(done) => Ok(done),
    }
}

/// An intent that nobody came back to: the debit may have been sent, so the stake is returned.
async fn cancel(context: &Context, sequence: i64) -> Result<bool, SweepError> {
    let Some(bet) = context
        .ledger
        .run_reserved(async |connection| history::by_sequence(connection, sequence).await)
        .await?
    else {
        return Ok(false);
    };
    let Some(debit) = context
        .ledger
        .run_reserved(async |connection| history::debit_of(connection, sequence).await)
        .await?
    else {
        return Ok(false);
    };
    let (player, debit) = (player_of(&bet)?, debit_of(context, &debit)?);
    let platform_tx_id = bet.bet_id.to_string();
    // What the operator needs to know stands in the row. The road is not asked for: a seed that cannot be opened must not keep
    // a stake from being returned.
    let message = cancel_message(&BetFacts {
        platform_tx_id: &platform_tx_id,
        user_id: &bet.user_id,
        currency: &bet.currency,
        stake: stake_of(&bet)?,
        decimal_places: u8::try_from(bet.decimal_places).unwrap_or_default(),
        round_id: &platform_tx_id,
        placed_at: bet.placed_at,
        payload: &debit.payload,
        utc_offset_minutes: debit.utc_offset_minutes,
    });
    let (plan, next) = (cancel_plan(context, &message), next_seed(context, &player));
    let cancelled = context
        .ledger
        .run_reserved(async |connection| bets::record_cancelling(connection, sequence, None, &plan, &next).await)
        .await?;
    Ok(cancelled)
}

/// What the stored text of a debit says of its bet.
///
/// # Errors
/// When it is not what this program writes.
pub fn debit_of(context: &Context, message: &str) -> Result<Debit, LedgerError> {
    Debit::read(message, &context.payload.settle_type).map_err(|_| LedgerError::Unreadable { what: "bets.message" })
}

/// Placed rounds: one pipelined read tells how far they have come.
async fn sweep_placed(context: &Arc<Context>, placed: Vec<OpenBet>, swept: &mut Swept) -> Result<(), SweepError> {
    if placed.is_empty() {
        return Ok(());
    }
    let players = placed.iter().map(player_of_open).collect::<Result<Vec<_>, _>>()?;
    let progress = context.live.progress_of(&players).await?;
    failpoint::reach("K17");
    let known: Vec<_> = placed
        .iter()
        .zip(&players)
        .zip(progress)
        .map(|((bet, player), progress)| (bet, player, progress))
        .collect();
    let (mut sequences, mut lanes) = (Vec::new(), Vec::new());
    for (bet, _, progress) in &known {
        if let Some(progress) = progress.filter(|progress| is_ahead(progress, bet)) {
            sequences.push(bet.sequence);
            lanes.push(progress.current_step);
        }
    }
    if !sequences.is_empty() {
        let kept = context
            .ledger
            .run_reserved(async |connection| sweep::keep_progress(connection, &sequences, &lanes).await)
            .await;
        match kept {
            Ok(progressed) => swept.progressed += progressed,
            // One bet that is held locked must not keep the others from their ends.
            Err(error) if error.is_of_its_own() => tracing::warn!(%error, "progress could not be kept; the next sweep does it"),
            Err(error) => return Err(error.into()),
        }
    }
    for (bet, player, progress) in known {
        let is_ended = progress.is_some_and(|progress| progress.sequence == bet.sequence && !progress.is_active);
        let is_marked = if is_ended {
            let finished = or_passed_over(finish_decided(context, bet, player).await, bet.sequence)?;
            swept.finished += usize::from(finished);
            finished
        } else if bet.is_due {
            let ended = or_passed_over(end_at_deadline(context, bet, player).await, bet.sequence)?;
            swept.past_deadline += usize::from(ended);
            ended
        } else {
            false
        };
        if is_marked {
            failpoint::reach("K18");
        }
    }
    Ok(())
}

fn is_ahead(progress: &Progress, bet: &OpenBet) -> bool {
    progress.sequence == bet.sequence && progress.is_active && progress.current_step > bet.last_lane
}

fn player_of_open(bet: &OpenBet) -> Result<PlayerId, LedgerError> {
    const UNREADABLE: LedgerError = LedgerError::Unreadable { what: "bets.user_id" };
    Ok(PlayerId {
        agent_id: AgentId::parse(&bet.agent_id).map_err(|_| UNREADABLE)?,
        user_id: UserId::parse(&bet.user_id).map_err(|_| UNREADABLE)?,
    })
}

/// An end that was decided in Redis and not committed. One that an earlier run of Redis kept is first confirmed.
async fn finish_decided(context: &Arc<Context>, bet: &OpenBet, player: &PlayerId) -> Result<bool, SweepError> {
    for rebuilt in [false, true] {
        match context.live.session_of(player).await? {
            Some(session) if session.sequence == bet.sequence && !session.is_active => {
                return Ok(settle::finish(context, session).await.is_ok());
            }
            None if !rebuilt && restore_placed(context, bet.sequence).await? => {}
            Some(_) | None => break,
        }
    }
    Ok(false)
}

/// The time of a round is over: the end script runs first, on a rebuilt session if need be, and decides between cashing out
/// where the player stands and returning the stake.
async fn end_at_deadline(context: &Arc<Context>, bet: &OpenBet, player: &PlayerId) -> Result<bool, SweepError> {
    for rebuilt in [false, true] {
        if let Some(session) = context.live.end_at_deadline(player, bet.sequence).await? {
            return Ok(settle::finish(context, session).await.is_ok());
        }
        if rebuilt || !restore_placed(context, bet.sequence).await? {
            break;
        }
    }
    Ok(false)
}

/// Rebuilds the session of a bet that is still placed. `false`: it is not, or no session could be opened.
async fn restore_placed(context: &Context, sequence: i64) -> Result<bool, SweepError> {
    let row = context
        .ledger
        .run_reserved(async |connection| history::by_sequence(connection, sequence).await)
        .await?;
    match row.filter(|row| row.state == BetState::Placed) {
        Some(row) => Ok(restore(context, &row).await.is_ok()),
        None => Ok(false),
    }
}
