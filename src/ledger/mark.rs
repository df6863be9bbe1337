//! Where PostgreSQL stands, so that an older copy of it can be told from the one that was in use.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::game::player::{AgentId, PlayerId, UserId};
use crate::ledger::LedgerError;

/// Where PostgreSQL stands at this moment.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The identifier that it got when it was initialised; all copies of its files share it.
    pub system: String,
    /// Raised by each promotion and each recovery to a point in time; empty on a standby.
    pub timeline: String,
    /// The latest bet, as far as bets were not archived.
    pub sequence: Option<i64>,
    pub bet_id: Option<Uuid>,
    /// `faircross restore` was begun on it and has not come to its end.
    pub restore_is_unfinished: bool,
}

/// Where PostgreSQL stands.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn standing(connection: &mut PgConnection) -> Result<Standing, LedgerError> {
    Ok(sqlx::query_as!(
        Standing,
        r#"select (select system_identifier::text from pg_control_system()) as "system!",
                  case when pg_is_in_recovery() then '' else left(pg_walfile_name(pg_current_wal_lsn()), 8) end as "timeline!",
                  latest.sequence as "sequence?", latest.bet_id as "bet_id?",
                  exists (select from restores where finished_at is null) as "restore_is_unfinished!"
           from (values (1)) as always left join (select sequence, bet_id from bets order by sequence desc limit 1) as latest on true"#
    )
    .fetch_one(connection)
    .await?)
}

/// Whether a bet is in the record, also in the archive, under this number.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn has_bet(connection: &mut PgConnection, sequence: i64, bet_id: Uuid) -> Result<bool, LedgerError> {
    Ok(sqlx::query_scalar!(
        r#"select exists (select from bets where bet_id = $1 and sequence = $2)
               or exists (select from bets_archive where bet_id = $1 and sequence = $2) as "is_there!""#,
        bet_id,
        sequence
    )
    .fetch_one(connection)
    .await?)
}

/// Players who were here within two days, those who came last first: at most `limit`.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn recent_players(connection: &mut PgConnection, limit: i64) -> Result<Vec<PlayerId>, LedgerError> {
    let rows = sqlx::query!(
        "select agent_id, user_id from players where seen_at > now() - interval '2 days' order by seen_at desc limit $1",
        limit
    )
    .fetch_all(connection)
    .await?;
    // A name that is none has no session either.
    let player = |agent_id: &str, user_id: &str| {
        Some(PlayerId {
            agent_id: AgentId::parse(agent_id).ok()?,
            user_id: UserId::parse(user_id).ok()?,
        })
    };
    Ok(rows.iter().filter_map(|row| player(&row.agent_id, &row.user_id)).collect())
}

/// The first of these bets that is not in the record, nor in the archive.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn first_missing(connection: &mut PgConnection, bets: &[(i64, Uuid)]) -> Result<Option<i64>, LedgerError> {
    let (sequences, ids): (Vec<i64>, Vec<Uuid>) = bets.iter().copied().unzip();
    Ok(sqlx::query_scalar!(
        r#"select one.sequence as "sequence!" from unnest($1::bigint[], $2::uuid[]) as one (sequence, bet_id)
           where not exists (select from bets where bets.bet_id = one.bet_id and bets.sequence = one.sequence)
             and not exists (select from bets_archive where bets_archive.bet_id = one.bet_id and bets_archive.sequence = one.sequence)
           order by 1 limit 1"#,
        &sequences,
        &ids
    )
    .fetch_optional(connection)
    .await?)
}
