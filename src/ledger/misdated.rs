//! What a clock that went back has left in the future. The times of the outbox are PostgreSQL's, so that all servers agree; when
//! its clock is set back by an hour, leases and due times from before would all wait for that hour.
//!
//! A lease cannot end later than its own length from now, nor a retry be due later than its step of the schedule. What is
//! (with room for jitter and for servers whose settings differ) was dated by another clock and counts from now on.

use sqlx::PgConnection;

use crate::ledger::LedgerError;

/// Ends leases and makes calls due that another clock has dated. `schedule_s` are the waits after the first attempt, the
/// second, and so on; the last stands for all others. Returns how many rows were misdated.
///
/// A cancel that is planned for the time when the debit can no longer be on its way stays planned: before that it is worth nothing.
/// No debit can be on its way for longer than `debit_is_over_within_s` from now, whatever the plan says.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn recall(
    connection: &mut PgConnection,
    lease_s: i64,
    schedule_s: &[i64],
    debit_is_over_within_s: i64,
) -> Result<u64, LedgerError> {
    let done = sqlx::query!(
        "update outbox set due_at = least(due_at, now()), leased_until = least(leased_until, now())
         where state = 'open' and (
             leased_until > now() + make_interval(secs => 2 * $1::bigint::double precision)
             -- Due from the beginning.
             or (due_at > now() and due_at <= created_at)
             or (attempts > 0 and due_at > greatest(now(), debit_is_over_at) + interval '1 minute' + make_interval(
                    secs => 2 * ($2::bigint[])[least(attempts, cardinality($2::bigint[]))]::double precision)))",
        lease_s,
        schedule_s
    )
    .execute(&mut *connection)
    .await?;
    let planned = sqlx::query!(
        "update outbox set debit_is_over_at = latest, due_at = least(due_at, latest)
         from (select now() + make_interval(secs => $1::bigint::double precision)) as over (latest)
         where state = 'open' and debit_is_over_at > latest + interval '1 minute'",
        debit_is_over_within_s
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected().saturating_add(planned.rows_affected()))
}
