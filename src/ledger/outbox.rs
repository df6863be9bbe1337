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
    /// Attempts so far, this one included.
    pub attempts: i32,
    /// How long ago the row was made, in seconds by PostgreSQL's clock.
    pub age_s: i64,
    /// An earlier claim ran out: its holder died, or was slower than its lease.
    pub lapsed: bool,
}

/// The agents that are owed calls at this moment.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn agents_due(connection: &mut PgConnection) -> Result<Vec<String>, LedgerError> {
    Ok(sqlx::query_scalar!(
        "select distinct agent_id from outbox
         where state = 'open' and due_at <= now() and (leased_until is null or leased_until <= now())"
    )
    .fetch_all(connection)
    .await?)
}

/// Claims an agent's rows that are due, oldest first, passing over those that another server is claiming at this moment.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn claim_due(
    connection: &mut PgConnection,
    agent_id: &str,
    token: &str,
    lease_s: i64,
    limit: i64,
) -> Result<Vec<Claimed>, LedgerError> {
    Ok(sqlx::query_as!(
        Claimed,
        r#"update outbox set lease_token = $1, leased_until = now() + make_interval(secs => $2::bigint::double precision), attempts = attempts + 1
           from (select outbox_id, lease_token is not null as lapsed from outbox
                 where agent_id = $4 and state = 'open' and due_at <= now() and (leased_until is null or leased_until <= now())
                 order by due_at limit $3 for update skip locked) as due
           where outbox.outbox_id = due.outbox_id
           returning outbox.outbox_id, sequence, agent_id, action, message, attempts,
                     (select bet_id from bets where bets.sequence = outbox.sequence) as bet_id,
                     extract(epoch from now() - created_at)::bigint as "age_s!", due.lapsed as "lapsed!""#,
        token,
        lease_s,
        limit,
        agent_id
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
    /// Never by itself: people decide.
    NeedsHuman,
}

/// The call did not succeed: the row is put off or handed to people, and the call is audited. Only the holder of the lease
/// puts it off.
///
/// # Errors
/// When PostgreSQL refuses it; the lease then runs out and the row is due again.
pub async fn put_off(
    connection: &mut PgConnection,
    claimed: &Claimed,
    token: &str,
    call: &CallRecord<'_>,
    again: Again,
) -> Result<(), LedgerError> {
    let (state, delay_ms) = match again {
        Again::After { delay_ms } => ("open", delay_ms),
        Again::NeedsHuman => ("needs_human", 0),
    };
    sqlx::query!(
        r#"with put_off as (
               update outbox set state = $11, due_at = now() + make_interval(secs => $12::bigint::double precision / 1000), last_status = $7,
                                 lease_token = null, leased_until = null
               where outbox_id = $1 and state = 'open' and lease_token = $13)
           insert into wallet_audit (sequence, agent_id, action, message, outcome, status, http_status, answer, duration_ms)
           values ($2, $3, $4, $5, $6, $7, $8, $9, $10)"#,
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
         where state = 'open' and created_at < now() - make_interval(secs => $1::bigint::double precision)
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

/// Gives a row back to the retries, due now. `false`: it is done, or there is none.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn retry_now(connection: &mut PgConnection, outbox_id: i64) -> Result<bool, LedgerError> {
    let done = sqlx::query!(
        "update outbox set state = 'open', due_at = now() where outbox_id = $1 and state in ('open', 'needs_human')",
        outbox_id
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What two people decided about a call that no retry could bring to an end.
pub struct Resolution<'a> {
    pub decided_by: &'a str,
    pub confirmed_by: &'a str,
    pub reason: &'a str,
}

/// Two people declare the row settled by other means: it is resolved, its bet comes to its end, and the decision is kept,
/// all in one statement. `false`: the row does not wait for people.
///
/// # Errors
/// `queue_resolutions_two_people` and `queue_resolutions_reason_given` when the decision is not whole.
pub async fn resolve(connection: &mut PgConnection, outbox_id: i64, resolution: &Resolution<'_>) -> Result<bool, LedgerError> {
    Ok(sqlx::query_scalar!(
        r#"with resolved as (
               update outbox set state = 'resolved', done_at = now() where outbox_id = $1 and state = 'needs_human'
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
           select exists (select from resolved) as "resolved!""#,
        outbox_id,
        resolution.decided_by,
        resolution.confirmed_by,
        resolution.reason,
    )
    .fetch_one(connection)
    .await?)
}
