//! What a campaign did and found, as a table for people and as JSON in target/campaign.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

/// The points that a failpoint or a held-back answer proves, in the order of a bet's life.
pub const POINTS: [&str; 20] = [
    "K1", "K2", "K3", "K4", "K5", "K6", "K7", "K8", "K9", "K10", "K11", "K12", "K13", "K14", "K15", "K16", "K17", "K18", "K19", "K20",
];

/// Counts by name.
pub type Counts = BTreeMap<String, u64>;

#[derive(Default, Serialize)]
pub struct Report {
    pub seed: u64,
    pub seconds: u64,
    pub chapters: u64,
    pub episodes: u64,
    pub bets: u64,
    pub bets_with_locks_off: u64,
    /// Answers that were held against the record.
    pub answers_compared: u64,
    pub rounds_ended_by: Counts,
    /// Proven hits of a point, by the number of servers, and with the Redis locks off.
    pub points: BTreeMap<String, Counts>,
    /// Points that were armed and not reached in time.
    pub points_missed: Counts,
    pub kills: u64,
    pub kills_at_random_moments: u64,
    pub servers_stopped_and_continued: u64,
    pub redis_faults: Counts,
    pub postgres_faults: Counts,
    /// How often the operator misbehaved, by action and kind.
    pub operator_faults: Counts,
    /// Times in which the whole operator was as no operator should be.
    pub operator_accidents: Counts,
    pub operator_outages: u64,
    /// Databases that were put back to an older copy, and put right.
    pub restores: u64,
    /// Calls owed when each outage was over, and the milliseconds until none was.
    pub backlogs: Vec<(u64, u64)>,
    pub repeats: u64,
    pub walked_back_after_redis_lost_writes: u64,
    pub ended_below_what_was_shown_after_redis_lost_writes: u64,
    pub unconfirmed_but_placed: u64,
    pub checks_of_the_books: u64,
    pub audits: u64,
    pub slowest_settling_ms: u64,
    /// From a kill until all that its server owed was closed, with the default recovery settings.
    pub closed_after_kill_ms: Vec<u64>,
    /// From the first answer of a restarted Redis until a round was played on, with default settings.
    pub playable_after_redis_ms: Vec<u64>,
    pub violations: Vec<String>,
}

impl Report {
    pub fn count(counts: &mut Counts, name: impl Into<String>) {
        *counts.entry(name.into()).or_default() += 1;
    }

    pub fn violation(&mut self, text: String) {
        eprintln!("VIOLATION {text}");
        self.violations.push(text);
    }

    pub fn table(&self) -> String {
        let mut lines = vec![
            format!(
                "seed {}, {} s, {} chapters, {} episodes",
                self.seed, self.seconds, self.chapters, self.episodes
            ),
            format!(
                "{} bets ({} with the Redis locks off), {} answers compared, {} repeats",
                self.bets, self.bets_with_locks_off, self.answers_compared, self.repeats
            ),
            format!("rounds ended by    {}", said(&self.rounds_ended_by)),
            format!(
                "kills              {} ({} at random moments), {} stops",
                self.kills, self.kills_at_random_moments, self.servers_stopped_and_continued
            ),
            format!("Redis faults       {} = {}", total(&self.redis_faults), said(&self.redis_faults)),
            format!(
                "PostgreSQL faults  {} = {}",
                total(&self.postgres_faults),
                said(&self.postgres_faults)
            ),
            format!(
                "operator faults    {}, {} outages = {}",
                total(&self.operator_faults),
                self.operator_outages,
                said(&self.operator_faults)
            ),
            format!(
                "operator accidents {} = {}",
                total(&self.operator_accidents),
                said(&self.operator_accidents)
            ),
            format!("restores           {}", self.restores),
            format!(
                "checks             {} of the books, {} audits",
                self.checks_of_the_books, self.audits
            ),
            format!("slowest settling   {} ms after an episode", self.slowest_settling_ms),
            format!(
                "backlogs           {:?} (calls owed after an outage, milliseconds until none was)",
                self.backlogs
            ),
            format!("closed after kill  {}", spread(&self.closed_after_kill_ms)),
            format!("playable after Redis is back  {}", spread(&self.playable_after_redis_ms)),
            format!(
                "after Redis lost writes: {} walked back, {} left rounds ended below what was shown; {} unconfirmed bets were placed",
                self.walked_back_after_redis_lost_writes,
                self.ended_below_what_was_shown_after_redis_lost_writes,
                self.unconfirmed_but_placed
            ),
        ];
        lines.push(format!(
            "{:<6}{:>10}{:>10}{:>10}{:>10}",
            "point", "1 server", "2 servers", "3 servers", "locks off"
        ));
        for point in POINTS {
            let of = |column: &str| {
                self.points
                    .get(point)
                    .and_then(|counts| counts.get(column))
                    .copied()
                    .unwrap_or_default()
            };
            lines.push(format!(
                "{point:<6}{:>10}{:>10}{:>10}{:>10}",
                of("1"),
                of("2"),
                of("3"),
                of("locks off")
            ));
        }
        if !self.points_missed.is_empty() {
            lines.push(format!("armed, not reached: {}", said(&self.points_missed)));
        }
        lines.push(format!("violations: {}", self.violations.len()));
        lines.extend(self.violations.iter().take(20).map(|violation| format!("  {violation}")));
        lines.join("\n")
    }

    /// Writes the JSON and says where.
    pub fn write(&self) -> PathBuf {
        let path = directory().join(format!("{}.json", self.seed));
        let text = serde_json::to_string_pretty(self).expect("counts are JSON");
        std::fs::write(&path, text).expect("target can be written");
        path
    }
}

/// target/campaign, which is made if need be.
pub fn directory() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a directory in target");
    let directory = target.join("campaign");
    std::fs::create_dir_all(&directory).expect("target can be written");
    directory
}

pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn total(counts: &Counts) -> u64 {
    counts.values().sum()
}

fn said(counts: &Counts) -> String {
    let each: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    each.join(", ")
}

fn spread(durations_ms: &[u64]) -> String {
    let mut sorted = durations_ms.to_vec();
    sorted.sort_unstable();
    match (sorted.first(), sorted.get(sorted.len() / 2), sorted.last()) {
        (Some(least), Some(median), Some(most)) => {
            format!("{} times: {least} / {median} / {most} ms (least / median / most)", sorted.len())
        }
        _ => "not measured".to_owned(),
    }
}
