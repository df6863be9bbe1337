//! The only place that draws randomness: server seeds, chain links, lock tokens and identifiers.

use uuid::Uuid;

/// The operating system's random generator, handed to whoever needs chance.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chance;

impl Chance {
    /// 32 bytes nobody can predict.
    ///
    /// # Panics
    /// When the operating system has no randomness to give; a server that cannot draw seeds must not go on.
    pub fn bytes_32(&self) -> [u8; 32] {
        let mut bytes = [0_u8; 32];
        getrandom::fill(&mut bytes).expect("the operating system gives randomness");
        bytes
    }

    /// A random token of 32 hexadecimal characters, for locks and leases.
    pub fn token(&self) -> String {
        hex::encode(&self.bytes_32()[..16])
    }

    /// A new identifier that sorts by time (UUID version 7).
    #[expect(clippy::disallowed_methods, reason = "the one place that draws identifiers")]
    pub fn identifier(&self) -> Uuid {
        Uuid::now_v7()
    }
}
