//! The outbox: calls that we owe operators. A row is claimed with a random token and a lease that ends by itself, sent as it
//! was stored, and then done, put off, or handed to people. Nothing but success, or two people, ends one.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::ledger::LedgerError;
use crate::ledger::calls::CallRecord;

/// A claimed row.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub outbox_id: i64,
    pub sequence: i64,
    /// The platformTxId; `None` when the bet was archived meanwhile.
    pub bet_id: Option<Uuid>,
    pub agent_id: String,
    pub action: String,
    pub message: String,
    /// Attempts so far, this one included; counted anew when a person has the row tried again.
    pub attempts: i32,
    /// How long ago this course of attempts began, in seconds by PostgreSQL's clock.
    pub age_s: i64,
    /// An earlier claim ran out: its holder died, or was slower than its lease.
    pub lapsed: bool,
    /// An earlier attempt of this row may have reached the operator.
    pub may_have_left: bool,
    /// These very bytes may have reached the operator before, by this row or by the other cancel of the bet.
    pub is_repeat: bool,
    /// How often the operator said "already applied" of what had not left.
    pub unfounded_successes: i32,
    /// Of a cancel: the debit can no longer be on its way.
    pub debit_is_over: bool,
}

/// What is owed to one agent of one kind. Cancels wait in a queue of their own, so that settles that take long hold up no stake.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Queue {
    pub agent_id: String,
    /// Cancels, or else settles and voids.
    pub of_cancels: bool,
}

/// The queues in which calls are due at this moment. One look into the index for each queue, however much is owed.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn queues_due(connection: &mut PgConnection) -> Result<Vec<Queue>, LedgerError> {
    Ok(sqlx::query_as!(
        Queue,
        r#"with recursive agent as (
               (select agent_id from outbox where state = 'open' order by agent_id limit 1)
               union all
               select (select outbox.agent_id from outbox where state = 'open' and outbox.agent_id > agent.agent_id
                       order by outbox.agent_id limit 1)
               from agent where agent.agent_id is not null)
           select agent_id as "agent_id!", kind = 1 as "of_cancels!" from agent, generate_series(0, 1) as kind
           where agent_id is not null and (
               select true from outbox where outbox.agent_id = agent.agent_id and (action = 'cancelBet')::integer = kind
                   and state = 'open' and due_at <= now() and (leased_until is null or leased_until <= now()) order by due_at limit 1)"#
    )
    .fetch_all(connection)
    .await?)
}

/// Claims the rows of a queue that are due, oldest first, passing over those that another server is claiming at this moment. With the
/// claim it is durable that an attempt may have left.
///
/// The rows are chosen first and then looked up by their ids: with a join PostgreSQL plans for a tenth of the table.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn claim_due(
    connection: &mut PgConnection,
    queue: &Queue,
    token: &str,
    lease_s: i64,
    limit: i64,
) -> Result<Vec<Claimed>, LedgerError> {
    Ok(sqlx::query_as!(
        Claimed,
        r#"with due as materialized (
               select outbox_id, lease_token is not null as lapsed, may_have_left,
                      may_have_left or (action = 'cancelBet' and exists (
                          select from outbox as other
                          where other.sequence = outbox.sequence and other.action = 'cancelBet' and other.outbox_id <> outbox.outbox_id
                              and other.may_have_left and (other.leased_until is null or other.leased_until <= now()))) as is_repeat
               from outbox
               where agent_id = $4 and (action = 'cancelBet')::integer = $5 and state = 'open' and due_at <= now() and (leased_until is null or leased_until <= now())
               order by due_at limit $3 for update skip locked),
           claimed as (
               update outbox set lease_token = $1, leased_until = now() + make_interval(secs => $2::bigint::double precision),
                   attempts = attempts + 1, may_have_left = true, lapsed_claims = lapsed_claims + (lease_token is not null)::integer
               where outbox_id = any(array(select outbox_id from due))
               returning *)
           select outbox_id as "outbox_id!", sequence as "sequence!", agent_id as "agent_id!", action as "action!", message as "message!",
                  attempts as "attempts!", (select bet_id from bets where bets.sequence = claimed.sequence) as bet_id,
                  extract(epoch from now() - course_began_at)::bigint as "age_s!", due.lapsed as "lapsed!",
                  due.may_have_left as "may_have_left!", due.is_repeat as "is_repeat!", unfounded_successes as "unfounded_successes!",
                  coalesce(debit_is_over_at <= now(), false) as "debit_is_over!"
           from claimed join due using (outbox_id)"#,
        token,
        lease_s,
        limit,
        queue.agent_id,
        i32::from(queue.of_cancels)
    )
    .fetch_all(connection)
    .await?)
}

