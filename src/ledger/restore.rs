//! What `faircross restore` asks of and writes to a PostgreSQL that was put back to an older copy. Everything is done for many rows at
//! a time, and everything may be done again: a restore that was killed is run once more from its beginning.
//!
//! Two rules are broken here and nowhere else, each explained by a row of its own: nonces are passed over (`skipped_nonces`), and
//! calls are owed for bets that are not in the record (`restored_bets`).

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::ledger::LedgerError;

/// How servers name themselves to PostgreSQL.
const SERVERS: &str = "faircross";
/// The advisory lock of the one restore that runs at a time.
const LOCK: i64 = 0x6661_6972_7265_7374;

/// The connections that servers have to this database.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn connections_of_servers(connection: &mut PgConnection) -> Result<i64, LedgerError> {
    Ok(sqlx::query_scalar!(
        r#"select count(*) as "connections!" from pg_stat_activity
           where datname = current_database() and application_name = $1 and pid <> pg_backend_pid()"#,
        SERVERS
    )
    .fetch_one(connection)
    .await?)
}

/// A restore that is under way.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    pub restore_id: i64,
    /// No earlier run began it, so nothing was changed yet.
    pub is_new: bool,
}

/// Begins a restore, or goes on with one that did not come to its end. From here on no server starts. `None`: another one is at it.
/// The connection holds the lock until it is closed.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn begin(connection: &mut PgConnection) -> Result<Option<Begun>, LedgerError> {
    let is_ours = sqlx::query_scalar!(r#"select pg_try_advisory_lock($1) as "is_ours!""#, LOCK)
        .fetch_one(&mut *connection)
        .await?;
    if !is_ours {
        return Ok(None);
    }
    let begun = sqlx::query!("insert into restores default values on conflict do nothing")
        .execute(&mut *connection)
        .await?;
    let restore_id = sqlx::query_scalar!("select restore_id from restores where finished_at is null")
        .fetch_one(connection)
        .await?;
    Ok(Some(Begun {
        restore_id,
        is_new: begun.rows_affected() == 1,
    }))
}

/// Takes back a restore that has changed nothing: servers may start as before.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn withdraw(connection: &mut PgConnection, restore_id: i64) -> Result<(), LedgerError> {
    sqlx::query!("delete from restores where restore_id = $1 and finished_at is null", restore_id)
        .execute(connection)
        .await?;
    Ok(())
}

/// Ends a restore: servers may start.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn finish(connection: &mut PgConnection, restore_id: i64, bill: &serde_json::Value) -> Result<(), LedgerError> {
    sqlx::query!(
        "update restores set finished_at = now(), bill = $2 where restore_id = $1",
        restore_id,
        bill
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// An agent, as far as messages to it need it.
#[derive(Clone, Debug)]
pub struct AgentOffset {
    pub agent_id: String,
    pub utc_offset_minutes: i32,
}

/// All agents.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn agents(connection: &mut PgConnection) -> Result<Vec<AgentOffset>, LedgerError> {
    Ok(
        sqlx::query_as!(AgentOffset, "select agent_id, utc_offset_minutes from agents order by agent_id")
            .fetch_all(connection)
            .await?,
    )
}

/// Moves the bets' sequence beyond `past`, which was used, and returns the last number that is passed over. It never goes back.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn move_sequence(connection: &mut PgConnection, past: i64) -> Result<i64, LedgerError> {
    Ok(sqlx::query_scalar!(
        r#"select setval('bets_sequence_seq', greatest(last_value, $1)) as "last!" from bets_sequence_seq"#,
        past
    )
    .fetch_one(connection)
    .await?)
}

/// One fixed text of each row, for a statement.
pub(super) fn texts<T>(rows: &[T], text: impl Fn(&T) -> &'static str) -> Vec<String> {
    rows.iter().map(|row| text(row).to_owned()).collect()
}

