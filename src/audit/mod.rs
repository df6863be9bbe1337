//! The audit: proves that nothing was lost, or names what was. It holds PostgreSQL, Redis and an operator's ledger against
//! each other and against the rules of the game, and changes nothing.
//!
//! The record is read as of one instant, in one REPEATABLE READ transaction, page by page where rows have to be computed with
//! and by PostgreSQL itself where whole tables have to be compared. The operator's ledger and Redis are read after that
//! instant: the ledger may be ahead of bets that were not at their end by then, and must agree exactly with those that were;
//! a session that seems wrong is looked at again together with its row. So the audit may run while the game is played.

mod histories;
mod operator_checks;
mod operator_ledger;
mod redis_scan;
mod report;
mod rounds;
mod secrets;
mod sessions;
mod tables;
mod transcripts;
mod walk;

use std::path::PathBuf;

use reqwest::Url;
use sqlx::{Connection as _, PgConnection};

pub use operator_ledger::{LedgerBet, LedgerState, OperatorLedger};
pub use redis_scan::{Entry, RedisScan};
pub use report::{Check, Report, Violation};

use crate::ledger::audit_reads::restored_bets;
use crate::ledger::sealing::Sealing;
use crate::ledger::{Ledger, LedgerError};
use crate::live::{Live, LiveError};
use operator_checks::OperatorChecks;

/// What the audit reads.
pub struct Sources<'a> {
    pub ledger: &'a Ledger,
    pub live: &'a Live,
    pub redis: &'a redis::Client,
    /// Opens the sealed seeds, to compute each road again.
    pub sealing: &'a Sealing,
    pub operator_ledger: &'a Url,
    /// What clients recorded of what they were told; it is searched for secrets too.
    pub transcripts: Option<PathBuf>,
    /// Files that must hold no secret: servers' logs, recorded traffic.
    pub searched_files: Vec<PathBuf>,
}

/// Which bets are held against the operator's ledger, and what is expected of them.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The agents whose operator keeps the ledger; none means all.
    pub agents: Vec<String>,
    /// Everything should have come to its end.
    pub settled: bool,
}

impl Scope {
    fn includes(&self, agent_id: &str) -> bool {
        self.agents.is_empty() || self.agents.iter().any(|agent| agent == agent_id)
    }
}

/// For how long something may be as it is.
#[derive(Clone, Debug)]
pub struct Limits {
    /// A bet may be PENDING for so long, in seconds.
    pub pending_s: i64,
    /// A round may be open after its deadline, and a call due, for so long, in seconds.
    pub overdue_s: i64,
    /// Bets and calls are kept for so long, in days.
    pub retention_days: i32,
}

