//! The end of a round: decided by a script, checked against the road, made durable by one statement, then told, then settled
//! with the operator. Whoever finds a decided end whose bet is still PLACED finishes it, a request or the sweep.

use std::sync::Arc;

use crate::failpoint;
use crate::game::round::{EndReason, Ended};
use crate::ledger::LedgerError;
use crate::ledger::bets::{self, EndOfRound};
use crate::ledger::history;
use crate::ledger::outbox::Claimed;
use crate::live::Session;
use crate::play::context::Context;
use crate::play::place_bet::{next_seed, unwritable};
use crate::play::round::{RoundFacts, view_of_ended_bet};
use crate::play::view::RoundView;
use crate::play::{Refusal, deliver, recover};
use crate::wallet::message::{Debit, SettleFacts, bet_message, settle_message, void_message};

/// The end of a round as its player is told, and who made it durable.
pub enum Finished {
    /// This call did, so no later round can have begun.
    Now(RoundView),
    /// It was durable before.
    Before(RoundView),
}

impl Finished {
    /// What the player is told, either way.
    pub fn view(self) -> RoundView {
        match self {
            Self::Now(view) | Self::Before(view) => view,
        }
    }
}

/// Makes the end that a session has come to durable and says what the player is told. Goes on when the caller's connection
/// is gone.
///
/// # Errors
/// [`Refusal::Unavailable`] when the end is not durable: nobody is told of it, and it is finished later.
pub async fn finish(context: &Arc<Context>, session: Session) -> Result<Finished, Refusal> {
    let shared = Arc::clone(context);
    context
        .spawn(async move { commit(&shared, &session).await })
        .await
        .unwrap_or(Err(Refusal::Unavailable))
}

async fn commit(context: &Arc<Context>, session: &Session) -> Result<Finished, Refusal> {
    failpoint::reach("K9");
    let Ok(facts) = RoundFacts::of_session(session) else {
        // A session that cannot be read decides nothing: it goes, and the record rebuilds it.
        recover::discard(context, session.sequence).await;
        return Err(Refusal::Unavailable);
    };
    let Some(ended) = end_of(&facts, session) else {
        // Nor does one that ended as its road does not allow: left alone it would keep the bet open for ever.
        recover::discard(context, session.sequence).await;
        return Err(Refusal::Unavailable);
    };
    let agent = context
        .agent(&facts.agent_id)
        .await
        .map_err(unwritable)?
        .ok_or(Refusal::Unavailable)?;
    let lease_token = context.chance.token();
    // The debit is taken to be what it would be today. The statement holds that against the row, so the usual end need not read it.
    let today = Debit {
        payload: context.payload.clone(),
        utc_offset_minutes: agent.utc_offset_minutes,
    };
    let debit_today = debit_text(&facts, &today)?;
    let mut committed = commit_after(context, session, &facts, &ended, (&debit_today, &today), &lease_token).await?;
    if committed.is_none()
        && let Some((text, debit)) = another_debit(context, session.sequence, &debit_today).await?
    {
        committed = commit_after(context, session, &facts, &ended, (&text, &debit), &lease_token).await?;
    }
    let Some((outbox_id, message)) = committed else {
        return by_row(context, session.sequence).await.map(Finished::Before);
    };
    failpoint::reach("K10");
    let row = Claimed {
        outbox_id,
        sequence: session.sequence,
        bet_id: Some(facts.round_id),
        agent_id: facts.agent_id.as_str().to_owned(),
        action: if ended.reason == EndReason::Void { "voidBet" } else { "settle" }.to_owned(),
        message,
        attempts: 1,
        age_s: 0,
        lapsed: false,
        may_have_left: false,
        is_repeat: false,
        unfounded_successes: 0,
        debit_is_over: false,
    };
    let view = facts.view_ended(&ended).map_err(|_| Refusal::Unavailable)?;
    settle_soon(context, facts, row, lease_token);
    Ok(Finished::Now(view))
}

/// What the session says of its end, checked against the road that its bet pinned. An end that the road does not allow is
/// never paid: it means that Redis holds something that we did not write.
fn end_of(facts: &RoundFacts, session: &Session) -> Option<Ended> {
    let reason = session.end?;
    let ended = facts.terms().ok()?.end(reason, session.current_step);
    if let Err(error) = &ended {
        tracing::error!(%error, sequence = session.sequence, reason = reason.as_str(), lane = session.current_step, "a session ended as its road does not allow");
    }
    ended.ok()
}

