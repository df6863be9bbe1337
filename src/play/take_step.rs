//! A step: one script. Only when it ends the round does the record come in.

use std::sync::Arc;

use uuid::Uuid;

use crate::failpoint;
use crate::game::bet_state::BetState;
use crate::ledger::history::{self, BetRow};
use crate::live::{Caller, GateRefusal, LiveError, Move, NamedRound, ReadSession, Session};
use crate::play::Refusal;
use crate::play::admission::{caller, refuse_while_unwritable, refused, through_gate};
use crate::play::context::{Context, Player};
use crate::play::place_bet::unwritable;
use crate::play::recover::{self, Restored};
use crate::play::round::{RoundFacts, view_of_ended_bet};
use crate::play::settle::{self, Finished};
use crate::play::view::RoundView;

/// Steps onto a lane. Naming the lane where the player stands returns the same round.
///
/// # Errors
/// The refusals of the contract; on [`Refusal::Unavailable`] a repeat tells what became of it.
pub async fn take_step(context: &Arc<Context>, player: &Player, line_number: u8, round_id: Option<&str>) -> Result<RoundView, Refusal> {
    move_on(context, player, round_id, |caller, round| {
        context.live.step(caller, line_number, round)
    })
    .await
}

/// The open round, or the one that ended within the last minute and is still known by its session.
///
/// # Errors
/// [`Refusal::NoActiveSession`] when there is none.
pub async fn current_round(context: &Arc<Context>, player: &Player) -> Result<RoundView, Refusal> {
    context.note_activity(&player.id);
    for rebuilt in [false, true] {
        let read = through_gate(
            context,
            player,
            || context.live.read_session(caller(context, player)),
            |read| match read {
                ReadSession::Refused(refusal) => Some(*refusal),
                ReadSession::Missing | ReadSession::Found(_) => None,
            },
        )
        .await?;
        match read {
            ReadSession::Found(session) if session.is_active => return standing(context, None, &session).await,
            ReadSession::Found(session) => finish_if_decided(context, session).await?,
            ReadSession::Refused(refusal) => return Err(refused(refusal)),
            ReadSession::Missing => {}
        }
        // None is known, or one that has ended. The record knows whether there is another, whose session was lost or never opened.
        match recover::restore_open_round(context, &player.id).await? {
            Restored::Opened if !rebuilt => {}
            Restored::Opened => return Err(Refusal::Unavailable),
            Restored::NoneOpen { .. } => return Err(Refusal::NoActiveSession),
        }
    }
    Err(Refusal::Unavailable)
}

/// The open round is asked for; one whose end is not yet durable is finished on the way.
async fn finish_if_decided(context: &Arc<Context>, session: Session) -> Result<(), Refusal> {
    refuse_while_unwritable(context)?;
    settle::finish(context, session).await.map(|_| ())
}

/// Runs a moving script, rebuilds a lost session and tries once more, and turns what came of it into an answer.
///
/// What is rare is boxed, so that the future of a safe step, which the HTTP library moves several times, stays small.
pub(super) async fn move_on<'a, F: Future<Output = Result<Move, LiveError>>>(
    context: &Arc<Context>,
    player: &'a Player,
    round_id: Option<&'a str>,
    script: impl Fn(Caller<'a>, NamedRound<'a>) -> F,
) -> Result<RoundView, Refusal> {
    context.note_activity(&player.id);
    let mut known = context.known_rounds.find(round_id);
    for rebuilt in [false, true] {
        let round = NamedRound {
            round_id,
            is_known: known.is_some(),
        };
        refuse_while_unwritable(context)?;
        failpoint::reach("K7");
        let moved = through_gate(context, player, || script(caller(context, player), round), refusal_of).await?;
        match moved {
            Move::Standing(session) => {
                failpoint::reach("K8");
                return standing(context, known, &session).await;
            }
            Move::Safe { lane } => {
                failpoint::reach("K8");
                // A lane that the round does not have can only come from a session that was tampered with. It is looked at as a whole then.
                if let Some(view) = known.take().and_then(|facts| facts.view_standing(lane.into()).ok()) {
                    return Ok(view);
                }
            }
            Move::Ended(session) => match Box::pin(settle::finish(context, with_facts(session, known.as_deref()))).await? {
                // The session of an earlier round, and no round is named: the open one is meant, if its session was never opened.
                Finished::Before(view) if round_id.is_none() && !rebuilt => {
                    match Box::pin(recover::restore_open_round(context, &player.id)).await? {
                        Restored::Opened => {}
                        Restored::NoneOpen { .. } => return Ok(view),
                    }
                }
                finished => return Ok(finished.view()),
            },
            Move::RoundMismatch(session) => match Box::pin(named(context, player, round_id)).await? {
                Some(bet) if was_a_round(&bet) => return view_of_ended_bet(&bet).map_err(unwritable),
                // The session of an earlier round stands where that of the named one was never opened.
                Some(bet) if bet.state == BetState::Placed && bet.sequence > session.sequence && !rebuilt => {
                    Box::pin(recover::restore(context, &bet)).await?;
                }
                Some(_) | None => return Err(Refusal::RoundMismatch),
            },
            Move::OutOfSequence(session) => {
                return Err(Refusal::InvalidStepSequence {
                    detail: format!("the player stands on lane {}", session.current_step),
                });
            }
            Move::TooEarly(_) => return Err(Refusal::TooEarlyToCashOut),
            Move::Refused(refusal) => return Err(refused(refusal)),
            Move::Missing if rebuilt => return Err(Refusal::Unavailable),
            Move::Missing => match Box::pin(recover::restore_open_round(context, &player.id)).await? {
                Restored::Opened => {}
                Restored::NoneOpen { latest } => return Box::pin(answer_without_session(context, player, round_id, latest)).await,
            },
        }
    }
    Err(Refusal::Unavailable)
}

