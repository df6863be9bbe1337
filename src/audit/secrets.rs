//! No server seed and no hazard link is anywhere in clear before its time: not in Redis, not in what operators are sent, and
//! not in logs and recorded answers, where those are given.
//!
//! The seeds need not be opened to find them. Whatever is as long as a seed (64 hexadecimal characters, in either case, or 32
//! raw bytes) is hashed, and if the hash is a commitment that has not been revealed, then it is the seed.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use sha2::{Digest, Sha256};
use sqlx::{Connection as _, PgConnection};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::AuditError;
use super::redis_scan::{Batch, Entry};
use super::report::Check;
use crate::game::hazards::{EPOCHS_PER_DAY, Epoch};
use crate::ledger::sealing::Sealing;
use crate::ledger::{audit_checks, audit_reads, chains};

const HEX_LENGTH: usize = 64;
const RAW_LENGTH: usize = 32;
/// Hashes that PostgreSQL is asked about at once.
const LOOK_UP_BATCH: usize = 5_000;
/// Operators' texts with something in them that could be a seed, of which there should be none.
const MOST_SUSPECT_TEXTS: i64 = 10_000;

/// Links of the hazard chains whose epochs were still to come when the search began, with their epochs.
pub struct FutureLinks(HashMap<String, u64>);

impl FutureLinks {
    /// The links of today's and later chains from `now_unix_ms` on.
    ///
    /// # Errors
    /// When PostgreSQL cannot be asked, or a chain cannot be opened.
    pub async fn read(connection: &mut PgConnection, sealing: &Sealing) -> Result<Self, AuditError> {
        let mut links = HashMap::new();
        for day in audit_reads::days_not_over(connection).await? {
            let Some(chain) = chains::chain(connection, sealing, day).await? else {
                continue;
            };
            let days = day.signed_duration_since(chrono::NaiveDate::default()).num_days();
            let first_epoch = u64::try_from(days).unwrap_or_default() * u64::from(EPOCHS_PER_DAY);
            for index in 0..EPOCHS_PER_DAY {
                if let Some(link) = chain.link(index) {
                    links.insert(link.as_str().to_owned(), first_epoch + u64::from(index));
                }
            }
        }
        Ok(Self(links))
    }
}

/// The search for secrets.
pub struct SecretSearch<'a> {
    links: &'a FutureLinks,
    check: Check,
    /// Hashes of what could be a seed, with the place where it stands.
    suspects: HashMap<String, String>,
}

impl<'a> SecretSearch<'a> {
    pub fn in_redis(links: &'a FutureLinks) -> Self {
        let sentence = "no unrevealed server seed and no link of a later hazard epoch is in clear in Redis";
        Self::new(Check::new("no_secret_in_redis", sentence), links)
    }

    pub fn in_operator_texts(links: &'a FutureLinks) -> Self {
        let sentence = "no unrevealed server seed and no link of a later hazard epoch is in what operators see";
        Self::new(Check::new("no_secret_at_operator", sentence), links)
    }

    pub fn in_files(links: &'a FutureLinks) -> Self {
        let sentence = "no unrevealed server seed and no link of a later hazard epoch is in the logs and recorded answers";
        Self::new(Check::new("no_secret_in_files", sentence), links)
    }

    fn new(check: Check, links: &'a FutureLinks) -> Self {
        Self {
            links,
            check,
            suspects: HashMap::new(),
        }
    }

    /// Looks through a batch of Redis; links that are public by Redis's clock afterwards are fine.
    pub fn look_through(&mut self, batch: &Batch) {
        for Entry { key, texts } in &batch.entries {
            self.check.look();
            let place = format!("key {}", masked(&String::from_utf8_lossy(key)));
            for text in std::iter::once(key).chain(texts) {
                self.look_at(&place, text, batch.now_unix_ms);
            }
        }
    }

    /// Looks through what operators were sent and answered.
    ///
    /// # Errors
    /// When PostgreSQL cannot be asked.
    pub async fn look_at_operator_texts(&mut self, connection: &mut PgConnection, now_unix_ms: u64) -> Result<(), AuditError> {
        self.check.look_at(audit_checks::sizes(connection).await?.operator_texts);
        for suspect in audit_checks::operator_texts_with_long_hex(connection, MOST_SUSPECT_TEXTS).await? {
            self.look_at(&suspect.place, suspect.text.as_bytes(), now_unix_ms);
        }
        Ok(())
    }