/// Which of these bets of an agent are not in the record.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn unknown_among(connection: &mut PgConnection, agent_id: &str, ids: &[Uuid]) -> Result<Vec<Uuid>, LedgerError> {
    Ok(sqlx::query_scalar!(
        r#"select id as "id!" from unnest($2::uuid[]) as asked (id)
           where not exists (select from bets where bet_id = id and agent_id = $1)
             and not exists (select from bets_archive where bet_id = id and agent_id = $1)"#,
        agent_id,
        ids
    )
    .fetch_all(connection)
    .await?)
}

/// A bet that only the operator knows.
#[derive(Clone, Debug)]
pub struct Stranger {
    pub agent_id: String,
    pub platform_tx_id: String,
    pub user_id: String,
    pub operator_state: String,
    pub currency: Option<String>,
    pub stake: Option<rust_decimal::Decimal>,
    pub win: Option<rust_decimal::Decimal>,
    pub decision: &'static str,
    /// The cancel that is owed, where the operator still holds the stake.
    pub cancel: Option<String>,
}

/// Keeps bets that only the operator knows, and owes the cancels of those that are open there. One that an earlier run has kept is
/// passed over. Returns how many were kept.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn keep_strangers(connection: &mut PgConnection, restore_id: i64, strangers: &[Stranger]) -> Result<i64, LedgerError> {
    let decimals = |value: fn(&Stranger) -> Option<rust_decimal::Decimal>| -> Vec<Option<String>> {
        strangers.iter().map(|one| value(one).map(|decimal| decimal.to_string())).collect()
    };
    Ok(sqlx::query_scalar!(
        r#"with asked as (
               select * from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[])
                   as one (agent_id, platform_tx_id, user_id, operator_state, currency, stake, win, decision, cancel)),
           kept as (
               insert into restored_bets (sequence, restore_id, agent_id, platform_tx_id, user_id, has_bet, operator_state, currency,
                                          stake, win, decision)
               select nextval('bets_sequence_seq'), $1, agent_id, platform_tx_id, user_id, false, operator_state, currency,
                      stake::numeric, win::numeric, decision
               from asked on conflict (agent_id, platform_tx_id) do nothing returning sequence, agent_id, platform_tx_id),
           queued as (
               insert into outbox (sequence, agent_id, action, message, may_have_left, lapsed_claims)
               select sequence, agent_id, 'cancelBet', cancel, true, 1 from kept join asked using (agent_id, platform_tx_id) where cancel is not null)
           select count(*) as "kept!" from kept"#,
        restore_id,
        &strangers.iter().map(|one| one.agent_id.clone()).collect::<Vec<_>>(),
        &strangers.iter().map(|one| one.platform_tx_id.clone()).collect::<Vec<_>>(),
        &strangers.iter().map(|one| one.user_id.clone()).collect::<Vec<_>>(),
        &strangers.iter().map(|one| one.operator_state.clone()).collect::<Vec<_>>(),
        &strangers.iter().map(|one| one.currency.clone()).collect::<Vec<_>>() as &[Option<String>],
        &decimals(|one| one.stake) as &[Option<String>],
        &decimals(|one| one.win) as &[Option<String>],
        &texts(strangers, |one| one.decision),
        &strangers.iter().map(|one| one.cancel.clone()).collect::<Vec<_>>() as &[Option<String>],
    )
    .fetch_one(connection)
    .await?)
}

/// A player of whom the operator or Redis knows, and the record may know nothing.
#[derive(Clone, Debug)]
pub struct LostPlayer {
    pub agent_id: String,
    pub user_id: String,
    /// `None`: nobody tells it, and no account can be made.
    pub currency: Option<String>,
    /// What stands for the player if they were forgotten.
    pub pseudonym: Vec<u8>,
}

