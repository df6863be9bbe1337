//! Delivering what the outbox owes: claim, send as stored, record. A claim is a lease that ends by itself, so a dead holder
//! delays a row by fifteen seconds and no more; two holders at once are harmless, because the operator sees the same bytes
//! under the same id.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::failpoint;
use crate::game::player::AgentId;
use crate::ledger::LedgerError;
use crate::ledger::calls::CallRecord;
use crate::ledger::misdated;
use crate::ledger::outbox::{self, Again, Claimed, Queue, Trace};
use crate::live::keys;
use crate::play::context::{Context, call_timeout, endpoint};
use crate::wallet::status::{is_already_applied, is_no_such_bet};
use crate::wallet::{Action, AgentEndpoint, Attempt, Call, Outcome, Retries, UnknownReason};

/// How long a retry lock spares other servers the work, in seconds. Nothing rests on it.
const RETRY_LOCK_TTL_S: u64 = 300;
/// Calls from one queue of the outbox that one server has in flight at once; the rest waits its turn.
const DELIVERIES_PER_QUEUE: usize = 64;

/// How long a call waits that was not tried because as many were under way as may be, in milliseconds.
const NOT_TRIED_PAUSE_MS: i64 = 2_000;

/// After so many answers "already applied" to attempts before which none may have left, people ask the operator what it means.
const INCREDIBLE_SUCCESSES: i32 = 3;

/// So many of them have to be free before more is claimed for a queue that has used them all: each claim is a statement.
const WORTH_A_CLAIM: usize = DELIVERIES_PER_QUEUE / 4;

/// The right to send, for each queue: the calls of an operator that never answers take nothing from another's, and settles that hang
/// nothing from cancels.
#[derive(Default)]
pub struct Deliveries(Mutex<HashMap<Queue, Arc<Rights>>>);

struct Rights {
    most: usize,
    free: Arc<Semaphore>,
    /// Whether more may be due than was claimed.
    more_is_due: AtomicBool,
}

impl Deliveries {
    /// No more are in flight than the operator has places for: whoever waits for a place holds a lease meanwhile.
    fn of(&self, queue: &Queue, places: u32) -> Arc<Rights> {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rights = queues.entry(queue.clone()).or_insert_with(|| {
            let most = DELIVERIES_PER_QUEUE.min(places as usize);
            Arc::new(Rights {
                most,
                free: Arc::new(Semaphore::new(most)),
                more_is_due: AtomicBool::new(false),
            })
        });
        Arc::clone(rights)
    }
}

/// What the audit keeps of a call.
pub fn record_of<'a>(agent_id: &'a str, action: &'a str, message: &'a str, call: &'a Call) -> CallRecord<'a> {
    let (outcome, status) = match &call.outcome {
        Outcome::Applied { status, .. } => ("applied", Some(status.as_str())),
        Outcome::Declined { status } => ("declined", Some(status.as_str())),
        Outcome::Unknown { reason, status } => ("unknown", Some(status.as_deref().unwrap_or(reason.as_str()))),
    };
    CallRecord {
        agent_id,
        action,
        message,
        outcome,
        status,
        http_status: call.http_status.map(i32::from),
        answer: call.answer.as_deref(),
        duration_ms: i64::try_from(call.duration_ms).unwrap_or(i64::MAX),
    }
}

/// Starts a drain soon, without waiting for it.
pub fn soon(context: &Arc<Context>) {
    let shared = Arc::clone(context);
    context.spawn(async move {
        if let Err(error) = drain(&shared).await {
            tracing::warn!(%error, "the outbox could not be drained; the next drain tries again");
        }
    });
}