/// The session with what its round pins, where that was not read because it is known.
fn with_facts(session: Session, known: Option<&RoundFacts>) -> Session {
    Session {
        round_json: session.round_json.or_else(|| known.map(RoundFacts::to_json)),
        ..session
    }
}

fn refusal_of(moved: &Move) -> Option<GateRefusal> {
    match moved {
        Move::Refused(refusal) => Some(*refusal),
        Move::Missing
        | Move::RoundMismatch(_)
        | Move::OutOfSequence(_)
        | Move::TooEarly(_)
        | Move::Standing(_)
        | Move::Safe { .. }
        | Move::Ended(_) => None,
    }
}

/// The view of an open round. A session whose JSON cannot be read is removed; the next request rebuilds it.
async fn standing(context: &Context, known: Option<Arc<RoundFacts>>, session: &Session) -> Result<RoundView, Refusal> {
    let facts = known.map_or_else(
        || {
            RoundFacts::of_session(session)
                .map(Arc::new)
                .inspect(|read| context.known_rounds.keep(read))
        },
        Ok,
    );
    match facts.and_then(|facts| facts.view_standing(session.current_step)) {
        Ok(view) => Ok(view),
        Err(error) => {
            tracing::error!(%error, sequence = session.sequence, "a session cannot be read and is rebuilt");
            Box::pin(recover::discard(context, session.sequence)).await;
            Err(Refusal::Unavailable)
        }
    }
}

/// No session and no open bet: a round that has just ended answers for itself.
async fn answer_without_session(
    context: &Context,
    player: &Player,
    round_id: Option<&str>,
    latest: Option<Box<BetRow>>,
) -> Result<RoundView, Refusal> {
    match (round_id, latest) {
        (Some(_), _) => match named(context, player, round_id).await? {
            Some(bet) if was_a_round(&bet) => view_of_ended_bet(&bet).map_err(unwritable),
            Some(_) | None => Err(Refusal::NoActiveSession),
        },
        (None, Some(latest)) if latest.state.is_open() => Err(Refusal::BetInProgress { retry_after_ms: 1_000 }),
        (None, Some(latest)) if was_a_round(&latest) && recover::ended_just_now(context, &latest) => {
            view_of_ended_bet(&latest).map_err(unwritable)
        }
        (None, _) => Err(Refusal::NoActiveSession),
    }
}

/// Whether the bet was a round, or would have been one, and has come to its end. One that the operator refused never was.
fn was_a_round(bet: &BetRow) -> bool {
    !bet.state.is_open() && bet.state != BetState::Rejected
}

/// The bet of the round that is named, if it is one of the player's.
async fn named(context: &Context, player: &Player, round_id: Option<&str>) -> Result<Option<BetRow>, Refusal> {
    let Some(bet_id) = round_id.and_then(|text| Uuid::parse_str(text).ok()) else {
        return Ok(None);
    };
    let found = context
        .ledger
        .run_for(&player.id, async |connection| history::by_id(connection, &player.id, bet_id).await)
        .await;
    found.map_err(unwritable)
}
