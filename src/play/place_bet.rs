//! Placing a bet: intent, call, outcome.
//!
//! 1. One script lets the player through, takes the bet lock and reads the public road (K1 after it). Then the bet takes its place
//!    among the calls to the operator: where none can be made, it is refused before anything is written.
//! 2. One statement commits the intent: the nonce and the seeds are taken, the exact message is stored (K2 after it).
//! 3. The debit is sent, within two seconds of that commit or not at all (K3 while it is under way, K4 when it is answered).
//! 4. One statement records what came of it, with the audit of the call (K5 after it).
//! 5. One script opens the session and gives the lock back (K6 after it).
//!
//! What happens to a bet that is interrupted follows from its row alone: a PENDING one is cancelled by the sweep, a PLACED one
//! is played on from a rebuilt session. An unknown outcome is never tried again as a bet. Only this flow can know that a debit
//! certainly never left; then nothing is owed, and the bet is rejected without a call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::failpoint;
use crate::game::bet_state::BetState;
use crate::game::fairness::ServerSeed;
use crate::game::player::{PlayerId, PlayerStatus};
use crate::ledger::LedgerError;
use crate::ledger::agents::Agent;
use crate::ledger::bets::{self, CancelPlan, Intent, NextSeed};
use crate::ledger::calls::CallRecord;
use crate::ledger::history::BetRow;
use crate::live::{BeginBet, NewSession};
use crate::play::admission::{caller, refused, through_gate};
use crate::play::balance::in_currency;
use crate::play::bet_order::{BetRequest, Order, validate};
use crate::play::context::{Context, Player, endpoint};
use crate::play::deliver::record_of;
use crate::play::round::RoundFacts;
use crate::play::view::RoundView;
use crate::play::{Refusal, deliver, hazards, repeated_bet, settle};
use crate::wallet::message::{BetFacts, bet_message, cancel_message};
use crate::wallet::{Action, AgentEndpoint, Attempt, Call, NoPlace, Outcome, Place};

/// How long the session of a round outlives its deadline in Redis, in seconds.
const SESSION_OUTLIVES_DEADLINE_S: u64 = 86_400;
/// How often, and how far apart, a lock is given back that Redis did not take back at once.
const LOCK_RELEASE_ATTEMPTS: u32 = 10;
const LOCK_RELEASE_PAUSE: Duration = Duration::from_millis(300);
/// When a player whose bet is being placed is told to ask again, at the latest.
pub(super) const LONGEST_BET_PAUSE_MS: u64 = 1_000;
/// How long a bet waits for its place among the operator's calls. Longer, and it would be answered late instead of refused.
const WAIT_FOR_A_PLACE: Duration = Duration::from_millis(500);
/// When a bet that found no place is worth repeating, in milliseconds.
const BUSY_PAUSE_MS: u64 = 1_000;
/// How long to wait before a debit that was taken is recorded once more, in milliseconds.
const RECORD_AGAIN_AFTER_MS: [u64; 4] = [50, 200, 500, 1_000];

/// Places a bet. The flow goes on when the caller's connection is gone.
///
/// # Errors
/// The refusals of the contract. Once the debit may have been sent, only the operator's refusal or [`Refusal::BetUnconfirmed`].
pub async fn place_bet(context: &Arc<Context>, player: &Player, request: BetRequest) -> Result<RoundView, Refusal> {
    let (shared, player) = (Arc::clone(context), player.clone());
    let flow = context.spawn(async move {
        match place(&shared, &player, &request).await {
            Ok(view) => Ok(view),
            Err(NotPlaced::BeforeDebit(refusal)) => repeated_bet::answer_by_key(&shared, &player, &request, refusal).await,
            Err(NotPlaced::Told(refusal)) => Err(refusal),
        }
    });
    flow.await.unwrap_or(Err(Refusal::BetUnconfirmed))
}

/// Why there is no round.
enum NotPlaced {
    /// Certainly no debit was sent; a bet under the same key is looked up first.
    BeforeDebit(Refusal),
    /// The debit was, or may have been, sent.
    Told(Refusal),
}

impl From<Refusal> for NotPlaced {
    fn from(refusal: Refusal) -> Self {
        Self::BeforeDebit(refusal)
    }
}

