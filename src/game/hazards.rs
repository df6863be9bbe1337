//! The public road: what all players see, refreshed every five seconds, and the daily hash chain it comes from.
//!
//! Each UTC day has a chain of 17,280 links, one for each epoch. The last link is random, each link before it is the SHA-256 of
//! the next, and the anchor is the SHA-256 of the first. The anchor is published before the day begins and each link only when
//! its epoch begins: nobody can know a link early, and the server cannot change one late. Visible hazards decide nothing by
//! themselves, but their seed is part of every round's message, which binds the round to a public moment.

use std::str::FromStr;

use rand_chacha::rand_core::Rng;
use serde::{Deserialize, Serialize};

use super::difficulty::Difficulty;
use super::fairness::{HazardSeed, SeedError, hmac_sha256, is_hash_text, keystream, sha256_of_text};

/// How long one public road is shown, in milliseconds.
pub const EPOCH_MS: u64 = 5_000;

/// How many epochs, and so how many links of the chain, a UTC day has.
pub const EPOCHS_PER_DAY: u32 = 17_280;

/// Five seconds of the world's time: `floor(unix milliseconds / 5000)`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Epoch(u64);

/// The number lies outside time: its epoch would begin after the last millisecond that 64 bits can count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a hazard epoch is a whole number of five-second steps since 1970")]
pub struct EpochError;

impl Epoch {
    const LAST: u64 = u64::MAX / EPOCH_MS;

    /// The epoch with this number.
    pub fn new(number: u64) -> Result<Epoch, EpochError> {
        if number > Epoch::LAST { Err(EpochError) } else { Ok(Epoch(number)) }
    }

    /// The epoch of a moment.
    pub fn at_unix_ms(unix_ms: u64) -> Epoch {
        Epoch(unix_ms / EPOCH_MS)
    }

    /// The number that a bet names.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The one before; the first has none and names itself.
    pub fn previous(self) -> Epoch {
        Epoch(self.0.saturating_sub(1))
    }

    /// The one after; the last has none and names itself.
    pub fn next(self) -> Epoch {
        Epoch(Epoch::LAST.min(self.0 + 1))
    }

    /// The UTC day, in days since 1970-01-01.
    pub fn day(self) -> u64 {
        self.0 / u64::from(EPOCHS_PER_DAY)
    }

    /// The place in the day's chain, from 0 to 17,279.
    pub fn index(self) -> u32 {
        u32::try_from(self.0 % u64::from(EPOCHS_PER_DAY)).expect("a remainder is smaller than its divisor")
    }

    /// When this road is first shown, in Unix milliseconds.
    pub fn starts_at_unix_ms(self) -> u64 {
        self.0 * EPOCH_MS
    }
}

impl FromStr for Epoch {
    type Err = EpochError;

    /// Reads the decimal number, without sign or leading zeros.
    fn from_str(text: &str) -> Result<Epoch, EpochError> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        if is_plain {
            text.parse().map_err(|_| EpochError).and_then(Epoch::new)
        } else {
            Err(EpochError)
        }
    }
}

impl TryFrom<u64> for Epoch {
    type Error = EpochError;
    fn try_from(number: u64) -> Result<Epoch, EpochError> {
        Epoch::new(number)
    }
}

impl From<Epoch> for u64 {
    fn from(epoch: Epoch) -> u64 {
        epoch.0
    }
}

/// What commits the server to all links of a day, published before the day begins.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Anchor(String);

impl Anchor {
    /// Reads 64 lower-case hexadecimal characters.
    pub fn parse(text: &str) -> Result<Anchor, SeedError> {
        if is_hash_text(text) {
            Ok(Anchor(text.to_owned()))
        } else {
            Err(SeedError::Anchor)
        }
    }

    /// The hexadecimal text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Anchor {
    type Error = SeedError;
    fn try_from(text: String) -> Result<Anchor, SeedError> {
        Anchor::parse(&text)
    }
}

impl From<Anchor> for String {
    fn from(anchor: Anchor) -> String {
        anchor.0
    }
}

/// A day's whole chain. Its later links are secrets, so it has no `Debug` and is not serialised.
#[derive(Clone)]
pub struct Chain {
    links: Vec<HazardSeed>,
    anchor: Anchor,
}

impl Chain {
    /// The chain that ends in 32 freshly drawn random bytes.
    pub fn from_last_link(bytes: [u8; 32]) -> Chain {
        Chain::ending_in(HazardSeed::from_bytes(bytes))
    }

    /// The chain of a stored last link.
    pub fn parse(last_link: &str) -> Result<Chain, SeedError> {
        HazardSeed::parse(last_link).map(Chain::ending_in)
    }

    fn ending_in(last_link: HazardSeed) -> Chain {
        let earlier = |link: &HazardSeed| Some(link.previous_link());
        let mut links: Vec<HazardSeed> = std::iter::successors(Some(last_link), earlier)
            .take(EPOCHS_PER_DAY as usize)
            .collect();
        links.reverse();
        let first = links.first().expect("a day has epochs");
        let anchor = Anchor(sha256_of_text(first.as_str()));
        Chain { links, anchor }
    }

    /// The hazard seed of the epoch at this place of the day; nothing from 17,280 on. Public only once that epoch has begun.
    pub fn link(&self, index: u32) -> Option<&HazardSeed> {
        self.links.get(usize::try_from(index).ok()?)
    }

    /// What is published before the day begins.
    pub fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// The link that all others follow from: sealed until the day is over.
    pub fn last_link(&self) -> &HazardSeed {
        self.links.last().expect("a day has epochs")
    }
}

