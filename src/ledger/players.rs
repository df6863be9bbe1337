//! The players of each agent: their account, their sign-ins, and the pair of server seeds that their next bet will use. The
//! intent statement of a bet (`bets::record_intent`) reads both; the statements that end one add the next row of seeds.

use sqlx::PgConnection;

use crate::game::fairness::ServerSeed;
use crate::game::player::{PlayerId, PlayerStatus, UserId};
use crate::ledger::LedgerError;
use crate::ledger::sealing::{Sealing, server_seed_row};

/// What decides whether a player may act; the copy in Redis is written from it and never goes backwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub revision: u64,
    pub generation: u64,
    pub status: PlayerStatus,
    pub currency: String,
}

/// A player as the agent creates them.
#[derive(Clone, Debug)]
pub struct NewPlayer<'a> {
    pub id: &'a PlayerId,
    pub currency: &'a str,
    pub bet_limit_minor: Option<i64>,
    pub language: Option<&'a str>,
    pub user_name: Option<&'a str>,
}

/// Creates a player; of several at once, one does. `false`: the player exists already, and nothing changed. The nonces of one
/// who was forgotten go on where they ended.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn create(connection: &mut PgConnection, sealing: &Sealing, player: &NewPlayer<'_>) -> Result<bool, LedgerError> {
    let done = sqlx::query!(
        "with before as (select next_nonce from (values (1)) as one left join forgotten_players on pseudonym = $7)
         insert into players (agent_id, user_id, currency, bet_limit_minor, language, user_name, first_nonce)
         select $1, $2, $3, $4, coalesce($5, 'en'), $6, coalesce(next_nonce, 0) from before on conflict do nothing",
        player.id.agent_id.as_str(),
        player.id.user_id.as_str(),
        player.currency,
        player.bet_limit_minor,
        player.language,
        player.user_name,
        &sealing.pseudonym(player.id)[..],
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The standing of a player, or `None` when there is no such player.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn standing(connection: &mut PgConnection, player: &PlayerId) -> Result<Option<Standing>, LedgerError> {
    let row = sqlx::query!(
        "select revision, generation, status, currency from players where agent_id = $1 and user_id = $2",
        player.agent_id.as_str(),
        player.user_id.as_str()
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| to_standing(row.revision, row.generation, &row.status, row.currency))
        .transpose()
}

fn to_standing(revision: i64, generation: i64, status: &str, currency: String) -> Result<Standing, LedgerError> {
    const UNREADABLE: LedgerError = LedgerError::Unreadable { what: "players" };
    Ok(Standing {
        revision: u64::try_from(revision).map_err(|_| UNREADABLE)?,
        generation: u64::try_from(generation).map_err(|_| UNREADABLE)?,
        status: PlayerStatus::parse(status).map_err(|_| UNREADABLE)?,
        currency,
    })
}

/// The language that the agent gave for a player.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn language(connection: &mut PgConnection, player: &PlayerId) -> Result<Option<(String, String)>, LedgerError> {
    let row = sqlx::query!(
        "select language, currency from players where agent_id = $1 and user_id = $2",
        player.agent_id.as_str(),
        player.user_id.as_str()
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| (row.language, row.currency)))
}

/// Sets the status. `None`: no such player.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn set_status(connection: &mut PgConnection, player: &PlayerId, status: PlayerStatus) -> Result<Option<Standing>, LedgerError> {
    let row = sqlx::query!(
        "update players set status = $3, revision = revision + 1 where agent_id = $1 and user_id = $2
         returning revision, generation, status, currency",
        player.agent_id.as_str(),
        player.user_id.as_str(),
        status.as_str()
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| to_standing(row.revision, row.generation, &row.status, row.currency))
        .transpose()
}

/// Signs players out by making their session tokens, and launch tokens that nobody has used, worthless; returns those that exist, with their new standing.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn sign_out(connection: &mut PgConnection, agent_id: &str, users: &[String]) -> Result<Vec<(UserId, Standing)>, LedgerError> {
    let rows = sqlx::query!(
        "with burned as (
             update launch_tokens set used_at = now() where agent_id = $1 and user_id = any($2) and used_at is null)
         update players set generation = generation + 1, revision = revision + 1 where agent_id = $1 and user_id = any($2)
         returning user_id, revision, generation, status, currency",
        agent_id,
        users
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let user_id = UserId::parse(&row.user_id).map_err(|_| LedgerError::Unreadable { what: "players.user_id" })?;
            Ok((user_id, to_standing(row.revision, row.generation, &row.status, row.currency)?))
        })
        .collect()
}

