//! What the nightly clean-ups move out of the way. Finished bets and old calls go to their archive; only what is older than
//! the retention that regulation asks for is deleted, and only from the archive. Each call does one batch in one
//! transaction, so that a process that dies in the middle has lost or doubled nothing.

use sqlx::{Connection as _, PgConnection};

use crate::ledger::LedgerError;

/// Moves one batch of finished bets to the archive. Returns how many were moved.
///
/// # Errors
/// When PostgreSQL refuses it; the whole batch then stays.
pub async fn archive_bets(connection: &mut PgConnection, older_than_days: i32, batch: i64) -> Result<u64, LedgerError> {
    let mut transaction = connection.begin().await?;
    // A bet with a call that is still owed is not finished for us, whatever its state says.
    let chosen = sqlx::query_scalar!(
        "select sequence from bets
         where state in ('WON', 'LOST', 'VOIDED', 'CANCELLED', 'REJECTED') and ended_at < now() - make_interval(days => $1)
           and not exists (select from outbox where outbox.sequence = bets.sequence and outbox.state in ('open', 'needs_human'))
         order by ended_at limit $2 for update skip locked",
        older_than_days,
        batch
    )
    .fetch_all(&mut *transaction)
    .await?;
    sqlx::query!(
        "insert into bets_archive select bets.*, now() from bets where sequence = any($1)",
        &chosen
    )
    .execute(&mut *transaction)
    .await?;
    crate::failpoint::reach("K20");
    let done = sqlx::query!("delete from bets where sequence = any($1)", &chosen)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(done.rows_affected())
}

/// Deletes one batch of archived bets that are older than the retention. Returns how many were deleted.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn delete_expired_bets(connection: &mut PgConnection, retention_days: i32, batch: i64) -> Result<u64, LedgerError> {
    let done = sqlx::query!(
        "delete from bets_archive where bet_id in (
             select bet_id from bets_archive where ended_at < now() - make_interval(days => $1) order by ended_at limit $2)",
        retention_days,
        batch
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Deletes one batch of audited balance enquiries. They belong to no bet and move no money, so that nobody has to keep them for
/// years. Returns how many were deleted.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn delete_old_balance_enquiries(connection: &mut PgConnection, older_than_days: i32, batch: i64) -> Result<u64, LedgerError> {
    let done = sqlx::query!(
        "delete from wallet_audit where audit_id in (
             select audit_id from wallet_audit where action = 'getBalance' and at < now() - make_interval(days => $1)
             order by at limit $2 for update skip locked)",
        older_than_days,
        batch
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Moves one batch of audited calls to the archive. Returns how many were moved. The oldest are those with the lowest ids; the
/// table has no index of their age, which every call would have to keep.
///
/// # Errors
/// When PostgreSQL refuses it; the whole batch then stays.
pub async fn archive_calls(connection: &mut PgConnection, older_than_days: i32, batch: i64) -> Result<u64, LedgerError> {
    let done = sqlx::query!(
        "with moved as (
             delete from wallet_audit where audit_id in (
                 select audit_id from (select audit_id, at from wallet_audit order by audit_id limit $2 for update skip locked) as oldest
                 where at < now() - make_interval(days => $1))
             returning *)
         insert into wallet_audit_archive select moved.*, now() from moved",
        older_than_days,
        batch
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Deletes one batch of archived calls that are older than the retention. Returns how many were deleted.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn delete_expired_calls(connection: &mut PgConnection, retention_days: i32, batch: i64) -> Result<u64, LedgerError> {
    let done = sqlx::query!(
        "delete from wallet_audit_archive where audit_id in (
             select audit_id from wallet_audit_archive where at < now() - make_interval(days => $1) order by at limit $2)",
        retention_days,
        batch
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Deletes launch tokens that expired more than two days ago; until then a replay is recognised.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn delete_expired_launch_tokens(connection: &mut PgConnection) -> Result<u64, LedgerError> {
    let done = sqlx::query!("delete from launch_tokens where expires_at < now() - interval '2 days'")
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}