async fn place(context: &Arc<Context>, player: &Player, request: &BetRequest) -> Result<RoundView, NotPlaced> {
    let order = validate(context, player, request)?;
    let agent = context
        .agent(&player.id.agent_id)
        .await
        .map_err(unwritable)?
        .filter(|agent| agent.active);
    let agent = agent.ok_or(Refusal::GameDisabled)?;
    let lock_token = context.chance.token();
    let hazard_seed = match begin(context, player, request, &order, &lock_token).await {
        Ok(hazard_seed) => hazard_seed,
        Err(refusal) => {
            match refusal {
                // Redis did not answer in time, and the player has waited long enough to be told so.
                Refusal::Unavailable => give_lock_back_meanwhile(context, &player.id, lock_token),
                Refusal::StaleHazardEpoch { .. } => give_lock_back(context, &player.id, lock_token).await,
                _ => {}
            }
            return Err(refusal.into());
        }
    };
    failpoint::reach("K1");
    let placed = debit(context, player, request, &order, &agent, &hazard_seed, &lock_token).await;
    if placed.is_err() {
        // The script that opens the session gives the lock back; without a session it is given back here.
        give_lock_back(context, &player.id, lock_token).await;
    }
    placed
}

/// Gives the bet lock back, by its token.
async fn give_lock_back(context: &Arc<Context>, player: &PlayerId, lock_token: String) {
    if context.live.release_bet_lock(player, &lock_token).await.is_err() {
        give_lock_back_meanwhile(context, player, lock_token);
    }
}

/// Gives it back without the player waiting. While Redis does not answer this is tried again a few times, so that a hiccup does not
/// shut the player out for the lock's whole life.
fn give_lock_back_meanwhile(context: &Arc<Context>, player: &PlayerId, lock_token: String) {
    let (shared, player) = (Arc::clone(context), player.clone());
    context.spawn(async move {
        for _ in 0..LOCK_RELEASE_ATTEMPTS {
            if shared.live.release_bet_lock(&player, &lock_token).await.is_ok() {
                return;
            }
            tokio::time::sleep(LOCK_RELEASE_PAUSE).await;
        }
    });
}

/// The first script, and the link of the road that the player saw.
async fn begin(context: &Arc<Context>, player: &Player, request: &BetRequest, order: &Order, lock_token: &str) -> Result<String, Refusal> {
    if context.record_watch.forbids_play() {
        return Err(Refusal::Unavailable);
    }
    context.note_activity(&player.id);
    let begun = through_gate(
        context,
        player,
        || context.live.begin_bet(caller(context, player), order.difficulty, lock_token),
        |begun| match begun {
            BeginBet::Refused(refusal) => Some(*refusal),
            BeginBet::LockHeld { .. } | BeginBet::Begun { .. } => None,
        },
    )
    .await?;
    match begun {
        BeginBet::Refused(refusal) => Err(refused(refusal)),
        // The lock's life is for holders that died; a living one is done long before.
        BeginBet::LockHeld { retry_after_ms } => Err(Refusal::BetInProgress {
            retry_after_ms: retry_after_ms.min(LONGEST_BET_PAUSE_MS),
        }),
        BeginBet::Begun { hazards, now_unix_ms } => {
            hazards::link_for(context, order.difficulty, request.hazard_epoch, hazards, now_unix_ms).await
        }
    }
}