/// Commits the end of a bet with this debit; the id of the outbox row and its message. `None`: the bet is no longer placed, or has
/// another debit.
async fn commit_after(
    context: &Context,
    session: &Session,
    facts: &RoundFacts,
    ended: &Ended,
    (debit_text, debit): (&str, &Debit),
    lease_token: &str,
) -> Result<Option<(i64, String)>, Refusal> {
    let message = end_message(context, facts, ended, debit)?;
    let player = facts.player();
    let end = EndOfRound {
        sequence: session.sequence,
        ended,
        message: &message,
        next: &next_seed(context, &player),
        debit: debit_text,
        lease_token,
        lease_s: i64::try_from(context.settings.wallet.lease_s).unwrap_or(i64::MAX),
    };
    let committed = context
        .ledger
        .run_reserved_for(&player, async |connection| bets::commit_end(connection, &end).await)
        .await
        .map_err(unwritable)?;
    Ok(committed.map(|outbox_id| (outbox_id, message)))
}

/// The debit that the row has, if it is not the expected one: the game or the agent had other names or another offset then.
async fn another_debit(context: &Context, sequence: i64, expected: &str) -> Result<Option<(String, Debit)>, Refusal> {
    let stored = context
        .ledger
        .run_reserved(async |connection| history::debit_of(connection, sequence).await)
        .await
        .map_err(unwritable)?;
    let Some(stored) = stored.filter(|stored| stored != expected) else {
        return Ok(None);
    };
    let debit = recover::debit_of(context, &stored).map_err(unwritable)?;
    Ok(Some((stored, debit)))
}

/// The text of the debit of a round, had it been made so.
fn debit_text(facts: &RoundFacts, debit: &Debit) -> Result<String, Refusal> {
    let platform_tx_id = facts.round_id.to_string();
    let bet = facts
        .bet_facts(&platform_tx_id, &debit.payload, debit.utc_offset_minutes)
        .map_err(|_| Refusal::Unavailable)?;
    Ok(bet_message(&bet))
}

fn end_message(context: &Context, facts: &RoundFacts, ended: &Ended, debit: &Debit) -> Result<String, Refusal> {
    let platform_tx_id = facts.round_id.to_string();
    let bet = facts
        .bet_facts(&platform_tx_id, &debit.payload, debit.utc_offset_minutes)
        .map_err(|_| Refusal::Unavailable)?;
    let now = context.clock.now();
    Ok(match ended.reason {
        EndReason::Void => void_message(&bet, now),
        _ => settle_message(&SettleFacts {
            bet,
            payout: ended.payout,
            settled_at: now,
        }),
    })
}

/// After the commit: the call is sent under the claim that the row was born with, and the session is retired.
fn settle_soon(context: &Arc<Context>, facts: RoundFacts, row: Claimed, lease_token: String) {
    let shared = Arc::clone(context);
    let held = context.leases.hold(row.outbox_id, &lease_token);
    context.spawn(async move {
        let _held = held;
        let retired = retire(&shared, &facts, row.sequence);
        tokio::join!(deliver::deliver_first(&shared, &row, &lease_token), retired);
    });
}

/// Cuts the session's life short. Nothing depends on it.
async fn retire(context: &Context, facts: &RoundFacts, sequence: i64) {
    let player = facts.player();
    if let Err(error) = context.live.retire_session(&player, sequence).await {
        tracing::debug!(%error, sequence, "a session could not be retired; it ends by itself");
    }
}

/// The statement moved no row: somebody else ended the bet, and the row says how.
pub async fn by_row(context: &Context, sequence: i64) -> Result<RoundView, Refusal> {
    let bet = context
        .ledger
        .run_reserved(async |connection| history::by_sequence(connection, sequence).await)
        .await
        .map_err(unwritable)?;
    match bet {
        Some(bet) if !bet.state.is_open() => view_of_ended_bet(&bet).map_err(unwritable),
        Some(_) => Err(Refusal::Unavailable),
        None => Err(unwritable(LedgerError::Unreadable {
            what: "a session whose bet is not in the record",
        })),
    }
}
