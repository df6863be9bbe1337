//! The versions of the game's configuration. A version is its exact bytes; it is written once and never changed.

use sqlx::PgConnection;

use crate::ledger::LedgerError;

/// The version under which these bytes are known; they are added when they are new.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn ensure(connection: &mut PgConnection, content: &[u8], hash: &str) -> Result<i32, LedgerError> {
    sqlx::query!(
        "insert into game_configurations (content, hash) values ($1, $2) on conflict (hash) do nothing",
        content,
        hash
    )
    .execute(&mut *connection)
    .await?;
    Ok(sqlx::query_scalar!("select version from game_configurations where hash = $1", hash)
        .fetch_one(connection)
        .await?)
}

/// The version whose bytes have this hash.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn version_of(connection: &mut PgConnection, hash: &str) -> Result<Option<i32>, LedgerError> {
    Ok(sqlx::query_scalar!("select version from game_configurations where hash = $1", hash)
        .fetch_optional(connection)
        .await?)
}

/// The stored bytes of a version.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn content(connection: &mut PgConnection, version: i32) -> Result<Option<Vec<u8>>, LedgerError> {
    Ok(
        sqlx::query_scalar!("select content from game_configurations where version = $1", version)
            .fetch_optional(connection)
            .await?,
    )
}