/// Sets the largest stake. `false`: no such player.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn set_bet_limit(connection: &mut PgConnection, player: &PlayerId, limit_minor: i64) -> Result<bool, LedgerError> {
    let done = sqlx::query!(
        "update players set bet_limit_minor = $3 where agent_id = $1 and user_id = $2",
        player.agent_id.as_str(),
        player.user_id.as_str(),
        limit_minor
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The largest stake. `None`: no such player; `Some(None)`: no limit of their own.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn bet_limit(connection: &mut PgConnection, player: &PlayerId) -> Result<Option<Option<i64>>, LedgerError> {
    Ok(sqlx::query_scalar!(
        "select bet_limit_minor from players where agent_id = $1 and user_id = $2",
        player.agent_id.as_str(),
        player.user_id.as_str()
    )
    .fetch_optional(connection)
    .await?)
}

/// Keeps the hash of a one-time launch token of a player that exists, and that the player was seen. `false`: no such player.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn add_launch_token(
    connection: &mut PgConnection,
    player: &PlayerId,
    token_hash: &[u8],
    ttl_s: i64,
) -> Result<bool, LedgerError> {
    let done = sqlx::query!(
        "with seen as (
             update players set seen_at = now() where agent_id = $1 and user_id = $2 and seen_at < now() - interval '1 day')
         insert into launch_tokens (token_hash, agent_id, user_id, expires_at)
         select $3, agent_id, user_id, now() + make_interval(secs => $4::bigint::double precision) from players where agent_id = $1 and user_id = $2",
        player.agent_id.as_str(),
        player.user_id.as_str(),
        token_hash,
        ttl_s,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What became of the use of a launch token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaunchTokenUse {
    /// By whom, and in which generation of the player's session tokens: a sign-out after this counts.
    Used { user_id: UserId, generation: u64 },
    /// Nothing was used up: the player plays in this currency.
    OtherCurrency(String),
    /// Unknown, used, expired, or another agent's.
    Worthless,
}

/// Uses a launch token up. Of several at once one succeeds.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn use_launch_token(
    connection: &mut PgConnection,
    agent_id: &str,
    token_hash: &[u8],
    currency: &str,
) -> Result<LaunchTokenUse, LedgerError> {
    let used = sqlx::query!(
        "update launch_tokens set used_at = now() from players
         where token_hash = $1 and launch_tokens.agent_id = $2 and used_at is null and expires_at > now()
             and players.agent_id = launch_tokens.agent_id and players.user_id = launch_tokens.user_id and currency = $3
         returning players.user_id, players.generation",
        token_hash,
        agent_id,
        currency
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(used) = used {
        return Ok(LaunchTokenUse::Used {
            user_id: UserId::parse(&used.user_id).map_err(|_| LedgerError::Unreadable { what: "players.user_id" })?,
            generation: u64::try_from(used.generation).map_err(|_| LedgerError::Unreadable {
                what: "players.generation",
            })?,
        });
    }
    let currency = sqlx::query_scalar!(
        "select currency from launch_tokens join players using (agent_id, user_id)
         where token_hash = $1 and agent_id = $2 and used_at is null and expires_at > now()",
        token_hash,
        agent_id
    )
    .fetch_optional(connection)
    .await?;
    Ok(currency.map_or(LaunchTokenUse::Worthless, LaunchTokenUse::OtherCurrency))
}

/// Ends all sessions of a player, as a sign-in does where there is one device. Returns the generation of the next session's
/// tokens; `None`: no such player.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn next_generation(connection: &mut PgConnection, player: &PlayerId) -> Result<Option<u64>, LedgerError> {
    let raised = sqlx::query_scalar!(
        "update players set generation = generation + 1, revision = revision + 1 where agent_id = $1 and user_id = $2
         returning generation",
        player.agent_id.as_str(),
        player.user_id.as_str()
    )
    .fetch_optional(connection)
    .await?;
    const UNREADABLE: LedgerError = LedgerError::Unreadable {
        what: "players.generation",
    };
    raised
        .map(|generation| u64::try_from(generation).map_err(|_| UNREADABLE))
        .transpose()
}

/// Two new server seeds and a first user seed, for a player who signs in for the first time.
pub struct FirstSeeds<'a> {
    pub current: &'a ServerSeed,
    pub next: &'a ServerSeed,
    pub user_seed: &'a str,
}