/// The call succeeded: the row is done, the bet comes to its end, and the call is audited, in one statement. A success
/// counts whoever holds the lease by now. `false`: the row was done already.
///
/// # Errors
/// When PostgreSQL refuses it; the row is then sent again, with the same bytes.
pub async fn complete(connection: &mut PgConnection, outbox_id: i64, sequence: i64, call: &CallRecord<'_>) -> Result<bool, LedgerError> {
    Ok(sqlx::query_scalar!(
        r#"with done as (
               update outbox set state = 'done', done_at = now(), last_status = $7, lease_token = null, leased_until = null
               where outbox_id = $1 and state in ('open', 'needs_human') returning action),
           moved as (
               update bets set settled_at = now(), state = case done.action
                   when 'cancelBet' then 'CANCELLED' when 'voidBet' then 'VOIDED'
                   else case when payout_minor > 0 then 'WON' else 'LOST' end end
               from done
               where bets.sequence = $2 and bets.state = case done.action
                   when 'cancelBet' then 'PENDING_CANCEL' when 'voidBet' then 'PENDING_VOID' else 'PENDING_SETTLEMENT' end),
           audited as (
               insert into wallet_audit (sequence, agent_id, action, message, outcome, status, http_status, answer, duration_ms)
               values ($2, $3, $4, $5, $6, $7, $8, $9, $10))
           select exists (select from done) as "done!""#,
        outbox_id,
        sequence,
        call.agent_id,
        call.action,
        call.message,
        call.outcome,
        call.status,
        call.http_status,
        call.answer,
        call.duration_ms,
    )
    .fetch_one(connection)
    .await?)
}

/// When a call is tried again.
pub enum Again {
    /// After so many milliseconds.
    After { delay_ms: i64 },
    /// Not before the debit can no longer be on its way, and then after so many milliseconds.
    AfterDebit { delay_ms: i64 },
    /// Never by itself: people decide.
    NeedsHuman,
}

/// What an attempt that did not succeed proves about the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// It may have reached the operator.
    MayHaveLeft,
    /// It certainly did not leave.
    None,
    /// It was not even tried, because as many calls were under way as may be: it counts as no attempt.
    NotTried,
    /// "Already applied", before which nothing may have left: the answer is about something else.
    Unfounded,
}

