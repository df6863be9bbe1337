//! How much of the record one player may hold up. Whoever waits for a locked row keeps a connection meanwhile, so a player
//! has one statement at a time and the others of that player wait outside the pool; and players whose rows were found locked
//! a moment ago share a few places, however many they are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::clock::Clock;
use crate::game::player::PlayerId;

/// Statements of one player's requests at a time.
const STATEMENTS_AT_A_TIME: usize = 1;
/// How long a row that was found locked is taken to be so.
const LOCKED_FOR: Duration = Duration::from_secs(5);

/// Everybody's turns.
pub(super) struct PlayerTurns {
    players: Mutex<HashMap<PlayerId, Turns>>,
    of_locked: Semaphore,
    patience: Duration,
}

struct Turns {
    free: Arc<Semaphore>,
    holders: usize,
    locked_at: Option<Instant>,
}

impl Turns {
    fn is_locked(&self) -> bool {
        self.locked_at.is_some_and(|at| Clock::default().elapsed_since(at) < LOCKED_FOR)
    }
}

/// One player's turn. It ends when it is dropped.
pub(super) struct Turn<'a> {
    turns: &'a PlayerTurns,
    player: &'a PlayerId,
    _own: Option<OwnedSemaphorePermit>,
    _of_locked: Option<SemaphorePermit<'a>>,
}

impl PlayerTurns {
    /// With a fourth of the ordinary places for players whose rows are locked.
    pub(super) fn new(ordinary_places: usize, patience: Duration) -> Self {
        Self {
            players: Mutex::default(),
            of_locked: Semaphore::new((ordinary_places / 4).max(1)),
            patience,
        }
    }

    /// Waits for the player's turn. What brings money to its place (`is_reserved`) does not wait for the player's requests.
    ///
    /// # Errors
    /// When it does not come in time.
    pub(super) async fn wait<'a>(&'a self, player: &'a PlayerId, is_reserved: bool) -> Result<Turn<'a>, sqlx::Error> {
        let free = self.enter(player);
        // From here on the turn leaves again when it is dropped, also while it waits.
        let mut turn = Turn {
            turns: self,
            player,
            _own: None,
            _of_locked: None,
        };
        let wait = async {
            if !is_reserved {
                turn._own = free.acquire_owned().await.ok();
            }
            // Asked when the turn has come: the one before may have found out.
            if self.is_locked(player) {
                turn._of_locked = self.of_locked.acquire().await.ok();
            }
        };
        timeout(self.patience, wait).await.map_err(|_elapsed| sqlx::Error::PoolTimedOut)?;
        Ok(turn)
    }

    fn enter(&self, player: &PlayerId) -> Arc<Semaphore> {
        let mut players = self.players.lock().unwrap_or_else(PoisonError::into_inner);
        let turns = players.entry(player.clone()).or_insert_with(|| Turns {
            free: Arc::new(Semaphore::new(STATEMENTS_AT_A_TIME)),
            holders: 0,
            locked_at: None,
        });
        turns.holders += 1;
        Arc::clone(&turns.free)
    }

    fn is_locked(&self, player: &PlayerId) -> bool {
        let players = self.players.lock().unwrap_or_else(PoisonError::into_inner);
        players.get(player).is_some_and(Turns::is_locked)
    }

    /// Notes that a statement of this player gave up waiting for a lock.
    pub(super) fn found_locked(&self, player: &PlayerId) {
        let mut players = self.players.lock().unwrap_or_else(PoisonError::into_inner);
        players.retain(|_, turns| turns.holders > 0 || turns.is_locked());
        if let Some(turns) = players.get_mut(player) {
            turns.locked_at = Some(Clock::default().monotonic());
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut players = self.turns.players.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(turns) = players.get_mut(self.player) else { return };
        turns.holders -= 1;
        if turns.holders == 0 && !turns.is_locked() {
            players.remove(self.player);
        }
    }
}
