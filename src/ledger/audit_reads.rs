//! What the audit reads page by page: bets with everything that belongs to them, and the players' sealed seeds. Pages are by
//! key, so that a table of any size is walked in constant memory. Reads only, inside the audit's one transaction.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::game::bet_state::BetState;
use crate::ledger::LedgerError;

/// A bet as the audit looks at it, from `bets` or from `bets_archive`.
#[derive(Clone, Debug)]
pub struct AuditedBet {
    pub bet_id: Uuid,
    pub sequence: i64,
    pub agent_id: String,
    pub user_id: String,
    pub currency: String,
    pub decimal_places: i16,
    pub difficulty: String,
    pub stake_minor: i64,
    pub configuration_version: i32,
    pub max_lane: i16,
    pub state: BetState,
    /// Every state that it has been in, and when each began.
    pub history_states: Vec<String>,
    pub history_times: Vec<DateTime<Utc>>,
    pub user_seed: String,
    pub nonce: i64,
    pub commitment: String,
    pub server_seed_sealed: Vec<u8>,
    pub hazard_epoch: i64,
    pub hazard_seed: String,
    pub message: String,
    pub last_lane: i16,
    pub end_reason: Option<String>,
    pub coefficient_hundredths: i64,
    pub payout_minor: i64,
    /// How old the bet is, in seconds by PostgreSQL's clock.
    pub age_s: i64,
    /// How long its deadline has been over, in seconds; negative before.
    pub past_deadline_s: i64,
}

/// Which of the two tables of bets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BetTable {
    Current,
    Archive,
}

/// A statement whose rows are [`AuditedBet`]s.
macro_rules! audited_bets {
    ($after:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            AuditedBet,
            r#"select bet_id, sequence, agent_id, user_id, currency, decimal_places, difficulty, stake_minor, configuration_version, max_lane,
                state as "state: BetState", history_states, history_times, user_seed, nonce, commitment, server_seed_sealed, hazard_epoch, hazard_seed, message, last_lane,
                end_reason, coefficient_hundredths, payout_minor, extract(epoch from now() - created_at)::bigint as "age_s!",
                extract(epoch from now() - deadline_at)::bigint as "past_deadline_s!" "# + $after
            $(, $argument)*
        )
    };
}

/// The bets of a table whose id is above `after`, by id: at most `limit`.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn bets_after(connection: &mut PgConnection, table: BetTable, after: Uuid, limit: i64) -> Result<Vec<AuditedBet>, LedgerError> {
    Ok(match table {
        BetTable::Current => {
            audited_bets!("from bets where bet_id > $1 order by bet_id limit $2", after, limit)
                .fetch_all(connection)
                .await?
        }
        BetTable::Archive => {
            audited_bets!("from bets_archive where bet_id > $1 order by bet_id limit $2", after, limit)
                .fetch_all(connection)
                .await?
        }
    })
}

/// The bets with these ids, from either table.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn bets_by_id(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<AuditedBet>, LedgerError> {
    let mut bets = audited_bets!("from bets where bet_id = any($1)", ids)
        .fetch_all(&mut *connection)
        .await?;
    bets.extend(
        audited_bets!("from bets_archive where bet_id = any($1)", ids)
            .fetch_all(connection)
            .await?,
    );
    Ok(bets)
}

/// A call that is or was owed for a bet.
#[derive(Clone, Debug)]
pub struct OwedCall {
    pub sequence: i64,
    pub outbox_id: i64,
    pub action: String,
    pub message: String,
    pub state: String,
    /// The operator said last that it knows no such bet.
    pub is_denied: bool,
    /// For how long nobody has done what is due: in seconds, negative when it is not due yet or somebody holds it.
    pub overdue_s: i64,
}

