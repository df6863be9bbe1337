//! The oldest open transaction, whoever's it is, a server's own too: while one is held open, PostgreSQL keeps every version of a row
//! that was replaced or deleted since, and each bet replaces its player's row of seeds.

use sqlx::PgConnection;

use crate::ledger::LedgerError;

/// The age in seconds of the oldest open transaction of this database, prepared ones too; 0 when there is none. Sessions of
/// other users are seen by members of `pg_read_all_stats` only.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn oldest_transaction_age_s(connection: &mut PgConnection) -> Result<i64, LedgerError> {
    Ok(sqlx::query_scalar!(
        r#"select coalesce(extract(epoch from clock_timestamp() - min(began))::bigint, 0) as "age_s!" from (
               select xact_start as began from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
               union all select prepared from pg_prepared_xacts where database = current_database()) open"#
    )
    .fetch_one(connection)
    .await?)
}