/// Claims what is due and sends it, each row by a task of its own, so that one slow operator does not hold up the others. Each queue
/// gets what it has rights for; what is due beyond that follows as calls end.
/// Returns how many rows were claimed; their sends go on.
///
/// # Errors
/// When the record cannot be asked. What cannot be claimed for one queue is no reason to leave out the others.
pub async fn drain(context: &Arc<Context>) -> Result<usize, LedgerError> {
    let due = context.ledger.run(async |connection| outbox::queues_due(connection).await).await?;
    let (mut claimed_rows, mut failed) = (0, None);
    for queue in due {
        match drain_queue(context, &queue).await {
            Ok(rows) => claimed_rows += rows,
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(claimed_rows), Err)
}

async fn drain_queue(context: &Arc<Context>, queue: &Queue) -> Result<usize, LedgerError> {
    if context.shutdown.is_cancelled() {
        return Ok(0);
    }
    let Some(endpoint) = endpoint_of(context, &queue.agent_id).await else {
        return Ok(0);
    };
    let rights = context.deliveries.of(queue, context.settings.wallet.concurrency_per_agent);
    // The right to send comes before the claim: a row that waits for its turn here would outlive its lease and be claimed again
    // and again.
    let permits: Vec<_> = std::iter::from_fn(|| Arc::clone(&rights.free).try_acquire_owned().ok()).collect();
    // Nothing is claimed for an operator that is left alone, and no more than it bears for one that is failing.
    let mut retries = context.wallet.take_retries(&queue.agent_id, permits.len());
    let claimed = if retries.count() == 0 {
        Vec::new()
    } else {
        claim(context, queue, retries.count()).await?
    };
    // As many as there was room for: there may be more.
    if claimed.len() == retries.count() {
        rights.more_is_due.store(true, Ordering::Release);
    }
    let claimed_rows = claimed.len();
    for (leased, permit) in claimed.into_iter().zip(permits) {
        let delivery = Delivery {
            retry: (leased.row.attempts > 1).then(|| retries.one()),
            queue: queue.clone(),
            endpoint: endpoint.clone(),
            rights: Arc::clone(&rights),
            _permit: permit,
        };
        spawn_delivery(context, leased, delivery);
    }
    Ok(claimed_rows)
}

/// A row under a lease.
struct Leased {
    row: Claimed,
    token: String,
}

async fn claim(context: &Context, queue: &Queue, rows: usize) -> Result<Vec<Leased>, LedgerError> {
    let token = context.chance.token();
    let lease_s = i64::try_from(context.settings.wallet.lease_s).unwrap_or(i64::MAX);
    let limit = i64::try_from(rows).unwrap_or(i64::MAX);
    let claimed = context
        .ledger
        .run(async |connection| outbox::claim_due(connection, queue, &token, lease_s, limit).await)
        .await?;
    if !claimed.is_empty() {
        failpoint::reach("K14");
    }
    let leased = |row| Leased { row, token: token.clone() };
    Ok(claimed.into_iter().map(leased).collect())
}

/// What one delivery holds until its call has ended.
struct Delivery {
    queue: Queue,
    endpoint: AgentEndpoint,
    rights: Arc<Rights>,
    /// Of a row that was sent before, its part of the budget.
    retry: Option<Retries>,
    _permit: OwnedSemaphorePermit,
}

fn spawn_delivery(context: &Arc<Context>, leased: Leased, delivery: Delivery) {
    let shared = Arc::clone(context);
    let held = shared.leases.hold(leased.row.outbox_id, &leased.token);
    context.spawn(async move {
        let Delivery {
            queue,
            endpoint,
            rights,
            retry,
            _permit: permit,
        } = delivery;
        let sending = deliver_unless_spared(&shared, &endpoint, &leased.row, &leased.token).await;
        drop(held);
        drop(permit);
        if sending == Sending::Failed {
            retry.into_iter().for_each(Retries::spend);
        }
        // A backlog goes on as fast as the operator takes it, and does not wait for the next drain's time. What it does not take
        // waits, and a server that ends leaves it to others.
        if sending == Sending::Taken
            && rights.free.available_permits() >= WORTH_A_CLAIM.min(rights.most)
            && rights.more_is_due.swap(false, Ordering::AcqRel)
            && let Err(error) = drain_queue(&shared, &queue).await
        {
            tracing::warn!(%error, agent = queue.agent_id, "what is owed to an operator could not be claimed; the next drain tries again");
        }
    });
}

/// What became of one delivery.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// The operator took it.
    Taken,
    /// It was made, and the operator did not carry it out.
    Failed,
    /// It was not made.
    NotMade,
}

async fn deliver_unless_spared(context: &Arc<Context>, endpoint: &AgentEndpoint, row: &Claimed, token: &str) -> Sending {
    let lock = row.bet_id.map(|bet_id| keys::retry_job_lock(&bet_id.to_string(), &row.action));
    // Another server may be at this row. The lock only spares work: without Redis, or when an earlier claim has run out,
    // the row is sent all the same. A row that is spared is due again within seconds.
    let lock_token = context.chance.token();
    if let Some(lock) = &lock
        && matches!(context.live.acquire(lock, &lock_token, RETRY_LOCK_TTL_S).await, Ok(false))
        && !row.lapsed
    {
        note_unsent(context, row, token).await;
        return Sending::NotMade;
    }
    let sending = deliver(context, endpoint, row, token).await;
    if let Some(lock) = &lock {
        let _ = context.live.release(lock, &lock_token).await;
    }
    sending
}