/// Intent, call and outcome.
async fn debit(
    context: &Arc<Context>,
    player: &Player,
    request: &BetRequest,
    order: &Order,
    agent: &Agent,
    hazard_seed: &str,
    lock_token: &str,
) -> Result<RoundView, NotPlaced> {
    let endpoint = endpoint(agent).ok_or(Refusal::GameDisabled)?;
    let place = take_place(context, &endpoint).await?;
    let bet_id = context.chance.identifier();
    let (platform_tx_id, placed_at) = (bet_id.to_string(), context.clock.now());
    let facts = BetFacts {
        platform_tx_id: &platform_tx_id,
        user_id: player.id.user_id.as_str(),
        currency: &player.currency,
        stake: order.stake,
        decimal_places: order.decimal_places,
        round_id: &platform_tx_id,
        placed_at,
        payload: &context.payload,
        utc_offset_minutes: agent.utc_offset_minutes,
    };
    let (message, cancel) = (bet_message(&facts), cancel_message(&facts));
    let intent = Intent {
        bet_id,
        player: &player.id,
        generation: player.generation,
        game_code: &context.payload.game_code,
        currency: &player.currency,
        decimal_places: order.decimal_places,
        difficulty: order.difficulty,
        stake: order.stake,
        configuration_version: context.configuration.version,
        max_lane: order.max_lane,
        user_seed: order.user_seed.as_ref(),
        expected_commitment: order.expected_commitment.as_deref(),
        hazard_epoch: request.hazard_epoch,
        hazard_seed,
        idempotency_key: request.idempotency_key.as_deref(),
        message: &message,
        placed_at,
        session_ttl_s: i64::try_from(context.settings.game.session_ttl_s).unwrap_or(i64::MAX),
    };
    // The two seconds count from before the statement: it may have been committed at any moment since.
    let before_intent = context.clock.monotonic();
    let recorded = record_intent(context, player, &intent).await?;
    failpoint::reach("K2");
    let bet = PendingBet {
        player: &player.id,
        recorded: &recorded,
        message: &message,
        cancel: &cancel,
        agent_id: agent.agent_id.as_str(),
    };

    // The road is computed before the money moves: a seed that cannot be opened must not cost a stake.
    let road = RoundFacts::of_bet(&recorded, &context.configuration, &context.sealing);
    let facts = match road {
        Ok(facts) => facts,
        Err(error) => {
            never_sent(context, &bet).await;
            return Err(NotPlaced::Told(unwritable(error)));
        }
    };
    let attempt = debit_attempt(context, before_intent);
    let call = context.wallet.send_from(place, &endpoint, Action::Bet, &message, attempt).await;
    failpoint::reach("K4");
    match &call.outcome {
        Outcome::Applied { balance, .. } => {
            let balance = balance.as_ref().map(|balance| in_currency(balance, order.decimal_places));
            confirm(context, &bet, &call, &facts, lock_token, balance).await
        }
        Outcome::Declined { status } => Err(NotPlaced::Told(reject(context, &bet, &call, status).await)),
        Outcome::Unknown { .. } if !call.sent => Err(NotPlaced::Told(never_sent(context, &bet).await)),
        Outcome::Unknown { .. } => Err(NotPlaced::Told(cancel_unknown(context, &bet, &call).await)),
    }
}

/// The place of the debit among the operator's calls, before its intent: while the operator is left alone, or as many calls are under
/// way as may be, nothing is taken and nothing is written.
async fn take_place(context: &Context, endpoint: &AgentEndpoint) -> Result<Place, Refusal> {
    let place = context.wallet.place(endpoint, Action::Bet, WAIT_FOR_A_PLACE).await;
    place.map_err(|none| Refusal::OperatorUnavailable {
        retry_after_ms: match none {
            NoPlace::BreakerOpen { retry_after } => u64::try_from(retry_after.as_millis()).unwrap_or(BUSY_PAUSE_MS),
            NoPlace::Busy | NoPlace::AddressRefused | NoPlace::NotSendable => BUSY_PAUSE_MS,
        },
    })
}

/// A bet between its intent and its outcome.
struct PendingBet<'a> {
    player: &'a PlayerId,
    recorded: &'a BetRow,
    message: &'a str,
    cancel: &'a str,
    agent_id: &'a str,
}

fn debit_attempt(context: &Context, before_intent: Instant) -> Attempt {
    let wallet = &context.settings.wallet;
    let left = Duration::from_millis(wallet.debit_within_ms).saturating_sub(context.clock.elapsed_since(before_intent));
    Attempt::first(Duration::from_millis(wallet.bet_timeout_ms)).sent_within(left)
}

async fn record_intent(context: &Context, player: &Player, intent: &Intent<'_>) -> Result<BetRow, Refusal> {
    let recorded = context
        .ledger
        .run_for(&player.id, async |connection| bets::record_intent(connection, intent).await)
        .await;
    match recorded {
        Ok(Some(recorded)) => Ok(recorded),
        Ok(None) => Err(why_not(context, player, intent).await),
        Err(error) => Err(match error.constraint() {
            // A commitment or nonce that is in use is that of the open round, or of one that ended while this statement was under
            // way: both move on with the end. Which constraint PostgreSQL names is a matter of its order.
            Some("bets_one_open" | "bets_commitment_unique" | "bets_nonce_unique" | "bets_commitment_unrevealed") => {
                Refusal::ActiveSessionExists
            }
            Some("bets_idempotency_key") => Refusal::IdempotencyKeyReused,
            _ => unwritable(error),
        }),
    }
}

