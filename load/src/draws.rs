//! The players' whims: reproducible draws, so that a seed repeats a run's decisions.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// One player's draws.
pub struct Draws(ChaCha8Rng);

impl Draws {
    pub fn new(seed: u64, player: u64) -> Self {
        let mut draws = ChaCha8Rng::seed_from_u64(seed);
        draws.set_stream(player);
        Self(draws)
    }

    /// A number below `end`, which is not 0. (The bias of a remainder is far below what a whim needs.)
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.next_u32()).unwrap_or(0) % end
    }

    /// True in so many of a hundred draws.
    pub fn percent(&mut self, percent: u32) -> bool {
        self.0.next_u32() % 100 < percent
    }

    /// One of the values, as often as its weight says. At least one weight is not 0.
    pub fn weighted<'a, T>(&mut self, weights: &'a [(T, u32)]) -> &'a T {
        let total: u32 = weights.iter().map(|(_, weight)| weight).sum();
        let mut left = self.0.next_u32() % total.max(1);
        for (value, weight) in weights {
            if left < *weight {
                return value;
            }
            left -= weight;
        }
        unreachable!("the draw is below the sum of the weights")
    }

    /// A fresh seed or key: 32 hexadecimal characters.
    pub fn token(&mut self) -> String {
        format!("{:016x}{:016x}", self.0.next_u64(), self.0.next_u64())
    }
}
