//! What players were told of money, as JSON lines for the audit: a line for every bet that was confirmed, one for every end
//! and one for every repeated end. Safe steps are not in it; what they promised is in the end.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Mutex;
use std::time::SystemTime;

use serde::Serialize;

use crate::answers::Round;

/// The file.
pub struct Transcript(Mutex<BufWriter<File>>);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    at_unix_ms: u64,
    agent_id: &'a str,
    user_id: &'a str,
    /// "bet", "end" or "repeat".
    told: &'static str,
    bet_id: &'a str,
    round_id: &'a str,
    currency: &'a str,
    bet_amount: &'a str,
    win_amount: &'a str,
    coeff: &'a str,
    line_number: i16,
    is_finished: bool,
    end_reason: Option<&'a str>,
    nonce: u64,
    hashed_server_seed: &'a str,
}

impl Transcript {
    pub fn create(path: &Path) -> std::io::Result<Self> {
        Ok(Self(Mutex::new(BufWriter::new(File::create(path)?))))
    }

    /// Adds what a player was told. A line that cannot be written must not go unnoticed: it ends the run.
    pub fn add(&self, told: &'static str, agent_id: &str, user_id: &str, round: &Round) {
        let line = Line {
            at_unix_ms: unix_ms(),
            agent_id,
            user_id,
            told,
            bet_id: &round.bet_id,
            round_id: &round.round_id,
            currency: &round.currency,
            bet_amount: &round.bet_amount,
            win_amount: &round.win_amount,
            coeff: &round.coeff,
            line_number: round.line_number,
            is_finished: round.is_finished,
            end_reason: round.end_reason.as_deref(),
            nonce: round.nonce,
            hashed_server_seed: &round.hashed_server_seed,
        };
        let mut text = serde_json::to_vec(&line).expect("a line is JSON");
        text.push(b'\n');
        let mut file = self.0.lock().expect("nobody panicked while writing");
        file.write_all(&text).expect("the transcript can be written");
    }

    pub fn flush(&self) -> std::io::Result<()> {
        self.0.lock().expect("nobody panicked while writing").flush()
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