/// Names what in the player's row stood against the intent.
async fn why_not(context: &Context, player: &Player, intent: &Intent<'_>) -> Refusal {
    let terms = match context
        .ledger
        .run_for(&player.id, async |connection| bets::why_not(connection, &player.id).await)
        .await
    {
        Ok(Some(terms)) => terms,
        Ok(None) => return Refusal::Unauthenticated,
        Err(error) => return unwritable(error),
    };
    let signed_out = u64::try_from(terms.generation) != Ok(player.generation) || terms.commitment.is_none();
    if signed_out {
        Refusal::Unauthenticated
    } else if terms.status != PlayerStatus::Active.as_str() {
        Refusal::AccountSuspended
    } else if terms.currency != player.currency {
        Refusal::InvalidCurrency {
            detail: format!("this player plays in {}", terms.currency),
        }
    } else if terms.bet_limit_minor.is_some_and(|limit| intent.stake.as_i64() > limit) {
        Refusal::InvalidBetAmount {
            detail: "the stake is above the player's bet limit".to_owned(),
        }
    } else {
        // Another bet may have moved the pair on since; the player is told to look again.
        Refusal::StaleCommitment
    }
}

/// 0000: the bet is placed. From here on the answer is the round, even if its session cannot be opened.
async fn confirm(
    context: &Arc<Context>,
    bet: &PendingBet<'_>,
    call: &Call,
    facts: &RoundFacts,
    lock_token: &str,
    balance: Option<String>,
) -> Result<RoundView, NotPlaced> {
    let record = record_of(bet.agent_id, Action::Bet.as_str(), bet.message, call);
    let sequence = bet.recorded.sequence;
    match record_placed(context, sequence, &record, bet.cancel).await {
        Some(BetState::Placed) => {}
        // Only where an answer of the record was lost can the round have been played on meanwhile; the row knows how.
        Some(state) if is_ended_round(state) => {
            return settle::by_row(context, sequence)
                .await
                .map_err(|_| NotPlaced::Told(Refusal::BetUnconfirmed));
        }
        Some(_) | None => return Err(NotPlaced::Told(Refusal::BetUnconfirmed)),
    }
    failpoint::reach("K5");
    if !open_session(context, facts, sequence, -1, false, Some(lock_token)).await {
        // It would have given the lock back as well.
        give_lock_back_meanwhile(context, bet.player, lock_token.to_owned());
    }
    failpoint::reach("K6");
    let view = facts.view_standing(-1).map_err(|_| NotPlaced::Told(Refusal::BetUnconfirmed))?;
    Ok(RoundView { balance, ..view })
}

/// Records that the stake was taken, and stays at it for a while: whoever is told that the stake is being returned must not
/// have an open round. `None`: whether it was recorded stays unknown. If it was, a repeat under the same key finds the
/// round; if not, the sweep returns the stake.
async fn record_placed(context: &Context, sequence: i64, record: &CallRecord<'_>, cancel: &str) -> Option<BetState> {
    for pause_ms in RECORD_AGAIN_AFTER_MS.into_iter().map(Some).chain([None]) {
        let placed = context
            .ledger
            .run_reserved(async |connection| bets::record_placed(connection, sequence, record, cancel).await)
            .await;
        match placed {
            Ok(state) => return state,
            Err(error) => tracing::error!(%error, sequence, "the outcome of a debit could not be recorded"),
        }
        tokio::time::sleep(Duration::from_millis(pause_ms?)).await;
    }
    None
}

fn is_ended_round(state: BetState) -> bool {
    match state {
        BetState::PendingSettlement | BetState::Won | BetState::Lost | BetState::PendingVoid | BetState::Voided => true,
        BetState::Pending | BetState::Placed | BetState::PendingCancel | BetState::Cancelled | BetState::Rejected => false,
    }
}

