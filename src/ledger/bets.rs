//! A bet from its intent to its end. Every change is one statement that names the state it leaves and does all that belongs
//! to the change: the transition, the rotation of the player's seeds, the outbox row and the audit of the call. A statement
//! that moved no row says so, and its caller reads the row and answers from it.
//!
//! Every statement that touches both locks the player's row before the bet's, as the intent does: a bet and the end of the
//! bet before it come at the same moment, and in two orders they would wait for each other.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::game::bet_state::BetState;
use crate::game::difficulty::Difficulty;
use crate::game::fairness::{ServerSeed, UserSeed};
use crate::game::money::Amount;
use crate::game::player::PlayerId;
use crate::game::round::{EndReason, Ended};
use crate::ledger::LedgerError;
use crate::ledger::calls::CallRecord;
use crate::ledger::history::{BetRow, bet_rows};
use crate::ledger::sealing::{Sealing, server_seed_row};

/// A bet that is about to be debited.
pub struct Intent<'a> {
    pub bet_id: Uuid,
    pub player: &'a PlayerId,
    /// The generation of the session token: a token signed out a moment ago places no bet.
    pub generation: u64,
    pub game_code: &'a str,
    pub currency: &'a str,
    pub decimal_places: u8,
    pub difficulty: Difficulty,
    pub stake: Amount,
    pub configuration_version: i32,
    pub max_lane: u8,
    /// Replaces the stored user seed.
    pub user_seed: Option<&'a UserSeed>,
    /// The commitment that the player was shown, where the bet names it.
    pub expected_commitment: Option<&'a str>,
    pub hazard_epoch: u64,
    pub hazard_seed: &'a str,
    pub idempotency_key: Option<&'a str>,
    /// The exact text of the debit.
    pub message: &'a str,
    pub placed_at: DateTime<Utc>,
    pub session_ttl_s: i64,
}

/// Commits the intent: inserts the bet with the nonce and the seeds that are in force, which no other bet can take. Returns the
/// row. `None`: the player's row does not allow it (`why_not` says why), and no nonce was taken.
///
/// # Errors
/// `bets_one_open` when a round is open, `bets_commitment_unique` or `bets_nonce_unique` when two bets came at one moment,
/// `bets_commitment_unrevealed` when a round ended at this very moment, `bets_idempotency_key` when the key was used.
pub async fn record_intent(connection: &mut PgConnection, intent: &Intent<'_>) -> Result<Option<BetRow>, LedgerError> {
    Ok(bet_rows!(
        r#"with player as (
               select agent_id, user_id from players
               where agent_id = $2 and user_id = $3 and generation = $4 and currency = $6 and status = 'active'
                   and (bet_limit_minor is null or bet_limit_minor >= $11)
               for no key update),
           seeds as (
               select agent_id, user_id, nonce, commitment, next_commitment, server_seed_sealed, coalesce($8, in_force.user_seed) as user_seed
               from player, lateral (
                   select nonce, commitment, next_commitment, server_seed_sealed, user_seed from player_seeds
                   where player_seeds.agent_id = player.agent_id and player_seeds.user_id = player.user_id
                   order by nonce desc limit 1) as in_force
               where $9::text is null or commitment = $9),
           first_use as (
               insert into used_user_seeds select agent_id, user_id, user_seed from seeds on conflict do nothing returning user_seed),
           used_again as (
               update used_user_seeds set used_at = now() from seeds
               where used_user_seeds.agent_id = seeds.agent_id and used_user_seeds.user_id = seeds.user_id
                   and used_user_seeds.user_seed = seeds.user_seed and used_at < now() - interval '1 day')
           insert into bets (bet_id, agent_id, user_id, game_code, currency, decimal_places, difficulty, stake_minor,
                             configuration_version, max_lane, user_seed, user_seed_fresh, nonce, commitment, next_commitment,
                             server_seed_sealed, hazard_epoch, hazard_seed, idempotency_key, message, placed_at, deadline_at)
           select $1, agent_id, user_id, $5, $6, $7, $10, $11, $12, $13, user_seed, exists (select from first_use),
                  nonce, commitment, next_commitment, server_seed_sealed, $14, $15, $16, $17, $18,
                  now() + make_interval(secs => $19::bigint::double precision)
           from seeds
           returning"#,
        "",
        intent.bet_id,
        intent.player.agent_id.as_str(),
        intent.player.user_id.as_str(),
        i64::try_from(intent.generation).unwrap_or(i64::MAX),
        intent.game_code,
        intent.currency,
        i16::from(intent.decimal_places),
        intent.user_seed.map(UserSeed::as_str),
        intent.expected_commitment,
        intent.difficulty.as_str(),
        intent.stake.as_i64(),
        intent.configuration_version,
        i16::from(intent.max_lane),
        i64::try_from(intent.hazard_epoch).unwrap_or(i64::MAX),
        intent.hazard_seed,
        intent.idempotency_key,
        intent.message,
        intent.placed_at,
        intent.session_ttl_s,
    )
    .fetch_optional(connection)
    .await?)
}