/// Makes the players that are missing, so that their nonces begin beyond those that they have used. Of one whose currency nobody tells
/// it is kept where their nonces go on when their operator creates them. Returns how many were made.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn add_players(connection: &mut PgConnection, players: &[LostPlayer], nonces_in_reserve: i64) -> Result<u64, LedgerError> {
    let done = sqlx::query!(
        "with missing as (
             select one.*, coalesce(next_nonce, 0) as next_nonce
             from unnest($1::text[], $2::text[], $3::text[], $4::bytea[]) as one (agent_id, user_id, currency, pseudonym)
                 left join forgotten_players using (pseudonym)
             where not exists (select from players where players.agent_id = one.agent_id and players.user_id = one.user_id)),
         passed_over as (
             insert into forgotten_players (pseudonym, next_nonce)
             select pseudonym, next_nonce + $5 from missing where currency is null
             on conflict (pseudonym) do update set next_nonce = excluded.next_nonce)
         insert into players (agent_id, user_id, currency, first_nonce)
         select agent_id, user_id, currency, next_nonce from missing where currency is not null on conflict do nothing",
        &players.iter().map(|one| one.agent_id.clone()).collect::<Vec<_>>(),
        &players.iter().map(|one| one.user_id.clone()).collect::<Vec<_>>(),
        &players.iter().map(|one| one.currency.clone()).collect::<Vec<_>>() as &[Option<String>],
        &players.iter().map(|one| one.pseudonym.clone()).collect::<Vec<_>>(),
        nonces_in_reserve,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// A player as the restore finds them.
#[derive(Clone, Debug)]
pub struct FoundPlayer {
    pub agent_id: String,
    pub user_id: String,
    /// `None`: never signed in.
    pub user_seed: Option<String>,
    /// The first nonce that no bet of this record has.
    pub free_nonce: i64,
}

/// The players after this one, by agent and user: at most `limit`.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn players_after(
    connection: &mut PgConnection,
    (agent_id, user_id): (&str, &str),
    limit: i64,
) -> Result<Vec<FoundPlayer>, LedgerError> {
    Ok(sqlx::query_as!(
        FoundPlayer,
        r#"select agent_id, user_id, seeds.user_seed as "user_seed?",
                  greatest(seeds.nonce,
                           (select max(nonce) + 1 from bets where bets.agent_id = players.agent_id and bets.user_id = players.user_id),
                           (select max(nonce) + 1 from bets_archive as bets
                            where bets.agent_id = players.agent_id and bets.user_id = players.user_id),
                           players.first_nonce) as "free_nonce!"
           from players left join lateral (
               select user_seed, nonce from player_seeds as seeds
               where seeds.agent_id = players.agent_id and seeds.user_id = players.user_id order by nonce desc limit 1) as seeds on true
           where (agent_id, user_id) > ($1, $2) order by agent_id, user_id limit $3"#,
        agent_id,
        user_id,
        limit
    )
    .fetch_all(connection)
    .await?)
}

/// A pair of new seeds for a player, in force from `nonce` on.
#[derive(Clone, Debug)]
pub struct Rotation {
    pub agent_id: String,
    pub user_id: String,
    pub free_nonce: i64,
    pub nonce: i64,
    pub user_seed: String,
    pub server_seed_sealed: Vec<u8>,
    pub commitment: String,
    pub next_server_seed_sealed: Vec<u8>,
    pub next_commitment: String,
}

