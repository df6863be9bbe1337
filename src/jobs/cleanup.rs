//! The nightly clean-ups. They run once a day by PostgreSQL's calendar, whichever server comes first, in batches each of
//! which is a transaction of its own.

use std::sync::Arc;

use super::Report;
use crate::ledger::{LedgerError, archive, chains};
use crate::live::keys;
use crate::play::Context;

/// Archives finished bets, deletes what is older than the retention, and spent launch tokens.
pub async fn bets(context: Arc<Context>) -> Report {
    if !begin_today(&context, keys::BET_CLEANUP_LAST_RUN).await? {
        return Ok("was done today".to_owned());
    }
    let jobs = &context.settings.jobs;
    let (archive_days, retention_days) = (days(jobs.archive_after_days), days(jobs.retention_days));
    let batch = i64::from(jobs.cleanup_batch);
    let archived = in_batches(batch, || {
        context
            .ledger
            .run(async |connection| archive::archive_bets(connection, archive_days, batch).await)
    })
    .await?;
    let deleted = in_batches(batch, || {
        context
            .ledger
            .run(async |connection| archive::delete_expired_bets(connection, retention_days, batch).await)
    })
    .await?;
    let tokens = context
        .ledger
        .run(async |connection| archive::delete_expired_launch_tokens(connection).await)
        .await?;
    finish_today(&context, keys::BET_CLEANUP_LAST_RUN).await?;
    Ok(format!(
        "{archived} bets archived, {deleted} past their retention deleted, {tokens} launch tokens deleted"
    ))
}

/// How long the audit of a balance enquiry is kept, in days.
const BALANCE_ENQUIRIES_KEPT_DAYS: i32 = 7;

/// Deletes balance enquiries, archives other old calls, and deletes what is older than the retention.
pub async fn calls(context: Arc<Context>) -> Report {
    if !begin_today(&context, keys::WALLET_AUDIT_CLEANUP_LAST_RUN).await? {
        return Ok("was done today".to_owned());
    }
    let jobs = &context.settings.jobs;
    let (archive_days, retention_days) = (days(jobs.archive_after_days), days(jobs.retention_days));
    let batch = i64::from(jobs.cleanup_batch);
    let ledger = &context.ledger;
    let enquiries = in_batches(batch, || {
        ledger.run(async |connection| archive::delete_old_balance_enquiries(connection, BALANCE_ENQUIRIES_KEPT_DAYS, batch).await)
    })
    .await?;
    let archived = in_batches(batch, || {
        context
            .ledger
            .run(async |connection| archive::archive_calls(connection, archive_days, batch).await)
    })
    .await?;
    let deleted = in_batches(batch, || {
        context
            .ledger
            .run(async |connection| archive::delete_expired_calls(connection, retention_days, batch).await)
    })
    .await?;
    finish_today(&context, keys::WALLET_AUDIT_CLEANUP_LAST_RUN).await?;
    Ok(format!(
        "{enquiries} balance enquiries deleted, {archived} calls archived, {deleted} past their retention deleted"
    ))
}

fn days(days: u32) -> i32 {
    i32::try_from(days).unwrap_or(i32::MAX)
}

/// Whether today's run is still to be done.
async fn begin_today(context: &Context, last_run: &str) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let today = context.ledger.run(async |connection| chains::today(connection).await).await?;
    Ok(context.live.last_run(last_run).await? != Some(today))
}

async fn finish_today(context: &Context, last_run: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let today = context.ledger.run(async |connection| chains::today(connection).await).await?;
    context.live.set_last_run(last_run, today).await?;
    Ok(())
}

/// Repeats a batch until it is no longer full; returns the sum.
async fn in_batches<F: Future<Output = Result<u64, LedgerError>>>(batch: i64, run: impl Fn() -> F) -> Result<u64, LedgerError> {
    let mut sum = 0;
    loop {
        let done = run().await?;
        sum += done;
        if i64::try_from(done).is_ok_and(|done| done < batch) {
            return Ok(sum);
        }
    }
}