/// The calls that were ever owed for these bets. What was done for an archived bet is known by the calls that were made.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn owed_calls(connection: &mut PgConnection, sequences: &[i64]) -> Result<Vec<OwedCall>, LedgerError> {
    Ok(sqlx::query_as!(
        OwedCall,
        r#"with archived as (
               select chosen as sequence from unnest($1::bigint[]) as chosen where not exists (select from bets where bets.sequence = chosen)),
           called as (
               select audit_id, sequence, action, message, status from archived join wallet_audit using (sequence) where action <> 'bet'
               union all
               select audit_id, sequence, action, message, status from archived join wallet_audit_archive using (sequence) where action <> 'bet'),
           made as (
               select sequence, action, message, (array_agg(status order by audit_id desc))[1] as last_status from called
               group by sequence, action, message)
           select sequence as "sequence!", outbox_id as "outbox_id!", action as "action!", message as "message!", state as "state!",
                  coalesce(last_status in ('1017', '1039', '1044'), false) as "is_denied!",
                  extract(epoch from now() - greatest(due_at, leased_until))::bigint as "overdue_s!"
           from outbox where sequence = any($1)
           union all select sequence, 0, action, message, 'done', coalesce(last_status in ('1017', '1039', '1044'), false), 0 from made
           where not exists (select from outbox where outbox.sequence = made.sequence and outbox.action = made.action)
           order by 2"#,
        sequences
    )
    .fetch_all(connection)
    .await?)
}

/// The sealed pair of seeds of a player who has signed in.
pub struct SealedPair {
    pub agent_id: String,
    pub user_id: String,
    pub server_seed_sealed: Vec<u8>,
    pub commitment: String,
    pub next_server_seed_sealed: Vec<u8>,
    pub next_commitment: String,
}

/// The seed pairs of the players after this one, by agent and user: at most `limit`.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn seed_pairs_after(
    connection: &mut PgConnection,
    (agent_id, user_id): (&str, &str),
    limit: i64,
) -> Result<Vec<SealedPair>, LedgerError> {
    Ok(sqlx::query_as!(
        SealedPair,
        // The row in force; that there is one, another check says.
        "select distinct on (agent_id, user_id) agent_id, user_id, server_seed_sealed, commitment, next_server_seed_sealed, next_commitment
         from player_seeds where (agent_id, user_id) > ($1, $2) order by agent_id, user_id, nonce desc limit $3",
        agent_id,
        user_id,
        limit
    )
    .fetch_all(connection)
    .await?)
}

/// Which of these hashes commit to a server seed that has not been revealed: the current or the next of some player.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn unrevealed_among(connection: &mut PgConnection, hashes: &[String]) -> Result<Vec<String>, LedgerError> {
    Ok(sqlx::query_scalar!(
        r#"select commitment as "commitment!" from player_seeds where commitment = any($1)
           union select next_commitment from player_seeds where next_commitment = any($1)
           union select commitment from bets where commitment = any($1) and state in ('PENDING', 'PLACED')"#,
        hashes
    )
    .fetch_all(connection)
    .await?)
}

/// The days whose hazard chains have links that are not public yet.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn days_not_over(connection: &mut PgConnection) -> Result<Vec<NaiveDate>, LedgerError> {
    Ok(
        sqlx::query_scalar!("select day from hazard_chains where day >= (now() at time zone 'UTC')::date")
            .fetch_all(connection)
            .await?,
    )
}

/// A bet that a restore has closed, or that only its operator knew.
#[derive(Clone, Debug)]
pub struct RestoredBet {
    pub agent_id: String,
    pub platform_tx_id: String,
    /// Whether it has a bet row.
    pub has_bet: bool,
    pub operator_state: Option<String>,
    pub currency: Option<String>,
    /// Decimals as text.
    pub stake: Option<String>,
    pub win: Option<String>,
}

/// What restores have closed and found. There are few in the life of a record.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn restored_bets(connection: &mut PgConnection) -> Result<Vec<RestoredBet>, LedgerError> {
    Ok(sqlx::query_as!(
        RestoredBet,
        "select agent_id, platform_tx_id, has_bet, operator_state, currency, stake::text, win::text from restored_bets"
    )
    .fetch_all(connection)
    .await?)
}
