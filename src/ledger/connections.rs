//! The connections to PostgreSQL that all requests share.
//!
//! A pool of our own, because the library's asks a connection whether it lives each time it is given back, waits for that
//! without a bound, and loses places while PostgreSQL is silent. Here a connection whose statement went well is laid aside
//! and lent again first. One that failed, or whose borrower went away, is closed at once and without a farewell: nothing is
//! sent on it any more, and no statement of it is cancelled.
//!
//! Requests have places; the ends of rounds, the sweep and the outcomes of debits have some more that requests cannot take,
//! and the probe has one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgConnection};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::address::Address;
use super::limits::{Limits, Session};
use crate::clock::Clock;

/// After this a connection is replaced when the probe comes to it: backends grow with what they have seen.
const LONGEST_LIFE: Duration = Duration::from_secs(1_800);
/// How long a connection whose statement was refused may take to say that it is ready again.
const READY_WITHIN: Duration = Duration::from_secs(1);

/// Whom a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Anything that may wait.
    Ordinary,
    /// What brings money to its place: it takes an ordinary place if one is free, else one of its own.
    Reserved,
    /// The probe, which gets the connection that rested longest, so that all of them are looked at in turn.
    Probe,
}

/// A connection and the turn that it is used in. Dropped, the connection is closed.
pub(super) struct Lent<'a> {
    pub(super) session: Session,
    /// How often connections had been distrusted when it was opened.
    pub(super) generation: u64,
    opened: Instant,
    _turn: SemaphorePermit<'a>,
}

/// Connections that are about to be judged, and are judged badly when the question is given up half way.
pub(super) struct Doubt<'a> {
    connections: &'a Connections,
    generation: Option<u64>,
}

impl Doubt<'_> {
    /// All is well.
    pub(super) fn dispel(mut self) {
        self.generation = None;
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if let Some(generation) = self.generation {
            self.connections.distrust(generation);
        }
    }
}

struct Resting {
    session: Session,
    generation: u64,
    opened: Instant,
}

/// The places, and the connections that rest.
pub(super) struct Connections {
    address: Address,
    limits: Limits,
    /// The runtime that lives as long as the process. A socket dies with the runtime that it was opened in, and each of the
    /// HTTP library's workers has one of its own.
    runtime: Handle,
    ordinary: Semaphore,
    reserved: Semaphore,
    probe: Semaphore,
    /// The one that was used last is at the end.
    resting: Mutex<Vec<Resting>>,
    /// A connection that was opened before the last failure is not lent again.
    generation: AtomicU64,
    acquire_timeout: Duration,
}

impl Connections {
    /// At most `max_connections` to this address, opened when they are needed.
    pub(super) fn new(address: Address, limits: Limits, max_connections: u32, acquire_timeout: Duration) -> Self {
        let (ordinary, reserved) = shares(max_connections);
        Self {
            address,
            limits,
            runtime: Handle::current(),
            ordinary: Semaphore::new(ordinary),
            reserved: Semaphore::new(reserved),
            probe: Semaphore::new(1),
            resting: Mutex::default(),
            generation: AtomicU64::new(0),
            acquire_timeout,
        }
    }

