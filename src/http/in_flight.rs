//! How many requests of one player may be under way at once, with the work that they leave behind when the player hangs up.
//! Without a bound one player's crowd of requests would take the places of everybody else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::game::player::PlayerId;
use crate::play::context::Player;
use crate::play::refusal::Refusal;

/// When a player with too many requests is told to come back, in milliseconds.
const RETRY_AFTER_MS: u64 = 1_000;

/// The requests under way in this process, by player.
pub struct InFlight {
    most: u32,
    players: Mutex<HashMap<PlayerId, u32>>,
}

/// One request under way. It ends when it is dropped: when the request is answered or given up, and its work is done.
pub struct Entered {
    all: Arc<InFlight>,
    player: Arc<Player>,
}

impl InFlight {
    /// At most so many for each player.
    pub fn new(most: u32) -> Self {
        Self {
            most,
            players: Mutex::default(),
        }
    }

    /// Lets a request in.
    ///
    /// # Errors
    /// [`Refusal::RateLimited`] while as many as may be are under way.
    pub fn enter(self: &Arc<Self>, player: &Arc<Player>) -> Result<Entered, Refusal> {
        let mut players = self.players.lock().unwrap_or_else(PoisonError::into_inner);
        let under_way = players.entry(player.id.clone()).or_insert(0);
        if *under_way >= self.most {
            return Err(Refusal::RateLimited {
                retry_after_ms: RETRY_AFTER_MS,
            });
        }
        *under_way += 1;
        Ok(Entered {
            all: Arc::clone(self),
            player: Arc::clone(player),
        })
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut players = self.all.players.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(under_way) = players.get_mut(&self.player.id) {
            *under_way -= 1;
            if *under_way == 0 {
                players.remove(&self.player.id);
            }
        }
    }
}