    /// Looks through a file, line by line.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn look_through_file(&mut self, file: &Path, now_unix_ms: u64) -> Result<(), AuditError> {
        let unreadable = |source| AuditError::File {
            file: file.to_owned(),
            source,
        };
        let mut reader = BufReader::new(tokio::fs::File::open(file).await.map_err(unreadable)?);
        let (mut number, mut line) = (0_u64, Vec::new());
        while reader.read_until(b'\n', &mut line).await.map_err(unreadable)? > 0 {
            number += 1;
            self.check.look();
            self.look_at(&format!("{} line {number}", file.display()), &line, now_unix_ms);
            line.clear();
        }
        Ok(())
    }

    fn look_at(&mut self, place: &str, text: &[u8], now_unix_ms: u64) {
        let public_until = Epoch::at_unix_ms(now_unix_ms).number();
        for candidate in candidates(text) {
            if self.links.0.get(&candidate).is_some_and(|epoch| *epoch > public_until) {
                self.check.violate(place, "holds a link of a hazard epoch that has not begun");
            }
            self.suspects
                .entry(hex::encode(Sha256::digest(&candidate)))
                .or_insert_with(|| place.to_owned());
        }
    }

    /// Asks which of the suspects are seeds that nobody may know. `later` is a connection outside the audit's transaction: what
    /// is still unrevealed by now was unrevealed when it was seen.
    ///
    /// # Errors
    /// When PostgreSQL cannot be asked.
    pub async fn finish(mut self, later: &mut PgConnection) -> Result<Check, AuditError> {
        let mut patient = later.begin().await?;
        super::take_as_long_as_needed(&mut patient).await?;
        let hashes: Vec<String> = self.suspects.keys().cloned().collect();
        for batch in hashes.chunks(LOOK_UP_BATCH) {
            for commitment in audit_reads::unrevealed_among(&mut patient, batch).await? {
                let place = self.suspects.get(&commitment).cloned().unwrap_or_default();
                self.check
                    .violate(place, format!("holds the unrevealed server seed of commitment {commitment}"));
            }
        }
        patient.rollback().await?;
        Ok(self.check)
    }
}

/// A name without what could be a secret in it: the report must not spread what it has found.
fn masked(name: &str) -> String {
    let is_long = |run: &&str| run.len() >= RAW_LENGTH;
    let runs = name.split(|character: char| !character.is_ascii_hexdigit()).filter(is_long);
    runs.fold(name.to_owned(), |name, run| name.replace(run, "<hexadecimal>"))
}

/// Everything in a text that is as long as a seed, as lower-case hexadecimal.
fn candidates(text: &[u8]) -> HashSet<String> {
    let mut found = HashSet::new();
    for run in text.split(|byte| !byte.is_ascii_hexdigit()) {
        for window in run.windows(HEX_LENGTH) {
            found.insert(String::from_utf8_lossy(window).to_ascii_lowercase());
        }
    }
    // Everything that we write is ASCII, and 32 random bytes practically never are.
    if !text.is_ascii() {
        found.extend(text.windows(RAW_LENGTH).map(hex::encode));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{candidates, masked};

    #[test]
    fn what_was_found_is_not_shown() {
        let seed = "0123456789abcdef".repeat(4);
        assert_eq!(masked(&format!("fairness:{seed}:demo")), "fairness:<hexadecimal>:demo");
        assert_eq!(masked("gameSession:abcdef-demo"), "gameSession:abcdef-demo");
    }

    #[test]
    fn finds_a_seed_in_either_case_raw_and_inside_other_digits() {
        let seed = "0123456789abcdef".repeat(4);
        let raw = [0xa5_u8; 32];
        let around = format!("ff{seed}ff");
        for text in [
            seed.as_bytes(),
            seed.to_uppercase().as_bytes(),
            around.as_bytes(),
            format!("x=\"{seed}\"").as_bytes(),
        ] {
            assert!(candidates(text).contains(&seed), "{text:?}");
        }
        assert!(candidates(&[b"..".as_slice(), &raw, b".."].concat()).contains(&hex::encode(raw)));
        assert!(candidates(&seed.as_bytes()[1..]).is_empty());
    }
}
