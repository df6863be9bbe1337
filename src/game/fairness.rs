//! The seeds of a round and the collision columns that follow from them.
//!
//! ```text
//! commitment  = SHA-256(server seed)                       shown before the bet
//! message     = user seed ":" nonce ":" hazard seed
//! round key   = HMAC-SHA256(key = server seed, message)
//! keystream   = ChaCha20(round key, nonce 0, counter 0), read as little-endian 64-bit words w[0], w[1], ...
//! lane k is a collision column  <=>  w[k] < threshold[k]
//! ```
//!
//! All seeds are hashed as their ASCII characters, so that anybody can check a commitment with `echo -n SEED | sha256sum`.
//! A server seed has no `Debug`, `Display` or serde form: the only way to its text is `reveal`.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::money::LARGEST_WHOLE_NUMBER;

/// Why a text is not what a round is computed from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SeedError {
    #[error("a server seed is 64 lower-case hexadecimal characters")]
    ServerSeed,
    #[error("a hashed server seed is 64 lower-case hexadecimal characters")]
    Commitment,
    #[error("a user seed is 1 to 64 characters of A-Z, a-z, 0-9, _, . and -")]
    UserSeed,
    #[error("a nonce is a decimal integer from 0 to 2^53 - 1 without leading zeros")]
    Nonce,
    #[error("a hazard seed is 64 lower-case hexadecimal characters")]
    HazardSeed,
    #[error("an anchor is 64 lower-case hexadecimal characters")]
    Anchor,
}

/// The server's secret of one round: 32 random bytes as 64 lower-case hexadecimal characters. It leaves only by `reveal`.
#[derive(Clone)]
pub struct ServerSeed(String);

impl ServerSeed {
    /// The seed of 32 freshly drawn random bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> ServerSeed {
        ServerSeed(hex::encode(bytes))
    }

    /// Reads a seed that was unsealed or revealed.
    pub fn parse(text: &str) -> Result<ServerSeed, SeedError> {
        if is_hash_text(text) {
            Ok(ServerSeed(text.to_owned()))
        } else {
            Err(SeedError::ServerSeed)
        }
    }

    /// The secret itself: to seal it, or to show it after the round has ended.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is shown before the bet.
    pub fn commitment(&self) -> Commitment {
        Commitment(sha256_of_text(&self.0))
    }
}

/// The SHA-256 of a server seed, public at least one whole round before the seed decides one.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Commitment(String);

impl Commitment {
    /// Reads 64 lower-case hexadecimal characters.
    pub fn parse(text: &str) -> Result<Commitment, SeedError> {
        if is_hash_text(text) {
            Ok(Commitment(text.to_owned()))
        } else {
            Err(SeedError::Commitment)
        }
    }

