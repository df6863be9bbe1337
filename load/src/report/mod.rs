//! What came of a run: figures per stage, as a table for the terminal, as JSON for machines and as a page with pictures.

pub mod chart;
mod html;
mod table;

pub use html::escaped;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::Failure;
use crate::recorder::{Action, Measured, Recorder, milliseconds};
use crate::resources::Usage;

/// The percentiles of the picture, denser towards the end.
const CURVE: [f64; 18] = [
    0.0, 10.0, 25.0, 50.0, 60.0, 70.0, 75.0, 80.0, 85.0, 90.0, 95.0, 97.5, 99.0, 99.5, 99.75, 99.9, 99.95, 99.99,
];

/// A whole run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub title: String,
    pub seed: u64,
    pub servers: usize,
    pub cores: usize,
    pub stages: Vec<StageReport>,
    /// Broken rules, and the first of them word for word.
    pub violations: u64,
    pub first_violations: Vec<String>,
    pub starts: Option<Starts>,
    /// What the audit said; nothing where there was none.
    pub audit: Option<AuditReport>,
}

/// From the start of a server's process to "ready".
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Starts {
    pub with_new_database_ms: f64,
    pub with_warm_database_ms: f64,
}

#[derive(Debug, Serialize)]
pub struct AuditReport {
    pub passed: bool,
    pub said: String,
}

/// One stage.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StageReport {
    pub name: String,
    pub lasted_s: f64,
    pub rounds: u64,
    pub rounds_per_s: f64,
    pub never_started: u64,
    pub abandoned: u64,
    /// How late this tool's timer woke in one of a hundred cases; below 2 ms it is not in the latencies.
    pub timer_late_p99_ms: f64,
    pub actions: Vec<ActionReport>,
    pub seconds: Vec<SecondReport>,
    pub usage: Usage,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionReport {
    pub action: &'static str,
    pub count: u64,
    pub per_s: f64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
    pub errors: BTreeMap<String, u64>,
    /// Percentiles and milliseconds, for the picture; only those that so many answers can tell.
    pub curve: Vec<(f64, f64)>,
}

#[derive(Debug, Serialize)]
pub struct SecondReport {
    pub answers: u64,
    pub rounds: u64,
    pub errors: u64,
}

impl StageReport {
    pub fn new(name: &str, recorder: &Recorder, lasted: Duration, usage: Usage) -> Self {
        let lasted_s = lasted.as_secs_f64();
        let measured = |action: Action| Some(ActionReport::new(action, recorder.actions.get(&action)?, lasted_s));
        Self {
            name: name.to_owned(),
            lasted_s,
            rounds: recorder.rounds,
            rounds_per_s: recorder.rounds as f64 / lasted_s,
            never_started: recorder.never_started,
            abandoned: recorder.abandoned,
            timer_late_p99_ms: milliseconds(recorder.timer_late_us.value_at_percentile(99.0)),
            actions: Action::ALL.into_iter().filter_map(measured).collect(),
            seconds: recorder
                .seconds
                .iter()
                .map(|second| SecondReport {
                    answers: second.answers,
                    rounds: second.rounds,
                    errors: second.errors,
                })
                .collect(),
            usage,
        }
    }
}

impl ActionReport {
    fn new(action: Action, measured: &Measured, lasted_s: f64) -> Self {
        let latencies = &measured.latencies_us;
        let percentile = |percentile| milliseconds(latencies.value_at_percentile(percentile));
        Self {
            action: action.name(),
            count: latencies.len(),
            per_s: latencies.len() as f64 / lasted_s,
            p50_ms: percentile(50.0),
            p90_ms: percentile(90.0),
            p99_ms: percentile(99.0),
            p999_ms: percentile(99.9),
            max_ms: milliseconds(latencies.max()),
            errors: measured.errors.clone(),
            curve: CURVE
                .into_iter()
                .filter(|place| (100.0 - place) / 100.0 * latencies.len() as f64 >= 1.0)
                .map(|place| (place, percentile(place)))
                .collect(),
        }
    }
}

impl Report {
    /// Whether nothing was wrong: rounds were played, no rule was broken, no round was lost, and the audit found nothing.
    pub fn is_good(&self) -> bool {
        let lost: u64 = self.stages.iter().map(|stage| stage.abandoned).sum();
        let rounds: u64 = self.stages.iter().map(|stage| stage.rounds).sum();
        rounds > 0 && lost == 0 && self.violations == 0 && self.audit.as_ref().is_none_or(|audit| audit.passed)
    }

    /// The tables for the terminal.
    pub fn text(&self) -> String {
        table::text(self)
    }

    /// Writes `report.json` and `report.html`, and the picture of the throughput as `throughput.svg`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<(), Failure> {
        std::fs::write(directory.join("report.json"), serde_json::to_vec_pretty(self)?)?;
        std::fs::write(directory.join("report.html"), html::page(self))?;
        std::fs::write(directory.join("throughput.svg"), html::throughput(self).svg())?;
        Ok(())
    }
}
