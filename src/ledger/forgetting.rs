//! What the clean-up removes because it is about a person and its time is over: user seeds, launch tokens, people's decisions,
//! and in the end the player. Their bets and calls go with the months of the archive ([`super::archive`]).
//!
//! Of a player nothing stays but the nonce at which they would go on if they came back: a nonce is never used twice. It is
//! kept under a keyed hash of their name. Who has only the database cannot tell whose it is, not even by trying names.

use sqlx::{Connection as _, PgConnection};

use crate::game::player::{AgentId, PlayerId, UserId};
use crate::ledger::LedgerError;
use crate::ledger::sealing::Sealing;

/// Deletes one batch of user seeds with which their players have not bet within the retention. Such a seed counts as fresh
/// when it comes again. Returns how many were deleted.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn delete_expired_user_seeds(connection: &mut PgConnection, retention_days: i32, batch: i64) -> Result<u64, LedgerError> {
    // The time of the last use is kept to the day. (Rows are chosen first and then deleted where they lie: of `in` PostgreSQL makes
    // a join that reads the whole table.)
    let done = sqlx::query!(
        "delete from used_user_seeds where ctid = any(array(
             select ctid from used_user_seeds where used_at < now() - make_interval(days => $1 + 1)
             order by used_at limit $2 for update skip locked))",
        retention_days,
        batch
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Deletes one batch of launch tokens that expired more than two days ago; until then a replay is recognised. Returns how many
/// were deleted.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn delete_expired_launch_tokens(connection: &mut PgConnection, batch: i64) -> Result<u64, LedgerError> {
    let done = sqlx::query!(
        "delete from launch_tokens where token_hash = any(array(
             select token_hash from launch_tokens where expires_at < now() - interval '2 days' order by expires_at limit $1))",
        batch
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Deletes what people decided before the retention about calls and in restores, with the calls that it was about. There is
/// little of it. Returns how many were deleted.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn delete_expired_decisions(connection: &mut PgConnection, retention_days: i32) -> Result<u64, LedgerError> {
    Ok(sqlx::query_scalar!(
        r#"with resolution as (
               delete from queue_resolutions where at < now() - make_interval(days => $1) returning outbox_id),
           restored as (
               delete from restored_bets where at < now() - make_interval(days => $1)
                   and (select bool_or(state in ('open', 'needs_human')) from outbox where outbox.sequence = restored_bets.sequence) is not true
               returning sequence),
           bill as (
               update restores set bill = null where finished_at < now() - make_interval(days => $1) and bill is not null returning 1),
           resolved_call as (
               delete from outbox where state = 'resolved' and outbox_id = any(array(select outbox_id from resolution))),
           restored_call as (
               delete from outbox where state = 'done' and sequence = any(array(select sequence from restored)))
           select (select count(*) from resolution) + (select count(*) from restored) + (select count(*) from bill) as "deleted!""#,
        retention_days
    )
    .fetch_one(connection)
    .await?
    .unsigned_abs())
}

/// Forgets one batch of the players who got no launch url within the retention and of whom no bet is kept. Returns how many.
///
/// # Errors
/// When PostgreSQL refuses it; the whole batch then stays.
pub async fn forget_players(connection: &mut PgConnection, sealing: &Sealing, retention_days: i32, batch: i64) -> Result<u64, LedgerError> {
    let mut transaction = connection.begin().await?;
    let chosen = sqlx::query!(
        "select agent_id, user_id from players where seen_at < now() - make_interval(days => $1 + 1)
             and not exists (select from bets where bets.agent_id = players.agent_id and bets.user_id = players.user_id)
             and not exists (select from bets_archive where bets_archive.agent_id = players.agent_id and bets_archive.user_id = players.user_id)
         order by seen_at limit $2 for update skip locked",
        retention_days,
        batch
    )
    .fetch_all(&mut *transaction)
    .await?;
    if chosen.is_empty() {
        return Ok(0);
    }
    let mut pseudonyms = Vec::with_capacity(chosen.len());
    for row in &chosen {
        let player = player_of(&row.agent_id, &row.user_id)?;
        pseudonyms.push(sealing.pseudonym(&player).to_vec());
    }
    let (agents, users): (Vec<_>, Vec<_>) = chosen.into_iter().map(|row| (row.agent_id, row.user_id)).unzip();
    let done = sqlx::query!(
        "with gone as (
             select * from unnest($1::text[], $2::text[], $3::bytea[]) as gone (agent_id, user_id, pseudonym)),
         nonces as (
             insert into forgotten_players select pseudonym, max(nonce) from gone join player_seeds using (agent_id, user_id)
             where nonce > 0 group by pseudonym
             on conflict (pseudonym) do update set next_nonce = greatest(forgotten_players.next_nonce, excluded.next_nonce)),
         tokens as (
             delete from launch_tokens using gone where launch_tokens.agent_id = gone.agent_id and launch_tokens.user_id = gone.user_id),
         seeds as (
             delete from player_seeds using gone where player_seeds.agent_id = gone.agent_id and player_seeds.user_id = gone.user_id),
         user_seeds as (
             delete from used_user_seeds using gone where used_user_seeds.agent_id = gone.agent_id and used_user_seeds.user_id = gone.user_id)
         delete from players using gone where players.agent_id = gone.agent_id and players.user_id = gone.user_id",
        &agents,
        &users,
        &pseudonyms
    )
    .execute(&mut *transaction)
    .await?;
    // Nonces that a restore has passed over are below the one that is kept.
    sqlx::query!(
        "delete from skipped_nonces using unnest($1::text[], $2::text[]) as gone (agent_id, user_id)
         where skipped_nonces.agent_id = gone.agent_id and skipped_nonces.user_id = gone.user_id",
        &agents,
        &users
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(done.rows_affected())
}

fn player_of(agent_id: &str, user_id: &str) -> Result<PlayerId, LedgerError> {
    const UNREADABLE: LedgerError = LedgerError::Unreadable { what: "players" };
    Ok(PlayerId {
        agent_id: AgentId::parse(agent_id).map_err(|_| UNREADABLE)?,
        user_id: UserId::parse(user_id).map_err(|_| UNREADABLE)?,
    })
}
