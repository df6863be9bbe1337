//! How `faircross restore` closes the bets that are open in a PostgreSQL that was put back to an older copy: many at a time, each with
//! the calls that go with its end, all or none.

use std::collections::HashMap;

use sqlx::{Connection as _, PgConnection};

use crate::ledger::LedgerError;
use crate::ledger::history::{BetRow, bet_rows};
use crate::ledger::restore::texts;

/// Some of the bets that are open.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn open_bets(connection: &mut PgConnection, limit: i64) -> Result<Vec<BetRow>, LedgerError> {
    Ok(bet_rows!("select", "from bets where is_open limit $1", limit)
        .fetch_all(connection)
        .await?)
}

/// The exact texts of these bets' debits, by sequence.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn debits(connection: &mut PgConnection, sequences: &[i64]) -> Result<HashMap<i64, String>, LedgerError> {
    let rows = sqlx::query!("select sequence, message from bets where sequence = any($1)", sequences)
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().map(|row| (row.sequence, row.message)).collect())
}

/// How an open bet is closed.
#[derive(Clone, Debug)]
pub struct Closing {
    pub sequence: i64,
    /// A PENDING one of which the operator says that it was placed.
    pub place_first: bool,
    /// The state in which it waits for its call.
    pub state: &'static str,
    pub end_reason: &'static str,
    pub last_lane: i16,
    pub coefficient_hundredths: i64,
    pub payout_minor: i64,
    /// The state after that, where the operator has no need to be told any more.
    pub final_state: Option<&'static str>,
    pub decision: &'static str,
    pub operator_state: Option<String>,
    pub calls: Vec<OwedCall>,
}

/// A call that goes with a closing.
#[derive(Clone, Debug)]
pub struct OwedCall {
    pub action: &'static str,
    pub message: String,
    /// `open`, `done` or `needs_human`.
    pub state: &'static str,
    /// When it is due, in seconds after the bet; `None`: now.
    pub seconds_after_bet: Option<i64>,
    /// When the bet's debit can no longer be on its way, in seconds after the bet; `None`: the debit was answered.
    pub debit_is_over_after_bet_s: Option<i64>,
}

/// Closes bets that are open, all or none.
///
/// # Errors
/// When PostgreSQL refuses one of them.
pub async fn close(connection: &mut PgConnection, restore_id: i64, closings: &[Closing]) -> Result<(), LedgerError> {
    let mut transaction = connection.begin().await?;
    let placed: Vec<i64> = closings.iter().filter(|one| one.place_first).map(|one| one.sequence).collect();
    sqlx::query!(
        "update bets set state = 'PLACED' where sequence = any($1) and state = 'PENDING'",
        &placed
    )
    .execute(&mut *transaction)
    .await?;
    let sequences: Vec<i64> = closings.iter().map(|one| one.sequence).collect();
    sqlx::query!(
        "update bets set state = one.state, end_reason = one.end_reason, last_lane = one.last_lane,
             coefficient_hundredths = one.coefficient_hundredths, payout_minor = one.payout_minor, ended_at = now()
         from unnest($1::bigint[], $2::text[], $3::text[], $4::smallint[], $5::bigint[], $6::bigint[])
             as one (sequence, state, end_reason, last_lane, coefficient_hundredths, payout_minor)
         where bets.sequence = one.sequence",
        &sequences,
        &texts(closings, |one| one.state),
        &texts(closings, |one| one.end_reason),
        &closings.iter().map(|one| one.last_lane).collect::<Vec<_>>(),
        &closings.iter().map(|one| one.coefficient_hundredths).collect::<Vec<_>>(),
        &closings.iter().map(|one| one.payout_minor).collect::<Vec<_>>(),
    )
    .execute(&mut *transaction)
    .await?;
    owe(&mut transaction, closings).await?;
    let (done, finals): (Vec<i64>, Vec<String>) = closings
        .iter()
        .filter_map(|one| Some((one.sequence, one.final_state?.to_owned())))
        .unzip();
    sqlx::query!(
        "update bets set state = one.state, settled_at = now() from unnest($1::bigint[], $2::text[]) as one (sequence, state)
         where bets.sequence = one.sequence",
        &done,
        &finals
    )
    .execute(&mut *transaction)
    .await?;
    sqlx::query!(
        "insert into restored_bets (sequence, restore_id, agent_id, platform_tx_id, user_id, has_bet, operator_state, decision)
         select one.sequence, $4, agent_id, bet_id::text, user_id, true, one.operator_state, one.decision
         from unnest($1::bigint[], $2::text[], $3::text[]) as one (sequence, operator_state, decision) join bets using (sequence)",
        &sequences,
        &closings.iter().map(|one| one.operator_state.clone()).collect::<Vec<_>>() as &[Option<String>],
        &texts(closings, |one| one.decision),
        restore_id
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(())
}

/// The rows of the outbox that belong to these closings. What the servers have sent since the copy was made is not known, so each of
/// them counts as one that may have left.
async fn owe(connection: &mut PgConnection, closings: &[Closing]) -> Result<(), LedgerError> {
    let calls: Vec<(i64, &OwedCall)> = closings
        .iter()
        .flat_map(|one| one.calls.iter().map(|call| (one.sequence, call)))
        .collect();
    sqlx::query!(
        "insert into outbox (sequence, agent_id, action, message, state, due_at, done_at, debit_is_over_at, may_have_left, lapsed_claims)
         select call.sequence, agent_id, action, call.message, call.state,
                coalesce(created_at + make_interval(secs => after_s::double precision), now()),
                case call.state when 'done' then now() end, created_at + make_interval(secs => over_s::double precision), true, 1
         from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
             as call (sequence, action, message, state, after_s, over_s)
         join bets using (sequence)",
        &calls.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(),
        &calls.iter().map(|(_, call)| call.action.to_owned()).collect::<Vec<_>>(),
        &calls.iter().map(|(_, call)| call.message.clone()).collect::<Vec<_>>(),
        &calls.iter().map(|(_, call)| call.state.to_owned()).collect::<Vec<_>>(),
        &calls.iter().map(|(_, call)| call.seconds_after_bet).collect::<Vec<_>>() as &[Option<i64>],
        &calls.iter().map(|(_, call)| call.debit_is_over_after_bet_s).collect::<Vec<_>>() as &[Option<i64>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Calls that were owed in the copy may have been sent since it was made, so what the operator says of a repeat is to be believed.
///
/// # Errors
/// When PostgreSQL refuses it.
pub async fn doubt_unsent(connection: &mut PgConnection) -> Result<(), LedgerError> {
    sqlx::query!(
        "update outbox set may_have_left = true, lapsed_claims = lapsed_claims + 1
         where state in ('open', 'needs_human') and not may_have_left"
    )
    .execute(connection)
    .await?;
    Ok(())
}