/// What in a player's row stood against an intent.
pub struct PlayerTerms {
    pub generation: i64,
    pub status: String,
    pub currency: String,
    pub commitment: Option<String>,
    pub bet_limit_minor: Option<i64>,
}

/// Reads what in the player's row stood against an intent. `None`: no such player.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn why_not(connection: &mut PgConnection, player: &PlayerId) -> Result<Option<PlayerTerms>, LedgerError> {
    Ok(sqlx::query_as!(
        PlayerTerms,
        r#"select generation, status, currency, bet_limit_minor,
                  (select commitment from player_seeds where agent_id = $1 and user_id = $2 order by nonce desc limit 1) as commitment
           from players where agent_id = $1 and user_id = $2"#,
        player.agent_id.as_str(),
        player.user_id.as_str()
    )
    .fetch_optional(connection)
    .await?)
}

/// The operator said 0000: the bet is placed. Returns the state in which the bet is now. PLACED: it is (also when an earlier
/// call with a lost answer did it). A bet whose cancellation had begun stays as it is, and one more cancelBet is queued,
/// because this debit may have come after the first. `None`: no such bet.
///
/// A bet that is not PENDING never is again, so the second statement, which only such a bet comes to, sees where it stands
/// without holding it.
///
/// # Errors
/// When PostgreSQL refuses it, or it is not known whether it did; the call can be repeated.
pub async fn record_placed(
    connection: &mut PgConnection,
    sequence: i64,
    call: &CallRecord<'_>,
    cancel: &str,
) -> Result<Option<BetState>, LedgerError> {
    let placed = sqlx::query_scalar!(
        r#"with placed as (
               update bets set state = 'PLACED' where sequence = $1 and state = 'PENDING' returning sequence),
           audited as (
               insert into wallet_audit (sequence, agent_id, action, message, outcome, status, http_status, answer, duration_ms)
               select sequence, $2, $3, $4, $5, $6, $7, $8, $9 from placed)
           select exists (select from placed) as "placed!""#,
        sequence,
        call.agent_id,
        call.action,
        call.message,
        call.outcome,
        call.status,
        call.http_status,
        call.answer,
        call.duration_ms,
    )
    .fetch_one(&mut *connection)
    .await?;
    if placed {
        return Ok(Some(BetState::Placed));
    }
    Ok(sqlx::query_scalar!(
        r#"with found as (
               select state from bets where sequence = $1),
           cancelled_again as (
               insert into outbox (sequence, agent_id, action, message)
               select $1, $2, 'cancelBet', $10 from found where state in ('PENDING_CANCEL', 'CANCELLED', 'REJECTED')),
           audited as (
               insert into wallet_audit (sequence, agent_id, action, message, outcome, status, http_status, answer, duration_ms)
               values ($1, $2, $3, $4, $5, $6, $7, $8, $9))
           select state as "state!: BetState" from found"#,
        sequence,
        call.agent_id,
        call.action,
        call.message,
        call.outcome,
        call.status,
        call.http_status,
        call.answer,
        call.duration_ms,
        cancel,
    )
    .fetch_optional(connection)
    .await?)
}

/// The next server seed of a pair that rotates, sealed for its player.
pub struct NextSeed {
    sealed: Vec<u8>,
    commitment: String,
}