/// Opens the session of a placed bet. A session that could not be opened is rebuilt by the next request. The facts come from the
/// record, so they also replace what this server may have read in a session that had to be rebuilt.
pub(super) async fn open_session(
    context: &Context,
    facts: &RoundFacts,
    sequence: i64,
    lane: i16,
    restored: bool,
    lock_token: Option<&str>,
) -> bool {
    context.known_rounds.keep(&Arc::new(facts.clone()));
    let session = NewSession {
        player: &facts.player(),
        sequence,
        round_id: &facts.round_id.to_string(),
        round_json: &facts.to_json(),
        first_collision: facts.collision_columns.first().copied(),
        max_lane: facts.max_lane,
        current_step: lane,
        restored,
        ttl_s: context.settings.game.session_ttl_s + SESSION_OUTLIVES_DEADLINE_S,
        lock_token,
    };
    let opened = context.live.open_session(session).await;
    if let Err(error) = &opened {
        tracing::warn!(%error, sequence, "a session could not be opened; it is rebuilt when it is needed");
    }
    opened.is_ok()
}

/// The operator took nothing and says why.
async fn reject(context: &Arc<Context>, bet: &PendingBet<'_>, call: &Call, status: &str) -> Refusal {
    let record = record_of(bet.agent_id, Action::Bet.as_str(), bet.message, call);
    let next = next_seed(context, bet.player);
    let sequence = bet.recorded.sequence;
    if let Err(error) = context
        .ledger
        .run_reserved_for(bet.player, async |connection| {
            bets::record_rejected(connection, sequence, &record, &next).await
        })
        .await
    {
        // The sweep will cancel the bet, which the operator answers without moving money.
        tracing::error!(%error, sequence, "a refusal could not be recorded");
    }
    refusal_of_status(status)
}

/// Not a byte of the debit has left: the operator is owed nothing, and the bet's key is free again. Where the sweep was faster, or it
/// is not known whether this was recorded, the bet is being cancelled, which moves no money, and the player is told what a repeat is.
async fn never_sent(context: &Context, bet: &PendingBet<'_>) -> Refusal {
    let (sequence, next) = (bet.recorded.sequence, next_seed(context, bet.player));
    let rejected = context
        .ledger
        .run_reserved_for(bet.player, async |connection| {
            bets::record_never_sent(connection, sequence, &next).await
        })
        .await;
    match rejected {
        Ok(true) => Refusal::OperatorUnavailable {
            retry_after_ms: BUSY_PAUSE_MS,
        },
        Ok(false) => Refusal::BetUnconfirmed,
        Err(error) => {
            tracing::error!(%error, sequence, "a bet that was never sent could not be rejected");
            Refusal::BetUnconfirmed
        }
    }
}

/// Nobody knows whether the stake was taken: it is being returned.
async fn cancel_unknown(context: &Arc<Context>, bet: &PendingBet<'_>, call: &Call) -> Refusal {
    let record = record_of(bet.agent_id, Action::Bet.as_str(), bet.message, call);
    let next = next_seed(context, bet.player);
    let (sequence, plan) = (bet.recorded.sequence, cancel_plan(context, bet.cancel));
    let queued = context
        .ledger
        .run_reserved_for(bet.player, async |connection| {
            bets::record_cancelling(connection, sequence, Some(&record), &plan, &next).await
        })
        .await;
    match queued {
        Ok(_) => deliver::soon(context),
        Err(error) => tracing::error!(%error, sequence, "a cancellation could not be queued; the sweep does it"),
    }
    Refusal::BetUnconfirmed
}

/// When the cancels of a bet go out.
pub(super) fn cancel_plan<'a>(context: &Context, message: &'a str) -> CancelPlan<'a> {
    CancelPlan {
        message,
        debit_within_ms: i64::try_from(context.settings.wallet.debit_within_ms).unwrap_or(i64::MAX),
        second_cancel_after_s: i64::try_from(context.settings.wallet.second_cancel_after_s).unwrap_or(i64::MAX),
    }
}

/// A new server seed for a pair that rotates.
pub(super) fn next_seed(context: &Context, player: &PlayerId) -> NextSeed {
    NextSeed::seal(&context.sealing, player, &ServerSeed::from_bytes(context.chance.bytes_32()))
}

pub(super) fn refusal_of_status(status: &str) -> Refusal {
    match status {
        "1018" => Refusal::InsufficientFunds,
        status => Refusal::AgentRejected { status: status.to_owned() },
    }
}

/// The record could not be used; the log says why, the player does not need to know.
pub(super) fn unwritable(error: LedgerError) -> Refusal {
    tracing::error!(%error, "the record could not be used");
    Refusal::Unavailable
}