    /// The hexadecimal text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The player's part of a round: 1 to 64 characters of `[A-Za-z0-9_.-]`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserSeed(String);

impl UserSeed {
    /// Reads a user seed, or refuses it. The alphabet has no colon, so that the message of a round has one reading.
    pub fn parse(text: &str) -> Result<UserSeed, SeedError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let is_seed = (1..=64).contains(&text.len()) && text.bytes().all(is_allowed);
        if is_seed {
            Ok(UserSeed(text.to_owned()))
        } else {
            Err(SeedError::UserSeed)
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The count of one player's bets at one agent, from 0 to 2^53 - 1, never reset, skipped or reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Nonce(u64);

impl Nonce {
    /// Refuses more than 2^53 - 1.
    pub fn new(number: u64) -> Result<Nonce, SeedError> {
        if number > LARGEST_WHOLE_NUMBER {
            Err(SeedError::Nonce)
        } else {
            Ok(Nonce(number))
        }
    }

    /// Reads the decimal text, which has no sign and no leading zeros, because it is hashed as it is written.
    pub fn parse(text: &str) -> Result<Nonce, SeedError> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        if !is_plain {
            return Err(SeedError::Nonce);
        }
        text.parse().map_err(|_| SeedError::Nonce).and_then(Nonce::new)
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The number as a database keeps it.
    pub fn as_i64(self) -> i64 {
        self.0.cast_signed()
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// One link of a day's hazard chain. It is public from the start of its epoch and a secret before, so `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HazardSeed(String);

impl HazardSeed {
    /// The link of 32 random bytes: a chain's last.
    pub fn from_bytes(bytes: [u8; 32]) -> HazardSeed {
        HazardSeed(hex::encode(bytes))
    }

    /// Reads 64 lower-case hexadecimal characters.
    pub fn parse(text: &str) -> Result<HazardSeed, SeedError> {
        if is_hash_text(text) {
            Ok(HazardSeed(text.to_owned()))
        } else {
            Err(SeedError::HazardSeed)
        }
    }

    /// The hexadecimal text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The link before this one: its SHA-256.
    pub fn previous_link(&self) -> HazardSeed {
        HazardSeed(sha256_of_text(&self.0))
    }
}

impl fmt::Debug for HazardSeed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("HazardSeed(not shown)")
    }
}

/// The key of a round's keystream. Like the seed it comes from, it stays inside until the round has ended.
pub fn round_key(server_seed: &ServerSeed, user_seed: &UserSeed, nonce: Nonce, hazard_seed: &HazardSeed) -> [u8; 32] {
    let message = format!("{}:{}:{}", user_seed.0, nonce.0, hazard_seed.0);
    hmac_sha256(server_seed.0.as_bytes(), message.as_bytes())
}

/// All lanes of the road that end a round, in ascending order: lane k, if the k-th word of the keystream is below its threshold.
pub fn collision_columns(round_key: &[u8; 32], thresholds: &[u64]) -> Vec<u8> {
    let mut keystream = keystream(*round_key);
    (0_u8..)
        .zip(thresholds)
        .filter(|(_, threshold)| keystream.next_u64() < **threshold)
        .map(|(lane, _)| lane)
        .collect()
}

pub(super) fn keystream(key: [u8; 32]) -> ChaCha20Rng {
    ChaCha20Rng::from_seed(key)
}

pub(super) fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

pub(super) fn sha256_of_text(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

pub(super) fn is_hash_text(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
}

impl TryFrom<String> for Commitment {
    type Error = SeedError;
    fn try_from(text: String) -> Result<Commitment, SeedError> {
        Commitment::parse(&text)
    }
}

impl From<Commitment> for String {
    fn from(commitment: Commitment) -> String {
        commitment.0
    }
}

impl TryFrom<String> for UserSeed {
    type Error = SeedError;
    fn try_from(text: String) -> Result<UserSeed, SeedError> {
        UserSeed::parse(&text)
    }
}

impl From<UserSeed> for String {
    fn from(user_seed: UserSeed) -> String {
        user_seed.0
    }
}

impl TryFrom<u64> for Nonce {
    type Error = SeedError;
    fn try_from(number: u64) -> Result<Nonce, SeedError> {
        Nonce::new(number)
    }
}

impl From<Nonce> for u64 {
    fn from(nonce: Nonce) -> u64 {
        nonce.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keystream_is_that_of_rfc_8439() {
        // RFC 8439, appendix A.1, test vector 1: the first block for an all-zero key, nonce and counter.
        let mut keystream = keystream([0; 32]);
        assert_eq!(hex::encode(keystream.next_u64().to_le_bytes()), "76b8e0ada0f13d90");
        assert_eq!(hex::encode(keystream.next_u64().to_le_bytes()), "405d6ae55386bd28");
    }

    #[test]
    fn a_word_that_equals_its_threshold_is_safe() {
        // The words of the all-zero key, as in the test above.
        let first = u64::from_le_bytes([0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90]);
        let second = u64::from_le_bytes([0x40, 0x5d, 0x6a, 0xe5, 0x53, 0x86, 0xbd, 0x28]);
        assert_eq!(collision_columns(&[0; 32], &[first, second + 1]), vec![1]);
        assert_eq!(collision_columns(&[0; 32], &[first + 1, second]), vec![0]);
    }

    #[test]
    fn a_commitment_is_the_hash_of_the_characters() {
        let seed = ServerSeed::from_bytes([0; 32]);
        assert_eq!(seed.reveal(), "0".repeat(64));
        assert_eq!(
            seed.commitment().as_str(),
            "60e05bd1b195af2f94112fa7197a5c88289058840ce7c6df9693756bc6250f55"
        );
    }

    #[test]
    fn hexadecimal_text_has_one_spelling() {
        for text in [
            &"A".repeat(64),
            &"a".repeat(63),
            &"a".repeat(65),
            &"g".repeat(64),
            "",
            &"é".repeat(32),
        ] {
            assert!(ServerSeed::parse(text).is_err(), "{text:?}");
            assert_eq!(Commitment::parse(text), Err(SeedError::Commitment), "{text:?}");
            assert_eq!(HazardSeed::parse(text), Err(SeedError::HazardSeed), "{text:?}");
        }
    }

    #[test]
    fn user_seeds_and_nonces_keep_to_their_alphabet() {
        assert!(UserSeed::parse("Az09_.-").is_ok());
        for text in ["", "a:b", "a b", "é", "a\n", &"a".repeat(65)] {
            assert_eq!(UserSeed::parse(text), Err(SeedError::UserSeed), "{text:?}");
        }
        assert_eq!(Nonce::parse("9007199254740991").map(Nonce::get), Ok(LARGEST_WHOLE_NUMBER));
        assert_eq!(Nonce::parse("0").map(Nonce::get), Ok(0));
        for text in [
            "",
            "00",
            "01",
            "-1",
            "+1",
            "1.0",
            "1e3",
            " 1",
            "١",
            "9007199254740992",
            "99999999999999999999999",
        ] {
            assert_eq!(Nonce::parse(text), Err(SeedError::Nonce), "{text:?}");
        }
    }

    #[test]
    fn an_unrevealed_link_is_not_shown_by_debug() {
        let link = HazardSeed::from_bytes([0xab; 32]);
        assert!(!format!("{link:?}").contains("ab"));
    }
}
