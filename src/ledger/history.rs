//! Bets as rows, read for players, for people and for the recovery. Reads only.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::game::bet_state::BetState;
use crate::game::player::PlayerId;
use crate::ledger::LedgerError;

/// One row of `bets`.
#[derive(Clone, Debug)]
pub struct BetRow {
    pub bet_id: Uuid,
    pub sequence: i64,
    pub agent_id: String,
    pub user_id: String,
    pub game_code: String,
    pub currency: String,
    pub decimal_places: i16,
    pub difficulty: String,
    pub stake_minor: i64,
    pub configuration_version: i32,
    pub max_lane: i16,
    pub state: BetState,
    pub user_seed: String,
    pub user_seed_fresh: bool,
    pub nonce: i64,
    pub commitment: String,
    pub next_commitment: String,
    pub server_seed_sealed: Vec<u8>,
    pub hazard_epoch: i64,
    pub hazard_seed: String,
    pub placed_at: DateTime<Utc>,
    pub refused_status: Option<String>,
    pub last_lane: i16,
    pub end_reason: Option<String>,
    pub coefficient_hundredths: i64,
    pub payout_minor: i64,
    pub created_at: DateTime<Utc>,
    pub deadline_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    pub settled_at: Option<DateTime<Utc>>,
}

/// A statement whose rows are [`BetRow`]s: the columns, written once, stand between what comes before and after them.
macro_rules! bet_rows {
    ($before:literal, $after:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            $crate::ledger::history::BetRow,
            $before + r#" bet_id, sequence, agent_id, user_id, game_code, currency, decimal_places, difficulty, stake_minor,
                configuration_version, max_lane, state as "state: crate::game::bet_state::BetState", user_seed, user_seed_fresh, nonce,
                commitment, next_commitment, server_seed_sealed, hazard_epoch, hazard_seed, placed_at, refused_status, last_lane, end_reason,
                coefficient_hundredths, payout_minor, created_at, deadline_at, ended_at, settled_at "# + $after
            $(, $argument)*
        )
    };
}
pub(super) use bet_rows;

/// Whether the player made the user seed for the bet with this commitment, if it is a bet that is no longer open and was not
/// archived yet.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn freshness(connection: &mut PgConnection, commitment: &str) -> Result<Option<bool>, LedgerError> {
    Ok(
        sqlx::query_scalar!("select user_seed_fresh from bets where commitment = $1 and not is_open", commitment)
            .fetch_optional(connection)
            .await?,
    )
}

/// One bet by its fencing token.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn by_sequence(connection: &mut PgConnection, sequence: i64) -> Result<Option<BetRow>, LedgerError> {
    Ok(bet_rows!("select", "from bets where sequence = $1", sequence)
        .fetch_optional(connection)
        .await?)
}

/// The exact text of a bet's debit.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn debit_of(connection: &mut PgConnection, sequence: i64) -> Result<Option<String>, LedgerError> {
    Ok(sqlx::query_scalar!("select message from bets where sequence = $1", sequence)
        .fetch_optional(connection)
        .await?)
}

/// One bet of a player, by its id; also one that was archived.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn by_id(connection: &mut PgConnection, player: &PlayerId, bet_id: Uuid) -> Result<Option<BetRow>, LedgerError> {
    let (agent_id, user_id) = (player.agent_id.as_str(), player.user_id.as_str());
    let bet = bet_rows!(
        "select",
        "from bets where bet_id = $1 and agent_id = $2 and user_id = $3",
        bet_id,
        agent_id,
        user_id
    )
    .fetch_optional(&mut *connection)
    .await?;
    if bet.is_some() {
        return Ok(bet);
    }
    Ok(bet_rows!(
        "select",
        "from bets_archive where bet_id = $1 and agent_id = $2 and user_id = $3",
        bet_id,
        agent_id,
        user_id
    )
    .fetch_optional(connection)
    .await?)
}

/// One bet of an agent, by the platformTxId that the agent knows, also from the archive.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn by_agent(connection: &mut PgConnection, agent_id: &str, bet_id: Uuid) -> Result<Option<BetRow>, LedgerError> {
    let bet = bet_rows!("select", "from bets where bet_id = $1 and agent_id = $2", bet_id, agent_id)
        .fetch_optional(&mut *connection)
        .await?;
    if bet.is_some() {
        return Ok(bet);
    }
    Ok(
        bet_rows!("select", "from bets_archive where bet_id = $1 and agent_id = $2", bet_id, agent_id)
            .fetch_optional(connection)
            .await?,
    )
}

/// The bet that was placed with an idempotency key. One whose debit never left has set its key free.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn by_idempotency_key(connection: &mut PgConnection, player: &PlayerId, key: &str) -> Result<Option<BetRow>, LedgerError> {
    Ok(bet_rows!(
        "select",
        "from bets where agent_id = $1 and user_id = $2 and idempotency_key = $3 and not never_sent",
        player.agent_id.as_str(),
        player.user_id.as_str(),
        key
    )
    .fetch_optional(connection)
    .await?)
}

/// A player's latest bet: the open one, if one is.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn latest(connection: &mut PgConnection, player: &PlayerId) -> Result<Option<BetRow>, LedgerError> {
    Ok(bet_rows!(
        "select",
        "from bets where agent_id = $1 and user_id = $2 order by nonce desc limit 1",
        player.agent_id.as_str(),
        player.user_id.as_str()
    )
    .fetch_optional(connection)
    .await?)
}

/// A player's bets, newest first, with nonces below `before`.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn page(connection: &mut PgConnection, player: &PlayerId, before: i64, limit: i64) -> Result<Vec<BetRow>, LedgerError> {
    Ok(bet_rows!(
        "select",
        "from bets where agent_id = $1 and user_id = $2 and nonce < $3 order by nonce desc limit $4",
        player.agent_id.as_str(),
        player.user_id.as_str(),
        before,
        limit
    )
    .fetch_all(connection)
    .await?)
}