/// Gives players new pairs in place of what is in force, which counts as seen from now on. All or none.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn rotate(connection: &mut PgConnection, restore_id: i64, rotations: &[Rotation]) -> Result<(), LedgerError> {
    let agents: Vec<String> = rotations.iter().map(|one| one.agent_id.clone()).collect();
    let users: Vec<String> = rotations.iter().map(|one| one.user_id.clone()).collect();
    let nonces: Vec<i64> = rotations.iter().map(|one| one.nonce).collect();
    let mut transaction = connection.begin().await?;
    sqlx::query!("select set_config('faircross.restoring', 'on', true)")
        .fetch_one(&mut *transaction)
        .await?;
    sqlx::query!(
        "insert into revealed_commitments (commitment)
         select shown from unnest($1::text[], $2::text[]) as one (agent_id, user_id) join player_seeds using (agent_id, user_id),
             lateral (values (commitment), (next_commitment)) as pair (shown)
         on conflict do nothing",
        &agents,
        &users
    )
    .execute(&mut *transaction)
    .await?;
    sqlx::query!(
        "insert into skipped_nonces (agent_id, user_id, first_nonce, next_nonce, restore_id)
         select *, $5 from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])",
        &agents,
        &users,
        &rotations.iter().map(|one| one.free_nonce).collect::<Vec<_>>(),
        &nonces,
        restore_id
    )
    .execute(&mut *transaction)
    .await?;
    sqlx::query!(
        "insert into player_seeds (agent_id, user_id, nonce, server_seed_sealed, commitment, next_server_seed_sealed, next_commitment, user_seed)
         select * from unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[], $5::text[], $6::bytea[], $7::text[], $8::text[])",
        &agents,
        &users,
        &nonces,
        &rotations.iter().map(|one| one.server_seed_sealed.clone()).collect::<Vec<_>>(),
        &rotations.iter().map(|one| one.commitment.clone()).collect::<Vec<_>>(),
        &rotations.iter().map(|one| one.next_server_seed_sealed.clone()).collect::<Vec<_>>(),
        &rotations.iter().map(|one| one.next_commitment.clone()).collect::<Vec<_>>(),
        &rotations.iter().map(|one| one.user_seed.clone()).collect::<Vec<_>>(),
    )
    .execute(&mut *transaction)
    .await?;
    sqlx::query!(
        "delete from player_seeds using unnest($1::text[], $2::text[], $3::bigint[]) as one (agent_id, user_id, nonce)
         where player_seeds.agent_id = one.agent_id and player_seeds.user_id = one.user_id and player_seeds.nonce < one.nonce",
        &agents,
        &users,
        &nonces
    )
    .execute(&mut *transaction)
    .await?;
    // Whoever sends it as their own was shown it by us.
    sqlx::query!(
        "insert into used_user_seeds (agent_id, user_id, user_seed)
         select * from unnest($1::text[], $2::text[], $3::text[]) on conflict do nothing",
        &agents,
        &users,
        &rotations.iter().map(|one| one.user_seed.clone()).collect::<Vec<_>>(),
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(())
}

/// Makes every session token and every launch link of these players worthless, those of after the copy among them: a generation that
/// a token of then may have is passed over.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn sign_out(connection: &mut PgConnection, players: &[FoundPlayer], by: i64) -> Result<u64, LedgerError> {
    let done = sqlx::query!(
        "update players set generation = generation + $3, revision = revision + $3
         from unnest($1::text[], $2::text[]) as one (agent_id, user_id)
         where players.agent_id = one.agent_id and players.user_id = one.user_id",
        &players.iter().map(|one| one.agent_id.clone()).collect::<Vec<_>>(),
        &players.iter().map(|one| one.user_id.clone()).collect::<Vec<_>>(),
        by
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Uses up every launch link that nobody has used, as far as this record knows.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn burn_launch_links(connection: &mut PgConnection) -> Result<u64, LedgerError> {
    let done = sqlx::query!("update launch_tokens set used_at = now() where used_at is null")
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}

/// What the operator had made of a bet that a restore found with it alone. `None`: no such bet.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn state_of_lost_bet(connection: &mut PgConnection, agent_id: &str, platform_tx_id: &str) -> Result<Option<String>, LedgerError> {
    Ok(sqlx::query_scalar!(
        r#"select operator_state as "operator_state!" from restored_bets
           where agent_id = $1 and platform_tx_id = $2 and not has_bet and operator_state is not null"#,
        agent_id,
        platform_tx_id
    )
    .fetch_optional(connection)
    .await?)
}