/// Why there is no audit.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("the record: {0}")]
    Ledger(#[from] LedgerError),
    #[error("Redis: {0}")]
    Live(#[from] LiveError),
    #[error("Redis: {0}")]
    Redis(#[from] redis::RedisError),
    #[error("the operator's ledger: {0}")]
    Operator(#[from] reqwest::Error),
    #[error("the operator's ledger is not one: {0}")]
    LedgerDocument(serde_json::Error),
    #[error("the transcript {}, line {line}: {why}", file.display())]
    Transcript { file: PathBuf, line: u64, why: String },
    #[error("{}: {source}", file.display())]
    File { file: PathBuf, source: std::io::Error },
}

impl From<sqlx::Error> for AuditError {
    fn from(error: sqlx::Error) -> Self {
        Self::Ledger(error.into())
    }
}

/// Runs all checks.
///
/// # Errors
/// When something cannot be read. An audit that could not look at everything says nothing.
pub async fn run(sources: &Sources<'_>, scope: &Scope, limits: &Limits) -> Result<Report, AuditError> {
    let mut connection = sources.ledger.connection().await?;
    let mut later = sources.ledger.connection().await?;
    let mut instant = connection.begin_with("begin isolation level repeatable read read only").await?;
    let as_of = begin(&mut instant).await?;
    // The first statement of the transaction has fixed the instant; whatever the operator shows now is not before it.
    let operator = OperatorLedger::fetch(sources.operator_ledger).await?;
    let mut checks = on_record(sources, scope, limits, &operator, &mut instant, &mut later).await?;
    checks.extend(on_redis(sources, scope, &mut instant, &mut later).await?);
    instant.rollback().await?;
    Ok(Report::of(checks, scope.settled, as_of))
}

/// Lets the statements of a transaction take as long as they need: the limits are there for players' requests.
async fn take_as_long_as_needed(transaction: &mut PgConnection) -> Result<(), AuditError> {
    for setting in [
        "set local statement_timeout = 0",
        "set local lock_timeout = 0",
        "set local idle_in_transaction_session_timeout = 0",
    ] {
        sqlx::query(setting).execute(&mut *transaction).await?;
    }
    Ok(())
}

/// Fixes the instant, and returns it.
async fn begin(connection: &mut PgConnection) -> Result<String, AuditError> {
    take_as_long_as_needed(connection).await?;
    let now = sqlx::query_scalar!(r#"select now() as "now!""#).fetch_one(connection).await?;
    Ok(now.to_rfc3339())
}

/// The checks on the record, and on the operator's ledger against it.
async fn on_record(
    sources: &Sources<'_>,
    scope: &Scope,
    limits: &Limits,
    operator: &OperatorLedger,
    instant: &mut PgConnection,
    later: &mut PgConnection,
) -> Result<Vec<Check>, AuditError> {
    let mut at_operator = OperatorChecks::new(operator, scope);
    at_operator.after_restores(restored_bets(instant).await?);
    let mut histories = histories::HistoryChecks::new(limits, scope);
    let mut rounds = rounds::RoundChecks::new(sources.sealing);
    walk::over_bets(instant, async |connection, bet| {
        at_operator.bet(bet);
        histories.bet(bet);
        rounds.bet(connection, bet).await
    })
    .await?;
    rounds.players(instant).await?;
    let told = match &sources.transcripts {
        Some(file) => Some(transcripts::check(instant, &mut rounds, file).await?),
        None => None,
    };
    let mut checks = at_operator.finish(later).await?;
    checks.extend(histories.finish());
    checks.extend(rounds.finish());
    checks.extend(tables::check(instant, limits).await?);
    checks.extend(told);
    Ok(checks)
}

/// The checks on Redis, and the search for secrets in what leaves the house.
async fn on_redis(
    sources: &Sources<'_>,
    scope: &Scope,
    instant: &mut PgConnection,
    later: &mut PgConnection,
) -> Result<Vec<Check>, AuditError> {
    let links = secrets::FutureLinks::read(later, sources.sealing).await?;
    let mut in_redis = secrets::SecretSearch::in_redis(&links);
    let mut sessions = sessions::SessionChecks::new(sources.live, sources.sealing, scope);
    let mut scan = redis_scan::RedisScan::connect(sources.redis).await?;
    while let Some(batch) = scan.next().await? {
        in_redis.look_through(&batch);
        sessions.look_through(&batch, later).await?;
    }
    let now_unix_ms = scan.now_unix_ms().await?;
    let mut at_operator = secrets::SecretSearch::in_operator_texts(&links);
    at_operator.look_at_operator_texts(instant, now_unix_ms).await?;
    let mut checks = vec![sessions.finish(), in_redis.finish(later).await?, at_operator.finish(later).await?];
    let files: Vec<_> = sources.transcripts.iter().chain(&sources.searched_files).collect();
    if !files.is_empty() {
        let mut in_files = secrets::SecretSearch::in_files(&links);
        for file in files {
            in_files.look_through_file(file, now_unix_ms).await?;
        }
        checks.push(in_files.finish(later).await?);
    }
    Ok(checks)
}