/// The anchor that a link leads to, if it belongs to this epoch of its day.
pub fn anchor_of(link: &HazardSeed, epoch: Epoch) -> Anchor {
    let first = (0..epoch.index()).fold(link.clone(), |link, _| link.previous_link());
    Anchor(sha256_of_text(first.as_str()))
}

/// The place in the day at which a link leads to this anchor, or nothing if the link is not of this chain.
pub fn index_under(link: &HazardSeed, anchor: &Anchor) -> Option<u32> {
    let mut hash = link.previous_link();
    for index in 0..EPOCHS_PER_DAY {
        if hash.as_str() == anchor.as_str() {
            return Some(index);
        }
        hash = hash.previous_link();
    }
    None
}

/// The columns that show a hazard in an epoch, in ascending order: `hazards` distinct ones of `lanes`, drawn from the public
/// link alone by a partial Fisher-Yates shuffle, in which every set of columns is equally likely.
pub fn visible_hazards(hazard_seed: &HazardSeed, difficulty: Difficulty, lanes: u8, hazards: u8) -> Vec<u8> {
    let mut keystream = keystream(hmac_sha256(hazard_seed.as_str().as_bytes(), difficulty.as_str().as_bytes()));
    let mut columns: Vec<u8> = (0..lanes).collect();
    let hazards = usize::from(hazards.min(lanes));
    for place in 0..hazards {
        let offset = uniform_below(&mut keystream, columns.len() - place);
        columns.swap(place, place + offset);
    }
    columns.truncate(hazards);
    columns.sort_unstable();
    columns
}

/// A uniform number below `span`. Words at or above the largest multiple of `span` are passed over: they would favour small numbers.
fn uniform_below(keystream: &mut impl Rng, span: usize) -> usize {
    let span = span as u128;
    let limit = (1_u128 << 64) / span * span;
    loop {
        let word = u128::from(keystream.next_u64());
        if word < limit {
            return usize::try_from(word % span).expect("a remainder is smaller than its divisor");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use rand_chacha::rand_core::TryRng;

    use super::*;

    #[test]
    fn epochs_know_their_day_and_their_place_in_it() {
        let midnight = Epoch::at_unix_ms(86_400_000 * 3);
        assert_eq!(
            (midnight.day(), midnight.index(), midnight.starts_at_unix_ms()),
            (3, 0, 86_400_000 * 3)
        );
        let before = midnight.previous();
        assert_eq!((before.day(), before.index(), before.next()), (2, EPOCHS_PER_DAY - 1, midnight));
        assert_eq!(Epoch::at_unix_ms(86_400_000 * 3 - 1), before);
        assert_eq!(Epoch::at_unix_ms(0).previous(), Epoch::at_unix_ms(0));
        let last = Epoch::at_unix_ms(u64::MAX);
        assert_eq!(last.next(), last);
        assert!(last.starts_at_unix_ms() > 0);
        assert_eq!(Epoch::new(last.number() + 1), Err(EpochError));
    }

    #[test]
    fn every_link_of_a_chain_leads_to_its_anchor() {
        let chain = Chain::from_last_link([7; 32]);
        assert!(chain.link(EPOCHS_PER_DAY).is_none());
        assert_eq!(chain.link(EPOCHS_PER_DAY - 1), Some(chain.last_link()));
        for index in [0, 1, 2, 500, EPOCHS_PER_DAY - 1] {
            let link = chain.link(index).unwrap();
            assert_eq!(&anchor_of(link, Epoch::new(u64::from(index)).unwrap()), chain.anchor());
            assert_eq!(index_under(link, chain.anchor()), Some(index));
        }
        assert_eq!(index_under(&HazardSeed::from_bytes([8; 32]), chain.anchor()), None);
        let read_back = Chain::parse(chain.last_link().as_str()).unwrap();
        assert_eq!(read_back.anchor(), chain.anchor());
    }

    /// A keystream of words that a test chose.
    struct Words<'a>(std::slice::Iter<'a, u64>);

    impl TryRng for Words<'_> {
        type Error = Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            unreachable!("a road is drawn from 64-bit words")
        }

        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            Ok(*self.0.next().expect("the test chose enough words"))
        }

        fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Infallible> {
            unreachable!("a road is drawn from 64-bit words")
        }
    }

    #[test]
    fn words_that_would_favour_small_numbers_are_passed_over() {
        let draw = |words: &[u64], span| uniform_below(&mut Words(words.iter()), span);
        // 2^64 - 1 is the largest multiple of 3 and of 5 that 64 bits reach, so it is the limit and the only word passed over.
        assert_eq!(draw(&[u64::MAX, 5], 3), 2);
        assert_eq!(draw(&[u64::MAX - 1, 0], 3), 2);
        assert_eq!(draw(&[u64::MAX, u64::MAX, 7], 5), 2);
        // 2^64 is a multiple of 16: no word is passed over.
        assert_eq!(draw(&[u64::MAX], 16), 15);
    }

    #[test]
    fn hazards_are_distinct_and_on_the_road() {
        for byte in 0..50 {
            let columns = visible_hazards(&HazardSeed::from_bytes([byte; 32]), Difficulty::Hard, 22, 5);
            assert_eq!(columns.len(), 5);
            assert!(columns.windows(2).all(|pair| pair[0] < pair[1]) && columns.iter().all(|column| *column < 22));
        }
        assert_eq!(
            visible_hazards(&HazardSeed::from_bytes([1; 32]), Difficulty::Easy, 2, 9),
            vec![0, 1]
        );
    }
}
