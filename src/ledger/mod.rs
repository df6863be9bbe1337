//! The record. PostgreSQL is the truth about every bet: a query here is a plain function that takes a connection and says
//! what it changes, constraints are named, and a named constraint becomes a named error. Nothing in this module knows of
//! Redis or of operators; `play` brings them together.
//!
//! Whether PostgreSQL can be written to is kept as one flag ([`Ledger::is_healthy`]): a statement that failed because PostgreSQL
//! is not there or cannot be written lowers it, and so does a probe that failed or hung; only a successful probe raises it. Load
//! (a wait for a connection, a statement that took too long, a locked row) is no outage. While the flag is down no end of a round
//! is decided, because none could be made durable.

pub mod address;
pub mod agents;
pub mod archive;
pub mod audit_checks;
pub mod audit_reads;
pub mod bets;
pub mod calls;
pub mod chains;
pub mod closings;
pub mod configurations;
mod connections;
pub mod forgetting;
pub mod history;
pub mod limits;
pub mod mark;
pub mod misdated;
pub mod outbox;
mod player_turns;
pub mod players;
mod refusals;
pub mod restore;
pub mod sealing;
pub mod sessions;
pub mod sweep;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::{Connection as _, PgConnection};
use tokio::time::timeout;

use crate::game::player::PlayerId;
use address::Address;
use connections::{Connections, Lent, Place, shares};
use limits::Limits;
use player_turns::PlayerTurns;

pub use refusals::LedgerError;

/// How long the answer of a statement may be on its way after PostgreSQL itself has given the statement up.
const ANSWER_ON_ITS_WAY: Duration = Duration::from_secs(1);
/// No transaction has more statements than this.
const STATEMENTS_OF_A_LONG_TRANSACTION: u32 = 10;

/// The schema, applied by `faircross migrate` and compared by `faircross serve` and `doctor`.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// How the record is reached.
#[derive(Clone)]
pub struct LedgerSettings {
    pub url: SecretString,
    pub max_connections: u32,
    pub acquire_timeout_ms: u64,
    pub statement_timeout_ms: u64,
    pub lock_timeout_ms: u64,
    pub probe_timeout_ms: u64,
}

/// The connections and the health flag. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    connections: Arc<Connections>,
    players: Arc<PlayerTurns>,
    healthy: Arc<AtomicBool>,
    answer_within: Duration,
    probe_within: Duration,
}

impl Ledger {
    /// Connections that are opened when they are first needed, in the runtime in which this is called.
    ///
    /// # Errors
    /// When the url cannot be read.
    pub fn connect(settings: &LedgerSettings) -> Result<Self, LedgerError> {
        let address = Address::parse(settings.url.expose_secret()).map_err(|error| sqlx::Error::Configuration(error.into()))?;
        let limits = Limits {
            statement_timeout_ms: settings.statement_timeout_ms,
            lock_timeout_ms: settings.lock_timeout_ms,
        };
        let acquire_timeout = Duration::from_millis(settings.acquire_timeout_ms);
        let (ordinary, _) = shares(settings.max_connections);
        Ok(Self {
            connections: Arc::new(Connections::new(address, limits, settings.max_connections, acquire_timeout)),
            players: Arc::new(PlayerTurns::new(ordinary, acquire_timeout)),
            healthy: Arc::new(AtomicBool::new(true)),
            answer_within: Duration::from_millis(settings.statement_timeout_ms) + ANSWER_ON_ITS_WAY,
            probe_within: Duration::from_millis(settings.probe_timeout_ms),
        })
    }

    /// A connection of its own for the commands, which take their time with it; requests and jobs [`run`](Self::run) one query.
    ///
    /// # Errors
    /// When none can be opened in time.
    pub async fn connection(&self) -> Result<PgConnection, LedgerError> {
        let opened = self.connections.open().await;
        opened.map(|session| session.connection).map_err(|error| self.observe(error.into()))
    }

    /// Checks that each connection has a session of its own. To be asked before anything is prepared in one.
    ///
    /// # Errors
    /// When a pooler shares sessions, by name, or PostgreSQL cannot be reached.
    pub async fn check_sessions(&self) -> Result<(), LedgerError> {
        let checked = async {
            let (mut first, mut second) = (self.connections.open().await?, self.connections.open().await?);
            limits::check_apart(&mut first, &mut second).await
        };
        checked.await.map_err(|error: sqlx::Error| self.observe(error.into()))
    }

    /// Lowers the health flag when `error` says that PostgreSQL cannot be used; hands the error on.
    fn observe(&self, error: LedgerError) -> LedgerError {
        if error.speaks_against_the_record() {
            self.lower(&error);
        }
        error
    }

    fn lower(&self, reason: &dyn std::fmt::Display) {
        if self.healthy.swap(false, Ordering::AcqRel) {
            tracing::warn!(%reason, "PostgreSQL is not usable; no end of a round is decided until a probe succeeds");
        }
    }

    /// Runs one query function on a connection and watches what becomes of it.
    ///
    /// # Errors
    /// What the query reports, that no connection could be had, or that no answer came in time.
    pub async fn run<T>(&self, query: impl AsyncFnOnce(&mut PgConnection) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        self.run_in(Place::Ordinary, query).await
    }