impl NextSeed {
    /// Seals `seed` for `player`.
    pub fn seal(sealing: &Sealing, player: &PlayerId, seed: &ServerSeed) -> Self {
        Self {
            sealed: sealing.seal(&server_seed_row(player), seed.reveal()),
            commitment: seed.commitment().as_str().to_owned(),
        }
    }
}

/// A statement that ends a bet, whose id is `$1`: the seeds rotate with it. What comes before says `ended`, with the bet's agent, user, nonce
/// and user seed. The row of the next nonce gets the pair that was announced, and a new next seed (`$2` sealed, `$3` its commitment).
macro_rules! ending {
    ($before:literal, $after:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_scalar!(
            r#"with player as (
                   select players.agent_id from bets join players using (agent_id, user_id) where sequence = $1 for no key update of players),"#
            + $before
            + r#",
               spent as (
                   delete from player_seeds
                   where agent_id = (select agent_id from ended) and user_id = (select user_id from ended) and nonce = (select nonce from ended)
                   returning agent_id, user_id, nonce, (select user_seed from ended) as user_seed, next_server_seed_sealed, next_commitment),
               rotated as (
                   insert into player_seeds (agent_id, user_id, nonce, server_seed_sealed, commitment,
                                             next_server_seed_sealed, next_commitment, user_seed)
                   select agent_id, user_id, nonce + 1, next_server_seed_sealed, next_commitment, $2, $3, user_seed from spent)"#
            + $after
            $(, $argument)*
        )
    };
}

/// The operator refused the bet: no money moved. `false`: the row was no longer PENDING.
///
/// # Errors
/// When PostgreSQL refuses it; the sweep then cancels the bet, which is harmless.
pub async fn record_rejected(
    connection: &mut PgConnection,
    sequence: i64,
    call: &CallRecord<'_>,
    next: &NextSeed,
) -> Result<bool, LedgerError> {
    Ok(ending!(
        r#"ended as (
               update bets set state = 'REJECTED', end_reason = 'refused', ended_at = now(), settled_at = now(), refused_status = $8
               from player where sequence = $1 and state = 'PENDING' returning bets.agent_id, user_id, nonce, user_seed)"#,
        r#", audited as (
               insert into wallet_audit (sequence, agent_id, action, message, outcome, status, http_status, answer, duration_ms)
               values ($1, $4, $5, $6, $7, $8, $9, $10, $11))
           select exists (select from ended) as "ended!""#,
        sequence,
        next.sealed,
        next.commitment,
        call.agent_id,
        call.action,
        call.message,
        call.outcome,
        call.status,
        call.http_status,
        call.answer,
        call.duration_ms,
    )
    .fetch_one(connection)
    .await?)
}

/// The debit certainly never left: nothing is owed to anybody, no call is audited, and the idempotency key is free again. `false`:
/// the row was no longer PENDING.
///
/// # Errors
/// When PostgreSQL refuses it; the sweep then cancels the bet, which is harmless.
pub async fn record_never_sent(connection: &mut PgConnection, sequence: i64, next: &NextSeed) -> Result<bool, LedgerError> {
    Ok(ending!(
        r#"ended as (
               update bets set state = 'REJECTED', end_reason = 'refused', ended_at = now(), settled_at = now(), never_sent = true
               from player where sequence = $1 and state = 'PENDING' returning bets.agent_id, user_id, nonce, user_seed)"#,
        r#"
           select exists (select from ended) as "ended!""#,
        sequence,
        next.sealed,
        next.commitment,
    )
    .fetch_one(connection)
    .await?)
}

/// When a cancel goes out: at once, and once more when the debit can no longer be on its way.
pub struct CancelPlan<'a> {
    pub message: &'a str,
    /// The intent's age at which its debit can last have been sent, in milliseconds.
    pub debit_within_ms: i64,
    /// How long after that the cancel is sent once more, in seconds.
    pub second_cancel_after_s: i64,
}

