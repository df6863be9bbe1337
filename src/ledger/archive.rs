//! What the clean-ups move out of the way. Finished bets and old calls go to their archive, which stands in a partition for
//! each month; what is owed for a bet no more goes with it. A month that is wholly past the retention that regulation asks
//! for is dropped. Each call does one batch in one short transaction, so that a process that dies in the middle has lost or
//! doubled nothing, and nobody waits for a clean-up.
//!
//! A run hands each batch the place at which the last one ended. Without it every batch would walk again past all index
//! entries of what the ones before have moved.

use chrono::{DateTime, Utc};
use sqlx::{Connection as _, PgConnection};

use crate::ledger::LedgerError;

/// One batch of a move to the archive.
#[derive(Clone, Copy, Debug)]
pub struct Moved<Place> {
    pub rows: u64,
    /// How many were looked at; none where none of them was old enough.
    pub looked_at: u64,
    /// Where the next batch of the run begins.
    pub next: Option<Place>,
}

/// Moves one batch of finished bets to the archive, from those that ended at `from`, and removes what was owed for them.
///
/// # Errors
/// When PostgreSQL refuses it; the whole batch then stays.
pub async fn archive_bets(
    connection: &mut PgConnection,
    older_than_days: i32,
    batch: i64,
    from: Option<DateTime<Utc>>,
) -> Result<Moved<DateTime<Utc>>, LedgerError> {
    let mut transaction = connection.begin().await?;
    // A bet with a call that is still owed is not finished for us, whatever its state says. (Asked as a value for each bet, by
    // the index of its calls: of `not exists` PostgreSQL makes a join that reads the whole outbox for every batch.)
    let chosen = sqlx::query!(
        r#"select sequence, ended_at as "ended_at!" from bets
           where state in ('WON', 'LOST', 'VOIDED', 'CANCELLED', 'REJECTED')
             and ended_at < now() - make_interval(days => $1) and ended_at >= coalesce($3, '-infinity'::timestamptz)
             and (select bool_or(state in ('open', 'needs_human')) from outbox where outbox.sequence = bets.sequence) is not true
           order by ended_at limit $2 for update skip locked"#,
        older_than_days,
        batch,
        from
    )
    .fetch_all(&mut *transaction)
    .await?;
    let Some(last) = chosen.last() else {
        return Ok(Moved {
            rows: 0,
            looked_at: 0,
            next: from,
        });
    };
    let next = Some(last.ended_at);
    let sequences: Vec<i64> = chosen.iter().map(|bet| bet.sequence).collect();
    sqlx::query!(
        "select make_archive_partition('bets_archive', month)
         from (select distinct date_trunc('month', ended_at, 'UTC') as month from unnest($1::timestamptz[]) as ended_at) as months",
        &chosen.iter().map(|bet| bet.ended_at).collect::<Vec<_>>()
    )
    .fetch_all(&mut *transaction)
    .await?;
    sqlx::query!(
        "insert into bets_archive select bets.*, now() from bets where sequence = any($1)",
        &sequences
    )
    .execute(&mut *transaction)
    .await?;
    crate::failpoint::reach("K20");
    // What people or a restore decided stays as it was, until the decision goes.
    sqlx::query!(
        "delete from outbox where sequence = any($1) and state = 'done'
             and not exists (select from restored_bets where restored_bets.sequence = outbox.sequence)",
        &sequences
    )
    .execute(&mut *transaction)
    .await?;
    let done = sqlx::query!("delete from bets where sequence = any($1)", &sequences)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(Moved {
        rows: done.rows_affected(),
        looked_at: done.rows_affected(),
        next,
    })
}

/// Deletes one batch of audited balance enquiries. They belong to no bet and move no money, so that nobody has to keep them for
/// years. Returns how many were deleted.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn delete_old_balance_enquiries(connection: &mut PgConnection, older_than_days: i32, batch: i64) -> Result<u64, LedgerError> {
    let done = sqlx::query!(
        "delete from wallet_audit where audit_id = any(array(
             select audit_id from wallet_audit where action = 'getBalance' and at < now() - make_interval(days => $1)
             order by at limit $2 for update skip locked))",
        older_than_days,
        batch
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Moves one batch of audited calls to the archive, from those whose id is above `after`. The oldest are those with the lowest
/// ids; the table has no index of their age, which every call would have to keep.
///
/// # Errors
/// When PostgreSQL refuses it; the whole batch then stays.
pub async fn archive_calls(
    connection: &mut PgConnection,
    older_than_days: i32,
    batch: i64,
    after: Option<i64>,
) -> Result<Moved<i64>, LedgerError> {
    let mut transaction = connection.begin().await?;
    // One call that was dated by a clock that ran ahead must not end the run.
    let looked_at = sqlx::query!(
        r#"select audit_id, at, at < now() - make_interval(days => $1) as "is_old!" from wallet_audit
           where audit_id > coalesce($3::bigint, -1) order by audit_id limit $2 for update skip locked"#,
        older_than_days,
        batch,
        after
    )
    .fetch_all(&mut *transaction)
    .await?;
    let next = looked_at.iter().map(|call| call.audit_id).max();
    let total = looked_at.len() as u64;
    let chosen: Vec<_> = looked_at.into_iter().filter(|call| call.is_old).collect();
    if chosen.is_empty() {
        return Ok(Moved {
            rows: 0,
            looked_at: 0,
            next: after,
        });
    }
    sqlx::query!(
        "select make_archive_partition('wallet_audit_archive', month)
         from (select distinct date_trunc('month', at, 'UTC') as month from unnest($1::timestamptz[]) as at) as months",
        &chosen.iter().map(|call| call.at).collect::<Vec<_>>()
    )
    .fetch_all(&mut *transaction)
    .await?;
    let done = sqlx::query!(
        "with moved as (delete from wallet_audit where audit_id = any($1) returning *)
         insert into wallet_audit_archive select moved.*, now() from moved",
        &chosen.iter().map(|call| call.audit_id).collect::<Vec<_>>()
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(Moved {
        rows: done.rows_affected(),
        looked_at: total,
        next,
    })
}

/// The archives, whose months are dropped when they are past the retention.
#[derive(Clone, Copy, Debug)]
pub enum Archive {
    Bets,
    Calls,
}

/// Drops the oldest month of an archive if all of it is past the retention. `false`: none is.
///
/// # Errors
/// When PostgreSQL refuses it, or somebody reads the archive for longer than a second.
pub async fn drop_expired_month(connection: &mut PgConnection, archive: Archive, retention_days: i32) -> Result<bool, LedgerError> {
    let table = match archive {
        Archive::Bets => "bets_archive",
        Archive::Calls => "wallet_audit_archive",
    };
    let dropped = sqlx::query_scalar!(
        "select drop_expired_partition($1, now() - make_interval(days => $2))",
        table,
        retention_days
    )
    .fetch_one(connection)
    .await?;
    Ok(dropped.is_some())
}