/// The call did not succeed: the row is put off or handed to people, and the call is audited if it was made. Only the holder of the
/// lease puts it off.
///
/// # Errors
/// When PostgreSQL refuses it; the lease then runs out and the row is due again.
pub async fn put_off(
    connection: &mut PgConnection,
    claimed: &Claimed,
    token: &str,
    call: &CallRecord<'_>,
    trace: Trace,
    again: Again,
) -> Result<(), LedgerError> {
    let (state, delay_ms, waits_for_debit) = match again {
        Again::After { delay_ms } => ("open", delay_ms, false),
        Again::AfterDebit { delay_ms } => ("open", delay_ms, true),
        Again::NeedsHuman => ("needs_human", 0, false),
    };
    let may_have_left = claimed.may_have_left || trace == Trace::MayHaveLeft;
    sqlx::query!(
        r#"with put_off as (
               update outbox set state = $11, last_status = $7, lease_token = null, leased_until = null,
                   due_at = case when $14 then greatest(now(), debit_is_over_at) else now() end
                       + make_interval(secs => $12::bigint::double precision / 1000),
                   may_have_left = $15, unfounded_successes = unfounded_successes + $16::boolean::integer,
                   attempts = attempts - $18::boolean::integer
               where outbox_id = $1 and state = 'open' and lease_token = $13)
           insert into wallet_audit (sequence, agent_id, action, message, outcome, status, http_status, answer, duration_ms)
           select $2::bigint, $3::text, $4::text, $5::text, $6::text, $7::text, $8::integer, $9::text, $10::bigint where $17"#,
        claimed.outbox_id,
        claimed.sequence,
        call.agent_id,
        call.action,
        call.message,
        call.outcome,
        call.status,
        call.http_status,
        call.answer,
        call.duration_ms,
        state,
        delay_ms,
        token,
        waits_for_debit,
        may_have_left,
        trace == Trace::Unfounded,
        !matches!(trace, Trace::None | Trace::NotTried),
        trace == Trace::NotTried,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether the operator ever confirmed the debit of a bet.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn debit_was_confirmed(connection: &mut PgConnection, sequence: i64) -> Result<bool, LedgerError> {
    Ok(sqlx::query_scalar!(
        r#"select exists (select from wallet_audit where sequence = $1 and action = 'bet' and outcome = 'applied') as "confirmed!""#,
        sequence
    )
    .fetch_one(connection)
    .await?)
}

/// The holder of a claim does not send: another call about the same bet may be under way. The lease soon ends, and whoever claims the
/// row then sends it. No attempt is under way, and none was made.
///
/// # Errors
/// When PostgreSQL refuses it; the row then counts as one that may have left.
pub async fn note_unsent(connection: &mut PgConnection, claimed: &Claimed, token: &str) -> Result<(), LedgerError> {
    sqlx::query!(
        "update outbox set may_have_left = $3, attempts = attempts - 1, leased_until = least(leased_until, now() + interval '2 seconds')
         where outbox_id = $1 and state = 'open' and lease_token = $2",
        claimed.outbox_id,
        token,
        claimed.may_have_left,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends these leases now: rows that are not done are due to whoever asks next. Each keeps its token, as one whose holder died, because
/// the call may have left.
///
/// # Errors
/// When PostgreSQL refuses it; the leases then run out by themselves.
pub async fn give_back(connection: &mut PgConnection, outbox_ids: &[i64], tokens: &[String]) -> Result<u64, LedgerError> {
    let done = sqlx::query!(
        "update outbox set leased_until = now() where outbox_id = any($1) and lease_token = any($2) and state = 'open'",
        outbox_ids,
        tokens
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Marks rows that no retry has brought to an end in `human_after_s` seconds.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn hand_over_aged(connection: &mut PgConnection, human_after_s: i64) -> Result<u64, LedgerError> {
    let done = sqlx::query!(
        "update outbox set state = 'needs_human', lease_token = null, leased_until = null
         where state = 'open' and course_began_at < now() - make_interval(secs => $1::bigint::double precision)
           and (leased_until is null or leased_until <= now())",
        human_after_s
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// How much is owed, for metrics and people.
#[derive(Clone, Debug, Default)]
pub struct Depth {
    pub open: i64,
    pub needs_human: i64,
    pub oldest_open_age_s: i64,
}

/// How much is owed.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn depth(connection: &mut PgConnection) -> Result<Depth, LedgerError> {
    Ok(sqlx::query_as!(
        Depth,
        // Each state has an index of its own; one scan for both would read everything that is done.
        r#"select open.rows as "open!", needs_human.rows as "needs_human!",
                  coalesce(extract(epoch from now() - open.oldest), 0)::bigint as "oldest_open_age_s!"
           from (select count(*) as rows, min(created_at) as oldest from outbox where state = 'open') as open,
                (select count(*) as rows from outbox where state = 'needs_human') as needs_human"#
    )
    .fetch_one(connection)
    .await?)
}

/// A row as people see it.
#[derive(Clone, Debug)]
pub struct Entry {
    pub outbox_id: i64,
    pub sequence: i64,
    pub agent_id: String,
    pub action: String,
    pub message: String,
    pub state: String,
    pub attempts: i32,
    pub due_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
    pub last_status: Option<String>,
    pub bet_state: Option<String>,
}

/// Rows that are not done, those that need a person first.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn unfinished(connection: &mut PgConnection, limit: i64) -> Result<Vec<Entry>, LedgerError> {
    Ok(sqlx::query_as!(
        Entry,
        r#"select outbox_id, sequence, agent_id, action, message, state, attempts, due_at, created_at, last_status,
                  (select bets.state from bets where bets.sequence = outbox.sequence) as bet_state
           from outbox where state in ('open', 'needs_human') order by state = 'open', outbox_id limit $1"#,
        limit
    )
    .fetch_all(connection)
    .await?)
}

/// One row.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn entry(connection: &mut PgConnection, outbox_id: i64) -> Result<Option<Entry>, LedgerError> {
    Ok(sqlx::query_as!(
        Entry,
        r#"select outbox_id, sequence, agent_id, action, message, state, attempts, due_at, created_at, last_status,
                  (select bets.state from bets where bets.sequence = outbox.sequence) as bet_state
           from outbox where outbox_id = $1"#,
        outbox_id
    )
    .fetch_optional(connection)
    .await?)
}

/// One call that was made about a bet, as people see it.
#[derive(Clone, Debug)]
pub struct PastCall {
    pub at: DateTime<Utc>,
    pub action: String,
    pub outcome: String,
    pub status: Option<String>,
    pub http_status: Option<i32>,
    pub answer: Option<String>,
    pub duration_ms: i64,
}

/// The calls that were made about a bet, oldest first; beyond `limit` the oldest are left out.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn calls_made(connection: &mut PgConnection, sequence: i64, limit: i64) -> Result<Vec<PastCall>, LedgerError> {
    let mut calls = sqlx::query_as!(
        PastCall,
        "select at, action, outcome, status, http_status, answer, duration_ms
         from wallet_audit where sequence = $1 order by audit_id desc limit $2",
        sequence,
        limit
    )
    .fetch_all(connection)
    .await?;
    calls.reverse();
    Ok(calls)
}

/// Which rows a person means. What is `None` does not narrow.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    pub outbox_id: Option<i64>,
    pub agent_id: Option<String>,
    pub action: Option<String>,
}

/// Gives rows back to the retries, due now; what waited for people gets a fresh course of attempts. Returns how many.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn retry_now(connection: &mut PgConnection, selection: &Selection) -> Result<u64, LedgerError> {
    let done = sqlx::query!(
        "update outbox set state = 'open', due_at = now(), course_began_at = now(),
             attempts = case state when 'needs_human' then 0 else attempts end,
             unfounded_successes = case state when 'needs_human' then 0 else unfounded_successes end
         where state in ('open', 'needs_human') and ($1::bigint is null or outbox_id = $1)
             and ($2::text is null or agent_id = $2) and ($3::text is null or action = $3)",
        selection.outbox_id,
        selection.agent_id,
        selection.action,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// What two people decided about calls that no retry could bring to an end.
pub struct Resolution<'a> {
    pub decided_by: &'a str,
    pub confirmed_by: &'a str,
    pub reason: &'a str,
}

/// Two people declare rows settled by other means: they are resolved, their bets come to their end, and the decision is kept for
/// each, all in one statement. Returns how many waited for people.
///
/// # Errors
/// `queue_resolutions_two_people` and `queue_resolutions_reason_given` when the decision is not whole.
pub async fn resolve(connection: &mut PgConnection, selection: &Selection, resolution: &Resolution<'_>) -> Result<i64, LedgerError> {
    Ok(sqlx::query_scalar!(
        r#"with resolved as (
               update outbox set state = 'resolved', done_at = now()
               where state = 'needs_human' and ($1::bigint is null or outbox_id = $1)
                   and ($5::text is null or agent_id = $5) and ($6::text is null or action = $6)
               returning outbox_id, sequence, action),
           kept as (
               insert into queue_resolutions (outbox_id, sequence, decided_by, confirmed_by, reason)
               select outbox_id, sequence, $2, $3, $4 from resolved),
           moved as (
               update bets set settled_at = now(), state = case resolved.action
                   when 'cancelBet' then 'CANCELLED' when 'voidBet' then 'VOIDED'
                   else case when payout_minor > 0 then 'WON' else 'LOST' end end
               from resolved
               where bets.sequence = resolved.sequence and bets.state = case resolved.action
                   when 'cancelBet' then 'PENDING_CANCEL' when 'voidBet' then 'PENDING_VOID' else 'PENDING_SETTLEMENT' end)
           select count(*) as "resolved!" from resolved"#,
        selection.outbox_id,
        resolution.decided_by,
        resolution.confirmed_by,
        resolution.reason,
        selection.agent_id,
        selection.action,
    )
    .fetch_one(connection)
    .await?)
}
