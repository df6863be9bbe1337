//! The record. PostgreSQL is the truth about every bet: a query here is a plain function that takes a connection and says
//! what it changes, constraints are named, and a named constraint becomes a named error. Nothing in this module knows of
//! Redis or of operators; `play` brings them together.
//!
//! Whether PostgreSQL can be written to is kept as one flag ([`Ledger::is_healthy`]): a failed statement lowers it, only a
//! successful probe raises it. While it is down no end of a round is decided, because none could be made durable.

pub mod agents;
pub mod archive;
pub mod audit_checks;
pub mod audit_reads;
pub mod bets;
pub mod calls;
pub mod chains;
pub mod configurations;
mod connections;
pub mod history;
pub mod mark;
pub mod outbox;
pub mod players;
pub mod restore;
pub mod sealing;
pub mod sweep;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgConnection, Postgres};

use connections::Connections;

/// The schema, applied by `faircross migrate` and compared by `faircross serve` and `doctor`.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// What a query could not do.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A named constraint refused the statement; nothing of it was done.
    #[error("the constraint {name} refused the statement")]
    Constraint { name: String },
    /// PostgreSQL did not answer, or not in time: what the statement did is not known.
    #[error("PostgreSQL: {0}")]
    Unavailable(sqlx::Error),
    /// A stored value is not what this program writes.
    #[error("a stored value cannot be read: {what}")]
    Unreadable { what: &'static str },
}

impl From<sqlx::Error> for LedgerError {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error().and_then(|database| database.constraint()) {
            Some(name) => Self::Constraint { name: name.to_owned() },
            None => Self::Unavailable(error),
        }
    }
}

impl LedgerError {
    /// The name of the constraint that refused the statement.
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Constraint { name } => Some(name),
            Self::Unavailable(_) | Self::Unreadable { .. } => None,
        }
    }

    /// Whether the record could not be used at all. A statement that PostgreSQL refused because of its values or its
    /// neighbours (SQLSTATE classes 21 to 23, 40 and 42) says nothing about the next one, and one player's request must not
    /// stop the rounds of all.
    fn speaks_against_the_record(&self) -> bool {
        let Self::Unavailable(error) = self else { return false };
        let state = error.as_database_error().and_then(|database| database.code());
        !state.is_some_and(|state| ["21", "22", "23", "40", "42"].iter().any(|class| state.starts_with(class)))
    }
}

/// How the record is reached.
#[derive(Clone)]
pub struct LedgerSettings {
    pub url: SecretString,
    pub max_connections: u32,
    pub acquire_timeout_ms: u64,
    pub statement_timeout_ms: u64,
}

/// The pool and the health flag. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    connections: Arc<Connections>,
    healthy: Arc<AtomicBool>,
    max_connections: u32,
}

impl Ledger {
    /// A pool that connects when it is first used.
    ///
    /// # Errors
    /// When the url cannot be read.
    pub fn connect(settings: &LedgerSettings) -> Result<Self, LedgerError> {
        // A transaction that its holder forgot, or a holder whose host is gone, must not block money: the server itself
        // ends it well within the 45 seconds after which a killed server's bets are closed.
        let options: PgConnectOptions = settings
            .url
            .expose_secret()
            .parse::<PgConnectOptions>()?
            .application_name("faircross")
            .options([
                ("statement_timeout", format!("{}ms", settings.statement_timeout_ms)),
                ("idle_in_transaction_session_timeout", "10s".to_owned()),
                ("tcp_keepalives_idle", "10".to_owned()),
                ("tcp_keepalives_interval", "5".to_owned()),
                ("tcp_keepalives_count", "3".to_owned()),
            ]);
        let pool = PgPoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(Duration::from_millis(settings.acquire_timeout_ms))
            .test_before_acquire(false)
            .connect_lazy_with(options.disable_statement_logging());
        Ok(Self {
            connections: Arc::new(Connections::of(pool)),
            healthy: Arc::new(AtomicBool::new(true)),
            max_connections: settings.max_connections,
        })
    }