/// A row that was claimed is not sent. It is due again within seconds.
async fn note_unsent(context: &Context, row: &Claimed, token: &str) {
    let noted = context
        .ledger
        .run(async |connection| outbox::note_unsent(connection, row, token).await)
        .await;
    if let Err(error) = noted {
        tracing::debug!(%error, outbox_id = row.outbox_id, "a row that was not sent counts as one that may have been");
    }
}

/// Gives back the leases of calls that this server will not see the end of, so that another sends them without waiting.
pub async fn give_leases_back(context: &Context) {
    let (outbox_ids, tokens) = context.leases.held();
    if outbox_ids.is_empty() {
        return;
    }
    let given_back = context
        .ledger
        .run(async |connection| outbox::give_back(connection, &outbox_ids, &tokens).await)
        .await;
    match given_back {
        Ok(rows) => tracing::warn!(rows, "calls to operators were still under way; other servers may send them now"),
        Err(error) => tracing::warn!(%error, "leases could not be given back; they run out by themselves"),
    }
}

/// Sends a row that was born claimed and records what came of it.
pub async fn deliver_first(context: &Context, row: &Claimed, token: &str) {
    match endpoint_of(context, &row.agent_id).await {
        Some(endpoint) => drop(deliver(context, &endpoint, row, token).await),
        None => note_unsent(context, row, token).await,
    }
}

/// Where this server calls an operator. `None`, and a line in the log: it cannot, as when it cannot open the operator's secrets. Other
/// servers may.
async fn endpoint_of(context: &Context, agent_id: &str) -> Option<AgentEndpoint> {
    let agent = match AgentId::parse(agent_id) {
        Ok(agent_id) => context.agent(&agent_id).await,
        Err(_) => Ok(None),
    };
    let (endpoint, error) = match agent {
        Ok(agent) => (agent.and_then(|agent| endpoint(&agent)), None),
        Err(error) => (None, Some(error)),
    };
    if endpoint.is_none() {
        let error = error.map(|error| error.to_string());
        tracing::error!(
            agent = agent_id,
            error,
            "calls are owed to an operator that cannot be called from here"
        );
    }
    endpoint
}

async fn deliver(context: &Context, endpoint: &AgentEndpoint, row: &Claimed, token: &str) -> Sending {
    failpoint::reach("K11");
    let Some(action) = Action::parse(&row.action) else {
        note_unsent(context, row, token).await;
        return Sending::NotMade;
    };
    let timeout = call_timeout(&context.settings);
    let attempt = if row.is_repeat {
        Attempt::repeat(timeout)
    } else {
        Attempt::first(timeout)
    };
    let call = context.wallet.send(endpoint, action, &row.message, attempt).await;
    failpoint::reach(if action == Action::Settle { "K13" } else { "K16" });
    let record = record_of(&row.agent_id, &row.action, &row.message, &call);
    let recorded = match &call.outcome {
        Outcome::Applied { .. } => complete(context, row, &record).await,
        Outcome::Declined { .. } | Outcome::Unknown { .. } => without_success(context, row, token, action, &call, &record).await,
    };
    if let Err(error) = recorded {
        tracing::warn!(%error, outbox_id = row.outbox_id, "the answer to a call could not be recorded; it is sent again");
    }
    match &call.outcome {
        Outcome::Applied { .. } => Sending::Taken,
        Outcome::Declined { .. } | Outcome::Unknown { .. } if call.sent => Sending::Failed,
        Outcome::Declined { .. } | Outcome::Unknown { .. } => Sending::NotMade,
    }
}

async fn complete(context: &Context, row: &Claimed, record: &CallRecord<'_>) -> Result<(), LedgerError> {
    let complete = context
        .ledger
        .run(async |connection| outbox::complete(connection, row.outbox_id, row.sequence, record).await)
        .await;
    complete.map(|_| ())
}

/// Records a call that did not succeed, and when it is made again. That the operator knows no such bet ends a cancel of a debit that
/// was never confirmed and can no longer be on its way.
async fn without_success(
    context: &Context,
    row: &Claimed,
    token: &str,
    action: Action,
    call: &Call,
    record: &CallRecord<'_>,
) -> Result<(), LedgerError> {
    let status = record.status.unwrap_or_default();
    let trace = match &call.outcome {
        Outcome::Unknown {
            reason: UnknownReason::Busy | UnknownReason::BreakerOpen,
            ..
        } => Trace::NotTried,
        _ if !call.sent => Trace::None,
        Outcome::Unknown { status: Some(status), .. } if !row.is_repeat && is_already_applied(status) => Trace::Unfounded,
        _ => Trace::MayHaveLeft,
    };
    let again = if action == Action::CancelBet && is_no_such_bet(status) {
        let was_confirmed = context
            .ledger
            .run(async |connection| outbox::debit_was_confirmed(connection, row.sequence).await)
            .await?;
        match (was_confirmed, row.debit_is_over) {
            (true, _) => for_people(row, status),
            (false, true) => return complete(context, row, record).await,
            (false, false) => Again::AfterDebit {
                delay_ms: delay_ms(context, row),
            },
        }
    } else {
        again(context, row, trace, status)
    };
    context
        .ledger
        .run(async |connection| outbox::put_off(connection, row, token, record, trace, again).await)
        .await
}

