//! The copy of a player's standing that the gate reads. PostgreSQL owns it; the copy never goes back to an earlier revision.

use super::{Live, LiveError, keys, scripts};
use crate::game::player::{PlayerId, PlayerStatus};

/// What the gate must know about a player.
#[derive(Clone, Debug)]
pub struct PlayerStanding {
    /// Who it is.
    pub player: PlayerId,
    /// Raised by PostgreSQL with every change of this row; an older one never replaces a newer one here. At most 2^53.
    pub revision: u64,
    /// The session generation; tokens of an earlier one are signed out. At most 2^53.
    pub generation: u64,
    /// Whether the player may begin a round.
    pub status: PlayerStatus,
}

impl Live {
    /// Copies a player's standing for a day. The rate counters stay.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`].
    pub async fn write_player(&self, standing: &PlayerStanding) -> Result<(), LiveError> {
        let key = keys::player(&standing.player);
        let mut script = scripts::WRITE_PLAYER.on(&[&key]);
        script
            .arg(standing.revision)
            .arg(standing.generation)
            .arg(standing.status.as_str())
            .arg(keys::PLAYER_TTL_S);
        self.run_script(&key, &script).await?;
        Ok(())
    }
}