    /// The same for a transaction of many statements, none of which anybody waits for: each has PostgreSQL's own limit, and that all
    /// of them together take long says nothing about PostgreSQL.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_long<T>(&self, query: impl AsyncFnOnce(&mut PgConnection) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        let within = self.answer_within.saturating_mul(STATEMENTS_OF_A_LONG_TRANSACTION);
        self.run_within(within, Place::Ordinary, query).await
    }

    /// The same for what brings money to its place: the sweep, the ends of rounds and the outcomes of debits have connections
    /// that others cannot take.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_reserved<T>(&self, query: impl AsyncFnOnce(&mut PgConnection) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        self.run_in(Place::Reserved, query).await
    }

    /// Runs what one player asked for, in the player's turn, so that one locked row cannot use up the connections.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_for<T>(
        &self,
        player: &PlayerId,
        query: impl AsyncFnOnce(&mut PgConnection) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.run_in_turn(player, Place::Ordinary, query).await
    }

    /// The same for what brings this player's money to its place.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_reserved_for<T>(
        &self,
        player: &PlayerId,
        query: impl AsyncFnOnce(&mut PgConnection) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.run_in_turn(player, Place::Reserved, query).await
    }

    async fn run_in_turn<T>(
        &self,
        player: &PlayerId,
        place: Place,
        query: impl AsyncFnOnce(&mut PgConnection) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let _turn = self.players.wait(player, place == Place::Reserved).await?;
        let answer = self.run_in(place, query).await;
        if answer.as_ref().is_err_and(LedgerError::is_of_a_locked_row) {
            self.players.found_locked(player);
        }
        answer
    }

    async fn run_in<T>(
        &self,
        place: Place,
        query: impl AsyncFnOnce(&mut PgConnection) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.run_within(self.answer_within, place, query).await
    }

    async fn run_within<T>(
        &self,
        within: Duration,
        place: Place,
        query: impl AsyncFnOnce(&mut PgConnection) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let lent = self.connections.lend(place).await;
        let mut lent = lent.map_err(|error| self.observe(error.into()))?;
        // PostgreSQL gives a statement up before this, so whoever is still silent is not there any more.
        let answer = timeout(within, query(&mut lent.session.connection)).await;
        match answer.unwrap_or_else(|_elapsed| Err(LedgerError::silent())) {
            Ok(answer) => {
                self.connections.rest(lent);
                Ok(answer)
            }
            Err(error) => {
                self.part_with(lent, &error).await;
                Err(self.observe(error))
            }
        }
    }

    /// Closes a connection that failed, with all others that may be as dead; one on which a statement was refused is well.
    async fn part_with(&self, lent: Lent<'_>, error: &LedgerError) {
        if error.speaks_against_the_record() {
            self.connections.distrust(lent.generation);
        } else {
            self.connections.rest_refused(lent).await;
        }
    }

    /// Whether the last thing heard of PostgreSQL was good.
    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire)
    }

    /// Asks PostgreSQL whether it can be used for writing, and raises or lowers the flag. The connection that rested longest
    /// is asked. If it fails, hangs or takes no writes, none that was opened before is used again, and a new one is asked.
    pub async fn probe(&self) -> bool {
        let mut asked = timeout(self.probe_within, self.ask())
            .await
            .unwrap_or_else(|_elapsed| Err(LedgerError::silent()));
        if let Err(error) = &asked {
            self.lower(error);
            asked = self.ask().await;
        }
        match asked {
            Ok(()) if !self.healthy.swap(true, Ordering::AcqRel) => tracing::info!("PostgreSQL is usable again"),
            Ok(()) => {}
            Err(error) => self.lower(&error),
        }
        self.is_healthy()
    }

    /// Asks one connection; it rests only when all is well.
    async fn ask(&self) -> Result<(), LedgerError> {
        let doubt = self.connections.doubt();
        let mut lent = self.connections.lend(Place::Probe).await?;
        let looked = timeout(self.probe_within, lent.session.look()).await;
        looked.map_err(|_elapsed| LedgerError::silent())??;
        if !lent.session.takes_writes {
            let refused = std::io::Error::other("it takes no writes");
            return Err(LedgerError::Unavailable(sqlx::Error::Io(refused)));
        }
        doubt.dispel();
        self.connections.rest(lent);
        Ok(())
    }

    /// Applies the migrations that are missing. Each may take as long as it takes; the limit of requests' statements is not theirs.
    ///
    /// # Errors
    /// When one cannot be applied or the applied ones are not ours.
    pub async fn migrate(&self) -> Result<(), sqlx::migrate::MigrateError> {
        let mut connection = self.connections.open().await?.connection;
        // One that waits for another server's migration waits for a lock.
        sqlx::query("set statement_timeout = 0").execute(&mut connection).await?;
        sqlx::query("set lock_timeout = 0").execute(&mut connection).await?;
        MIGRATIONS.run(&mut connection).await
    }

    /// Which migrations are missing, by version.
    ///
    /// # Errors
    /// When PostgreSQL cannot be asked.
    pub async fn missing_migrations(&self) -> Result<Vec<i64>, LedgerError> {
        let mut connection = self.connection().await?;
        let known = sqlx::query_scalar!(r#"select to_regclass('_sqlx_migrations') is not null as "known!""#)
            .fetch_one(&mut connection)
            .await?;
        let mut applied: Vec<i64> = Vec::new();
        if known {
            applied = sqlx::query_scalar("select version from _sqlx_migrations where success")
                .fetch_all(&mut connection)
                .await?;
        }
        // Left behind it would be taken for a server's.
        let _ = connection.close().await;
        Ok(MIGRATIONS
            .iter()
            .map(|migration| migration.version)
            .filter(|version| !applied.contains(version))
            .collect())
    }

    /// Lends no more connections and closes those that rest. Whoever still has one closes it when done.
    pub async fn close(&self) {
        self.connections.close().await;
    }
}