/// Nobody knows whether the operator took the stake: the bet is cancelled, at once and once more later. `false`: the row
/// was no longer PENDING.
///
/// # Errors
/// When PostgreSQL refuses it; the sweep tries again.
pub async fn record_cancelling(
    connection: &mut PgConnection,
    sequence: i64,
    call: Option<&CallRecord<'_>>,
    plan: &CancelPlan<'_>,
    next: &NextSeed,
) -> Result<bool, LedgerError> {
    Ok(ending!(
        r#"ended as (
               update bets set state = 'PENDING_CANCEL', end_reason = 'cancelled', ended_at = now()
               from player where sequence = $1 and state = 'PENDING' returning bets.agent_id, user_id, nonce, user_seed, created_at)"#,
        r#",
           queued as (
               insert into outbox (sequence, agent_id, action, message, due_at, debit_is_over_at)
               select $1, agent_id, 'cancelBet', $4, due_at, debit_is_over_at
               from ended, lateral (values
                   (created_at + make_interval(secs => $5::bigint::double precision / 1000 + $6::bigint::double precision))) as plan (debit_is_over_at),
                   lateral (values (now()), (debit_is_over_at)) as sending (due_at)),
           audited as (
               insert into wallet_audit (sequence, agent_id, action, message, outcome, status, http_status, answer, duration_ms)
               select $1, $7, $8, $9, $10, $11, $12, $13, $14 where $7::text is not null)
           select exists (select from ended) as "ended!""#,
        sequence,
        next.sealed,
        next.commitment,
        plan.message,
        plan.debit_within_ms,
        plan.second_cancel_after_s,
        call.map(|call| call.agent_id),
        call.map(|call| call.action),
        call.map(|call| call.message),
        call.map(|call| call.outcome),
        call.and_then(|call| call.status),
        call.and_then(|call| call.http_status),
        call.and_then(|call| call.answer),
        call.map(|call| call.duration_ms),
    )
    .fetch_one(connection)
    .await?)
}

/// The end of a placed bet, decided by a script, with all that must become durable with it.
pub struct EndOfRound<'a> {
    pub sequence: i64,
    pub ended: &'a Ended,
    /// The exact text of the settle, or of the voidBet where the round is void.
    pub message: &'a str,
    pub next: &'a NextSeed,
    /// The text of the debit that the message above goes by. The row must have the same.
    pub debit: &'a str,
    /// Whoever commits the end also sends the call; the outbox row is born claimed, as one that may have left.
    pub lease_token: &'a str,
    pub lease_s: i64,
}

/// Commits an end: the transition, the outbox row, the reveal of the seed and the rotation, in one statement. Returns the
/// outbox row's id; `None`: the row was no longer PLACED or its debit is another, and nothing was done.
///
/// # Errors
/// When PostgreSQL refuses it; the next request or sweep that sees the ended session finishes it.
pub async fn commit_end(connection: &mut PgConnection, end: &EndOfRound<'_>) -> Result<Option<i64>, LedgerError> {
    let (state, action) = match end.ended.reason {
        EndReason::Void => ("PENDING_VOID", "voidBet"),
        EndReason::Win | EndReason::Cashout | EndReason::Hazard | EndReason::Deadline => ("PENDING_SETTLEMENT", "settle"),
        EndReason::Cancelled | EndReason::Refused => {
            return Err(LedgerError::Unreadable {
                what: "the end of a placed bet",
            });
        }
    };
    let coefficient = end.ended.coefficient.map_or(0, |coefficient| coefficient.hundredths());
    Ok(ending!(
        r#"ended as (
               update bets set state = $4, end_reason = $5, last_lane = $6, coefficient_hundredths = $7, payout_minor = $8, ended_at = now()
               from player where sequence = $1 and state = 'PLACED' and message = $13
               returning bets.agent_id, user_id, nonce, user_seed)"#,
        r#"
           insert into outbox (sequence, agent_id, action, message, attempts, lease_token, leased_until, may_have_left)
           select $1, agent_id, $9, $10, 1, $11, now() + make_interval(secs => $12::bigint::double precision), true from ended
           returning outbox_id"#,
        end.sequence,
        end.next.sealed,
        end.next.commitment,
        state,
        end.ended.reason.as_str(),
        end.ended.lane,
        i64::try_from(coefficient).unwrap_or(i64::MAX),
        end.ended.payout.as_i64(),
        action,
        end.message,
        end.lease_token,
        end.lease_s,
        end.debit,
    )
    .fetch_optional(connection)
    .await?)
}
