//! The hazard chains, one a UTC day: inserted once by whoever comes first, then read back by everybody.

use chrono::{DateTime, NaiveDate, Utc};
use secrecy::{ExposeSecret, SecretString};
use sqlx::PgConnection;

use crate::game::hazards::Chain;
use crate::ledger::LedgerError;
use crate::ledger::sealing::{Sealing, chain_row};

/// What is public of a day's chain before the day is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedAnchor {
    pub anchor: String,
    pub published_at: DateTime<Utc>,
}

/// Inserts `chain` for `day`, unless the day has one already.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn offer(connection: &mut PgConnection, sealing: &Sealing, day: NaiveDate, chain: &Chain) -> Result<(), LedgerError> {
    sqlx::query!(
        "insert into hazard_chains (day, anchor, last_link_sealed) values ($1, $2, $3) on conflict (day) do nothing",
        day,
        chain.anchor().as_str(),
        sealing.seal(&chain_row(day), chain.last_link().as_str())
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The chain of a day, rebuilt from its sealed last link.
///
/// # Errors
/// When it cannot be read, opened, or does not lead to its anchor.
pub async fn chain(connection: &mut PgConnection, sealing: &Sealing, day: NaiveDate) -> Result<Option<Chain>, LedgerError> {
    let row = sqlx::query!("select anchor, last_link_sealed from hazard_chains where day = $1", day)
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let last_link = sealing.open(&chain_row(day), &row.last_link_sealed)?;
    let chain = Chain::parse(last_link.expose_secret()).map_err(|_| LedgerError::Unreadable {
        what: "hazard_chains.last_link_sealed",
    })?;
    if chain.anchor().as_str() != row.anchor {
        return Err(LedgerError::Unreadable {
            what: "hazard_chains.anchor",
        });
    }
    Ok(Some(chain))
}

/// The last link of a day's chain, from which all others follow; it must not leave the server before the day is over. The
/// links are not computed: the seal says that it is the day's own.
///
/// # Errors
/// When it cannot be read or opened.
pub async fn last_link(connection: &mut PgConnection, sealing: &Sealing, day: NaiveDate) -> Result<Option<SecretString>, LedgerError> {
    let sealed = sqlx::query_scalar!("select last_link_sealed from hazard_chains where day = $1", day)
        .fetch_optional(connection)
        .await?;
    sealed.map(|sealed| sealing.open(&chain_row(day), &sealed)).transpose()
}

/// The published anchor of a day.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn anchor(connection: &mut PgConnection, day: NaiveDate) -> Result<Option<PublishedAnchor>, LedgerError> {
    Ok(sqlx::query_as!(
        PublishedAnchor,
        "select anchor, published_at from hazard_chains where day = $1",
        day
    )
    .fetch_optional(connection)
    .await?)
}

/// The UTC day by PostgreSQL's clock, by which a day is over.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn today(connection: &mut PgConnection) -> Result<NaiveDate, LedgerError> {
    Ok(sqlx::query_scalar!(r#"select (now() at time zone 'UTC')::date as "today!""#)
        .fetch_one(connection)
        .await?)
}
