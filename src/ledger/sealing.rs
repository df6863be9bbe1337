//! Sealing: what must not be readable by whoever can read the database. XChaCha20-Poly1305 with a random nonce in front of
//! the ciphertext and the row's id as associated data, so that a sealed value is worth nothing in another row.

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::chance::Chance;
use crate::game::player::PlayerId;
use crate::ledger::LedgerError;

const NONCE_BYTES: usize = 24;

/// The cipher with its key, from `secrets.sealing_key`.
#[derive(Clone)]
pub struct Sealing {
    cipher: XChaCha20Poly1305,
    /// Keyed with another key, which follows from the sealing key.
    pseudonyms: Hmac<Sha256>,
    chance: Chance,
}

impl Sealing {
    /// Takes the 32 bytes of the key.
    pub fn new(key: &[u8; 32], chance: Chance) -> Self {
        Self {
            cipher: XChaCha20Poly1305::new(key.into()),
            pseudonyms: keyed(&keyed(key).chain_update("faircross pseudonyms").finalize().into_bytes()),
            chance,
        }
    }

    /// Seals `text` for the row that `row` names.
    pub fn seal(&self, row: &str, text: &str) -> Vec<u8> {
        let mut nonce = [0_u8; NONCE_BYTES];
        nonce.copy_from_slice(&self.chance.bytes_32()[..NONCE_BYTES]);
        let payload = Payload {
            msg: text.as_bytes(),
            aad: row.as_bytes(),
        };
        let ciphertext = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .expect("a short text can always be sealed");
        [nonce.as_slice(), &ciphertext].concat()
    }

    /// What stands for a player of whom nothing else is kept: a keyed hash, so that nobody without the key finds out whose it
    /// is, not even by trying names.
    pub fn pseudonym(&self, player: &PlayerId) -> [u8; 32] {
        let name = format!("{}/{}", player.agent_id, player.user_id);
        self.pseudonyms.clone().chain_update(name).finalize().into_bytes().into()
    }

    /// Opens what was sealed for the row that `row` names.
    ///
    /// # Errors
    /// When it was sealed for another row, with another key, or was changed.
    pub fn open(&self, row: &str, sealed: &[u8]) -> Result<SecretString, LedgerError> {
        const UNREADABLE: LedgerError = LedgerError::Unreadable {
            what: "a sealed value (another key, another row, or damage)",
        };
        let (nonce, ciphertext) = sealed.split_at_checked(NONCE_BYTES).ok_or(UNREADABLE)?;
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| UNREADABLE)?;
        let payload = Payload {
            msg: ciphertext,
            aad: row.as_bytes(),
        };
        let text = self.cipher.decrypt(&XNonce::from(nonce), payload).map_err(|_| UNREADABLE)?;
        String::from_utf8(text).map(SecretString::from).map_err(|_| UNREADABLE)
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

/// The row name under which a player's server seeds are sealed; a bet keeps the seed as the player's row had it.
pub fn server_seed_row(player: &PlayerId) -> String {
    format!("server-seed:{}/{}", player.agent_id, player.user_id)
}

/// The row name of an agent's certificate.
pub fn certificate_row(agent_id: &str) -> String {
    format!("agent-certificate:{agent_id}")
}

/// The row name of an agent's signature secret.
pub fn signature_row(agent_id: &str) -> String {
    format!("agent-signature:{agent_id}")
}

/// The row name of a day's last hazard link.
pub fn chain_row(day: chrono::NaiveDate) -> String {
    format!("hazard-chain:{day}")
}

/// Compares two secrets in a time that does not depend on where they differ.
pub fn same_secret(one: &SecretString, other: &SecretString) -> bool {
    bool::from(one.expose_secret().as_bytes().ct_eq(other.expose_secret().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealing(key: u8) -> Sealing {
        Sealing::new(&[key; 32], Chance)
    }

    #[test]
    fn opens_only_in_its_own_row_with_its_own_key_and_unchanged() {
        let sealed = sealing(1).seal("row 1", "a secret");
        assert_eq!(sealing(1).open("row 1", &sealed).expect("opens").expose_secret(), "a secret");
        assert!(sealing(1).open("row 2", &sealed).is_err());
        assert!(sealing(2).open("row 1", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(sealing(1).open("row 1", &damaged).is_err(), "byte {at}");
        }
        assert!(sealing(1).open("row 1", &sealed[..10]).is_err());
    }

    #[test]
    fn the_same_text_is_sealed_differently_each_time() {
        assert_ne!(sealing(1).seal("row", "text"), sealing(1).seal("row", "text"));
    }
}