/// When a call that did not succeed is made again.
fn again(context: &Context, row: &Claimed, trace: Trace, status: &str) -> Again {
    let too_old = u64::try_from(row.age_s).is_ok_and(|age_s| age_s >= context.settings.wallet.human_after_s);
    let is_incredible = trace == Trace::Unfounded && row.unfounded_successes + 1 >= INCREDIBLE_SUCCESSES;
    if too_old || is_incredible || is_no_such_bet(status) {
        return for_people(row, status);
    }
    Again::After {
        delay_ms: if trace == Trace::NotTried {
            NOT_TRIED_PAUSE_MS
        } else {
            delay_ms(context, row)
        },
    }
}

fn for_people(row: &Claimed, status: &str) -> Again {
    tracing::error!(
        outbox_id = row.outbox_id,
        agent = row.agent_id,
        action = row.action,
        status,
        "a call needs a person's decision"
    );
    Again::NeedsHuman
}

/// How long to wait after this attempt.
fn delay_ms(context: &Context, row: &Claimed) -> i64 {
    let wallet = &context.settings.wallet;
    // The schedule's first wait comes after the first attempt.
    let place = usize::try_from(row.attempts.saturating_sub(1))
        .unwrap_or(usize::MAX)
        .min(wallet.retry_schedule_s.len().saturating_sub(1));
    let delay_s = wallet.retry_schedule_s.get(place).copied().unwrap_or(60);
    jittered_ms(delay_s, wallet.retry_jitter_percent, context.chance.bytes_32()[0])
}

/// A delay moved by up to `percent` either way, so that rows that failed together do not come back together.
fn jittered_ms(delay_s: u64, percent: u8, chance: u8) -> i64 {
    let delay_ms = delay_s.saturating_mul(1_000);
    let span_ms = delay_ms.saturating_mul(u64::from(percent)) / 100;
    let moved_ms = span_ms.saturating_mul(2).saturating_mul(u64::from(chance)) / 255;
    i64::try_from(delay_ms.saturating_sub(span_ms).saturating_add(moved_ms)).unwrap_or(i64::MAX)
}

/// What is too old for retries is handed to people, and what a clock that was set back has put off is due again.
///
/// # Errors
/// When the record cannot be asked.
pub async fn review(context: &Context) -> Result<u64, LedgerError> {
    let wallet = &context.settings.wallet;
    let seconds = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    let handed_over = context
        .ledger
        .run(async |connection| outbox::hand_over_aged(connection, seconds(wallet.human_after_s)).await)
        .await?;
    let schedule_s: Vec<i64> = wallet.retry_schedule_s.iter().copied().map(seconds).collect();
    let debit_is_over_within_s = seconds(wallet.debit_is_over_after_s());
    let misdated = context
        .ledger
        .run(async |connection| misdated::recall(connection, seconds(wallet.lease_s), &schedule_s, debit_is_over_within_s).await)
        .await?;
    if misdated > 0 {
        tracing::warn!(misdated, "calls were put off by a clock that went back; they are due now");
    }
    Ok(handed_over)
}

/// Measures how much is owed.
///
/// # Errors
/// When the record cannot be asked.
pub async fn measure(context: &Context) -> Result<(), LedgerError> {
    let depth = context.ledger.run(async |connection| outbox::depth(connection).await).await?;
    metrics::gauge!("faircross_outbox_open").set(depth.open as f64);
    metrics::gauge!("faircross_outbox_needs_human").set(depth.needs_human as f64);
    metrics::gauge!("faircross_outbox_oldest_open_age_seconds").set(depth.oldest_open_age_s as f64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::jittered_ms;

    #[test]
    fn jitter_stays_within_its_percent_and_never_loses_the_delay() {
        for chance in [0, 1, 127, 128, 254, 255] {
            let delay_ms = jittered_ms(60, 10, chance);
            assert!((54_000..=66_000).contains(&delay_ms), "{delay_ms}");
        }
        assert_eq!(jittered_ms(60, 10, 0), 54_000);
        assert_eq!(jittered_ms(60, 10, 255), 66_000);
        assert_eq!(jittered_ms(0, 10, 200), 0);
        assert_eq!(jittered_ms(4, 0, 200), 4_000);
    }
}