    /// A connection, the one that was used last if one rests.
    ///
    /// # Errors
    /// When none comes free in time, or none can be opened.
    pub(super) async fn lend(&self, place: Place) -> Result<Lent<'_>, sqlx::Error> {
        let lend = async {
            let turn = self.turn(place).await?;
            let Resting {
                session,
                generation,
                opened,
            } = match self.take(place) {
                Some(rested) => rested,
                None => self.open_resting().await?,
            };
            Ok(Lent {
                session,
                generation,
                opened,
                _turn: turn,
            })
        };
        timeout(self.acquire_timeout, lend).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    async fn turn(&self, place: Place) -> Result<SemaphorePermit<'_>, sqlx::Error> {
        let turns = match place {
            Place::Ordinary => &self.ordinary,
            Place::Probe => &self.probe,
            Place::Reserved => match self.ordinary.try_acquire() {
                Ok(turn) => return Ok(turn),
                Err(_) => &self.reserved,
            },
        };
        turns.acquire().await.map_err(|_closed| sqlx::Error::PoolClosed)
    }

    fn take(&self, place: Place) -> Option<Resting> {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        match place {
            Place::Probe if !resting.is_empty() => Some(resting.remove(0)),
            Place::Ordinary | Place::Reserved | Place::Probe => resting.pop(),
        }
    }

    async fn open_resting(&self) -> Result<Resting, sqlx::Error> {
        // Read before: a failure while it is opened speaks against it too.
        let generation = self.generation.load(Ordering::Acquire);
        let session = self.open().await?;
        Ok(Resting {
            session,
            generation,
            opened: Clock::default().monotonic(),
        })
    }

    /// Opens a connection that has no place, in the runtime that outlives all others.
    ///
    /// # Errors
    /// When none can be opened in time.
    pub(super) async fn open(&self) -> Result<Session, sqlx::Error> {
        let (address, limits, patience) = (self.address.clone(), self.limits, self.acquire_timeout);
        let opening = self.runtime.spawn(async move { address.open(limits, patience).await });
        AbortOnDropHandle::new(opening).await.unwrap_or(Err(sqlx::Error::PoolClosed))
    }

    /// Lays a connection aside whose statement went well. One that is old, or not trusted any more, is closed.
    pub(super) fn rest(&self, lent: Lent<'_>) {
        let Lent {
            session,
            generation,
            opened,
            _turn,
        } = lent;
        let is_young = Clock::default().elapsed_since(opened) < LONGEST_LIFE;
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        // Compared under the lock, under which the others are thrown away.
        if is_young && generation == self.generation.load(Ordering::Acquire) {
            // It rests before its turn ends: whoever gets the turn shall find it.
            resting.push(Resting {
                session,
                generation,
                opened,
            });
        }
    }

    /// Lays a connection aside whose statement was refused, once what it had begun is rolled back.
    pub(super) async fn rest_refused(&self, mut lent: Lent<'_>) {
        if matches!(timeout(READY_WITHIN, lent.session.connection.ping()).await, Ok(Ok(()))) {
            self.rest(lent);
        }
    }

    /// Closes what rests and whatever else was opened no later than the connection that failed: it may be as dead.
    pub(super) fn distrust(&self, failed_generation: u64) {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        // Of many that fail together, only the first finds something to do; later connections are not theirs to judge.
        let moved = self
            .generation
            .compare_exchange(failed_generation, failed_generation + 1, Ordering::AcqRel, Ordering::Acquire);
        if moved.is_ok() {
            let closed = std::mem::take(&mut *resting);
            drop(resting);
            drop(closed);
        }
    }

    /// Unless it is dispelled, no connection that is open now is lent again.
    pub(super) fn doubt(&self) -> Doubt<'_> {
        Doubt {
            connections: self,
            generation: Some(self.generation.load(Ordering::Acquire)),
        }
    }

    /// Lets nobody in any more and says farewell on what rests.
    pub(super) async fn close(&self) {
        for turns in [&self.ordinary, &self.reserved, &self.probe] {
            turns.close();
        }
        let resting = std::mem::take(&mut *self.resting.lock().unwrap_or_else(PoisonError::into_inner));
        for rested in resting {
            let connection: PgConnection = rested.session.connection;
            let _ = connection.close().await;
        }
    }
}

/// How many places are ordinary and how many reserved, beside the probe's.
pub(super) fn shares(max_connections: u32) -> (usize, usize) {
    let all = usize::try_from(max_connections)
        .unwrap_or(usize::MAX)
        .clamp(3, Semaphore::MAX_PERMITS);
    let reserved = (all / 5).max(1);
    (all - reserved - 1, reserved)
}