    /// A connection for the commands, which take their time with it; requests and jobs [`run`](Self::run) one query.
    ///
    /// # Errors
    /// When none can be had in time.
    pub async fn connection(&self) -> Result<PoolConnection<Postgres>, LedgerError> {
        self.connections.pool().acquire().await.map_err(|error| self.observe(error.into()))
    }

    /// Lowers the health flag when `error` says that PostgreSQL could not be used; hands the error on.
    pub fn observe(&self, error: LedgerError) -> LedgerError {
        if error.speaks_against_the_record() {
            // What rests may be as dead as the connection that failed.
            self.connections.give_back();
            if self.healthy.swap(false, Ordering::AcqRel) {
                tracing::warn!(%error, "PostgreSQL is not usable; no end of a round is decided until a probe succeeds");
            }
        }
        error
    }

    /// Runs one query function on a connection of the pool and watches what becomes of it.
    ///
    /// # Errors
    /// What the query reports, or that no connection could be had.
    pub async fn run<T>(&self, query: impl AsyncFnOnce(&mut PgConnection) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        let lent = self.connections.lend().await;
        let mut lent = lent.map_err(|error| self.observe(error.into()))?;
        let answer = query(&mut lent.connection).await.map_err(|error| self.observe(error))?;
        self.connections.rest(lent);
        Ok(answer)
    }

    /// Whether the last thing heard of PostgreSQL was good.
    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire)
    }

    /// Asks PostgreSQL whether it can be used for writing, and raises or lowers the flag. Connections that a restart left
    /// dead in the pool are used up on the way, so that requests do not meet them.
    pub async fn probe(&self) -> bool {
        self.connections.give_back_coldest();
        for _ in 0..=self.max_connections {
            let writable = async {
                let mut lent = self.connections.lend().await?;
                let writable = sqlx::query_scalar!(
                    r#"select not pg_is_in_recovery() and not current_setting('transaction_read_only')::boolean as "writable!""#
                )
                .fetch_one(&mut *lent.connection)
                .await?;
                self.connections.rest(lent);
                Ok(writable)
            };
            match writable.await {
                Ok(writable) => {
                    if writable && !self.healthy.swap(true, Ordering::AcqRel) {
                        tracing::info!("PostgreSQL is usable again");
                    } else if !writable {
                        self.healthy.store(false, Ordering::Release);
                    }
                    return writable;
                }
                Err(sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed) => break,
                Err(error) => {
                    self.observe(error.into());
                    if self.connections.pool().num_idle() == 0 {
                        break;
                    }
                }
            }
        }
        self.healthy.store(false, Ordering::Release);
        false
    }

    /// Applies the migrations that are missing. Each may take as long as it takes; the limit of requests' statements is not theirs.
    ///
    /// # Errors
    /// When one cannot be applied or the applied ones are not ours.
    pub async fn migrate(&self) -> Result<(), sqlx::migrate::MigrateError> {
        // Not given back: no request is to have a connection without a limit.
        let mut connection = self.connections.pool().acquire().await?.detach();
        sqlx::query("set statement_timeout = 0").execute(&mut connection).await?;
        MIGRATIONS.run(&mut connection).await
    }

    /// Which migrations are missing, by version.
    ///
    /// # Errors
    /// When PostgreSQL cannot be asked.
    pub async fn missing_migrations(&self) -> Result<Vec<i64>, LedgerError> {
        let mut connection = self.connection().await?;
        let known = sqlx::query_scalar!(r#"select to_regclass('_sqlx_migrations') is not null as "known!""#)
            .fetch_one(&mut *connection)
            .await?;
        let mut applied: Vec<i64> = Vec::new();
        if known {
            applied = sqlx::query_scalar("select version from _sqlx_migrations where success")
                .fetch_all(&mut *connection)
                .await?;
        }
        Ok(MIGRATIONS
            .iter()
            .map(|migration| migration.version)
            .filter(|version| !applied.contains(version))
            .collect())
    }

    /// Waits until all connections are returned and closed.
    pub async fn close(&self) {
        self.connections.give_back();
        self.connections.pool().close().await;
    }
}
