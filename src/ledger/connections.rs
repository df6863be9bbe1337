//! The connections to PostgreSQL that all requests share.
//!
//! The library's pool asks a connection whether it lives each time it is given back, which is one more round trip for every
//! statement, and lends the one that rested longest, so that all of them stay cold. Here a connection whose statement went
//! well is laid aside and lent again first. Opening, testing after an error or a request that was given up, and ageing stay
//! with the library, which gets the coldest connection back now and then, and all of them when one has failed.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgPool;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};

/// A connection and the turn that it is used in. Dropped, the connection goes to the library, which tests it.
pub(super) struct Lent<'a> {
    pub(super) connection: PoolConnection<Postgres>,
    _turn: SemaphorePermit<'a>,
}

/// The pool, the turns at it, and the connections that rest.
pub(super) struct Connections {
    pool: PgPool,
    /// One for each connection that may be open, so that whoever has one finds a connection.
    turns: Semaphore,
    /// The one that was used last is at the end.
    resting: Mutex<Vec<PoolConnection<Postgres>>>,
    acquire_timeout: Duration,
    /// Where sockets live. One that a worker opened would die with the worker's runtime, in the hands of whoever has it then.
    main: Handle,
}

impl Connections {
    /// Shares the connections of `pool`, of which nobody else may take any.
    pub(super) fn of(pool: PgPool) -> Self {
        let options = pool.options();
        Self {
            turns: Semaphore::new(usize::try_from(options.get_max_connections()).unwrap_or(Semaphore::MAX_PERMITS)),
            resting: Mutex::default(),
            acquire_timeout: options.get_acquire_timeout(),
            pool,
            main: Handle::current(),
        }
    }

    /// A connection, the one that was used last if one rests.
    ///
    /// # Errors
    /// When none comes free in time, or none can be opened.
    pub(super) async fn lend(&self) -> Result<Lent<'_>, sqlx::Error> {
        let turn = tokio::time::timeout(self.acquire_timeout, self.turns.acquire())
            .await
            .map_err(|_elapsed| sqlx::Error::PoolTimedOut)?
            .map_err(|_closed| sqlx::Error::PoolClosed)?;
        let rested = self.resting.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match rested {
            Some(connection) => connection,
            None => self.opened().await?,
        };
        Ok(Lent { connection, _turn: turn })
    }

    /// One of the library's, which opens it on the main runtime.
    async fn opened(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        let pool = self.pool.clone();
        let opened = self.main.spawn(async move { pool.acquire().await }).await;
        opened.unwrap_or(Err(sqlx::Error::PoolClosed))
    }

    /// Lays a connection aside whose statement went well.
    pub(super) fn rest(&self, lent: Lent<'_>) {
        let Lent { connection, _turn } = lent;
        // It rests before its turn ends: whoever gets the turn shall find it.
        self.resting.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    /// Hands what rests back to the library, which closes what is dead or old.
    pub(super) fn give_back(&self) {
        let resting = std::mem::take(&mut *self.resting.lock().unwrap_or_else(PoisonError::into_inner));
        drop(resting);
    }

    /// Hands the one that rested longest back, so that all of them are tested and replaced in their time.
    pub(super) fn give_back_coldest(&self) {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let coldest = if resting.is_empty() { None } else { Some(resting.remove(0)) };
        drop(resting);
        drop(coldest);
    }

    /// The library's pool. A connection that is taken from it directly has no turn.
    pub(super) fn pool(&self) -> &PgPool {
        &self.pool
    }
}