/// Gives the player a seed pair, unless they have one. The user seed counts as used from the beginning: whoever sends it as
/// their own was shown it by us, and it is not fresh.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn ensure_seeds(
    connection: &mut PgConnection,
    sealing: &Sealing,
    player: &PlayerId,
    seeds: &FirstSeeds<'_>,
) -> Result<(), LedgerError> {
    let row = server_seed_row(player);
    let (commitment, next_commitment) = (seeds.current.commitment(), seeds.next.commitment());
    sqlx::query!(
        "with first_pair as (
             insert into player_seeds (agent_id, user_id, nonce, server_seed_sealed, commitment, next_server_seed_sealed, next_commitment, user_seed)
             select agent_id, user_id, first_nonce, $3, $4, $5, $6, $7 from players
             where agent_id = $1 and user_id = $2 and not exists (select from player_seeds where agent_id = $1 and user_id = $2)
             on conflict do nothing
             returning agent_id, user_id, user_seed)
         insert into used_user_seeds select agent_id, user_id, user_seed from first_pair on conflict do nothing",
        player.agent_id.as_str(),
        player.user_id.as_str(),
        sealing.seal(&row, seeds.current.reveal()),
        commitment.as_str(),
        sealing.seal(&row, seeds.next.reveal()),
        next_commitment.as_str(),
        seeds.user_seed,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What a player may see of their seeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedPair {
    pub user_seed: String,
    pub commitment: String,
    pub next_commitment: String,
    pub nonce: i64,
}

/// The seed pair, or `None` when the player never signed in.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn seed_pair(connection: &mut PgConnection, player: &PlayerId) -> Result<Option<SeedPair>, LedgerError> {
    Ok(sqlx::query_as!(
        SeedPair,
        // While a round is open its own user seed counts, and the nonce in force is taken.
        r#"select coalesce(bets.user_seed, player_seeds.user_seed) as "user_seed!", player_seeds.commitment, player_seeds.next_commitment,
                  case when bets.nonce is null then player_seeds.nonce else player_seeds.nonce + 1 end as "nonce!"
           from player_seeds left join bets using (agent_id, user_id, nonce)
           where agent_id = $1 and user_id = $2 order by player_seeds.nonce desc limit 1"#,
        player.agent_id.as_str(),
        player.user_id.as_str()
    )
    .fetch_optional(connection)
    .await?)
}

/// Whether a change of the user seed was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedChange {
    Changed,
    RoundOpen,
    NoSeeds,
}

/// Changes the user seed while no round is open. We know it from then on, so that it counts as used: it is not fresh in a later
/// bet. The player's row is locked first, as the intent of a bet does, so that of a change and a bet at the same moment one sees
/// the other.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn change_user_seed(connection: &mut PgConnection, player: &PlayerId, user_seed: &str) -> Result<SeedChange, LedgerError> {
    use sqlx::Connection as _;
    let (agent_id, user_id) = (player.agent_id.as_str(), player.user_id.as_str());
    let mut transaction = connection.begin().await?;
    sqlx::query_scalar!(
        "select user_id from players where agent_id = $1 and user_id = $2 for update",
        agent_id,
        user_id
    )
    .fetch_optional(&mut *transaction)
    .await?;
    let in_force = sqlx::query!(
        r#"select player_seeds.nonce, bets.nonce is not null as "is_taken!"
           from player_seeds left join bets using (agent_id, user_id, nonce)
           where agent_id = $1 and user_id = $2 order by player_seeds.nonce desc limit 1"#,
        agent_id,
        user_id
    )
    .fetch_optional(&mut *transaction)
    .await?;
    let change = match in_force {
        None => SeedChange::NoSeeds,
        Some(row) if row.is_taken => SeedChange::RoundOpen,
        Some(row) => {
            sqlx::query!(
                "with changed as (
                     update player_seeds set user_seed = $4 where agent_id = $1 and user_id = $2 and nonce = $3
                     returning agent_id, user_id, user_seed)
                 insert into used_user_seeds select agent_id, user_id, user_seed from changed
                 on conflict (agent_id, user_id, user_seed) do update set used_at = now()",
                agent_id,
                user_id,
                row.nonce,
                user_seed
            )
            .execute(&mut *transaction)
            .await?;
            SeedChange::Changed
        }
    };
    transaction.commit().await?;
    Ok(change)
}
