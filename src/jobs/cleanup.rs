//! The nightly clean-ups. They begin once a day by PostgreSQL's calendar, whichever server comes first, and go on until
//! nothing is due: in batches each of which is a short transaction of its own, and in slices after each of which the lock is
//! free for whoever comes next. What moves and what is removed take turns, so that neither waits for the other.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Report, Unfinished};
use crate::ledger::archive::{self, Archive};
use crate::ledger::{LedgerError, chains, forgetting};
use crate::live::keys;
use crate::play::Context;

/// How long the audit of a balance enquiry is kept, in days.
const BALANCE_ENQUIRIES_KEPT_DAYS: i32 = 7;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Moves finished bets to the archive, and removes what is past its retention: months of the archive, user seeds, people's
/// decisions, players; and spent launch tokens.
pub async fn bets(context: Arc<Context>) -> Report {
    in_slices(&context, keys::BET_CLEANUP_LAST_RUN, Bets::default()).await
}

/// Deletes balance enquiries, moves other old calls to the archive, and drops the months that are past the retention.
pub async fn calls(context: Arc<Context>) -> Report {
    in_slices(&context, keys::WALLET_AUDIT_CLEANUP_LAST_RUN, Calls::default()).await
}

/// What one slice of a clean-up has done so far.
trait Work: fmt::Display {
    /// Does one batch of everything. `false`: nothing more is due.
    async fn turn(&mut self, context: &Context) -> Result<bool, LedgerError>;
}

async fn in_slices(context: &Context, last_run: &str, mut work: impl Work) -> Report {
    let today = today(context).await?;
    if context.live.last_run(last_run).await? == Some(today) {
        return Ok("was done today".to_owned());
    }
    let slice = Duration::from_millis(context.settings.jobs.cleanup_slice_ms);
    let started = context.clock.monotonic();
    while work.turn(context).await? {
        if context.shutdown.is_cancelled() || context.clock.elapsed_since(started) >= slice {
            return Err(Unfinished(work.to_string()).into());
        }
    }
    context.live.set_last_run(last_run, today).await?;
    Ok(work.to_string())
}

async fn today(context: &Context) -> Result<chrono::NaiveDate, Failure> {
    Ok(context.ledger.run(async |connection| chains::today(connection).await).await?)
}

#[derive(Default)]
struct Bets {
    archived: u64,
    from: Option<DateTime<Utc>>,
    months: u64,
    user_seeds: u64,
    decisions: u64,
    tokens: u64,
    players: u64,
}

impl Work for Bets {
    async fn turn(&mut self, context: &Context) -> Result<bool, LedgerError> {
        let limits = Limits::of(context);
        let moved = context
            .ledger
            .run_long(async |connection| archive::archive_bets(connection, limits.archive_days, limits.batch, self.from).await)
            .await?;
        (self.archived, self.from) = (self.archived + moved.rows, moved.next);
        let dropped = drop_month(context, Archive::Bets, limits).await;
        self.months += u64::from(dropped);
        let user_seeds = context
            .ledger
            .run(async |connection| forgetting::delete_expired_user_seeds(connection, limits.retention_days, limits.batch).await)
            .await?;
        self.user_seeds += user_seeds;
        let tokens = context
            .ledger
            .run(async |connection| forgetting::delete_expired_launch_tokens(connection, limits.batch).await)
            .await?;
        self.tokens += tokens;
        self.decisions += context
            .ledger
            .run(async |connection| forgetting::delete_expired_decisions(connection, limits.retention_days).await)
            .await?;
        let players = context
            .ledger
            .run_long(async |connection| {
                forgetting::forget_players(connection, &context.sealing, limits.retention_days, limits.batch).await
            })
            .await?;
        self.players += players;
        Ok(dropped
            || [moved.looked_at, user_seeds, tokens, players]
                .into_iter()
                .any(|done| limits.is_full(done)))
    }
}

impl fmt::Display for Bets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            archived,
            months,
            user_seeds,
            decisions,
            tokens,
            players,
            ..
        } = self;
        write!(
            formatter,
            "{archived} bets archived, {months} months dropped; deleted: {user_seeds} user seeds, {decisions} decisions, \
             {tokens} launch tokens, {players} players"
        )
    }
}

#[derive(Default)]
struct Calls {
    archived: u64,
    after: Option<i64>,
    enquiries: u64,
    months: u64,
}

impl Work for Calls {
    async fn turn(&mut self, context: &Context) -> Result<bool, LedgerError> {
        let limits = Limits::of(context);
        let moved = context
            .ledger
            .run_long(async |connection| archive::archive_calls(connection, limits.archive_days, limits.batch, self.after).await)
            .await?;
        (self.archived, self.after) = (self.archived + moved.rows, moved.next);
        let enquiries = context
            .ledger
            .run(async |connection| archive::delete_old_balance_enquiries(connection, BALANCE_ENQUIRIES_KEPT_DAYS, limits.batch).await)
            .await?;
        self.enquiries += enquiries;
        let dropped = drop_month(context, Archive::Calls, limits).await;
        self.months += u64::from(dropped);
        Ok(dropped || limits.is_full(moved.looked_at) || limits.is_full(enquiries))
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            archived,
            enquiries,
            months,
            ..
        } = self;
        write!(
            formatter,
            "{archived} calls archived, {enquiries} balance enquiries deleted, {months} months dropped"
        )
    }
}

#[derive(Clone, Copy)]
struct Limits {
    archive_days: i32,
    retention_days: i32,
    batch: i64,
}

impl Limits {
    fn of(context: &Context) -> Self {
        let jobs = &context.settings.jobs;
        let days = |days: u32| i32::try_from(days).unwrap_or(i32::MAX);
        Self {
            archive_days: days(jobs.archive_after_days),
            retention_days: days(jobs.retention_days),
            batch: i64::from(jobs.cleanup_batch),
        }
    }

    /// Whether a batch was full, so that there may be more.
    fn is_full(self, rows: u64) -> bool {
        i64::try_from(rows).is_ok_and(|rows| rows >= self.batch)
    }
}

/// Drops a month of an archive. Whoever reads the archive for long holds up nothing but this: the next slice tries again.
async fn drop_month(context: &Context, archive: Archive, limits: Limits) -> bool {
    let dropped = context
        .ledger
        .run(async |connection| archive::drop_expired_month(connection, archive, limits.retention_days).await)
        .await;
    dropped.unwrap_or_else(|error| {
        tracing::warn!(%error, ?archive, "a month of an archive could not be dropped; the next run tries again");
        false
    })
}
