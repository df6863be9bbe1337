//! What the bench found, as text, JSON and Markdown; the page is in `page.rs`.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use super::comparison::{Comparison, Spread};
use super::page;
use super::raw::RawFigure;
use super::sides::Measure;
use crate::Failure;
use crate::report::AuditReport;

/// Everything.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub machine: String,
    /// Whether it was too short to mean anything.
    pub quick: bool,
    pub connections: usize,
    pub comparisons: Vec<Comparison>,
    /// What only the bare server has.
    pub bare_only: Vec<Comparison>,
    pub raw: Vec<RawFigure>,
    pub rows: Vec<Row>,
    pub audit: AuditReport,
}

/// A figure, and its target where it has one.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    pub subject: String,
    pub measured: f64,
    pub spread: Option<Spread>,
    pub unit: String,
    pub target: Option<String>,
    pub holds: Option<bool>,
}

impl Row {
    /// A figure without a target.
    pub fn told(subject: &str, measured: f64, unit: &str) -> Self {
        Self {
            subject: subject.to_owned(),
            measured,
            spread: None,
            unit: unit.to_owned(),
            target: None,
            holds: None,
        }
    }

    pub fn at_most(subject: &str, measured: f64, unit: &str, most: f64) -> Self {
        Self {
            target: Some(format!("at most {most} {unit}").trim_end().to_owned()),
            holds: Some(measured <= most),
            ..Self::told(subject, measured, unit)
        }
    }

    pub fn at_least(subject: &str, measured: f64, unit: &str, least: f64) -> Self {
        Self {
            target: Some(format!("at least {least} {unit}").trim_end().to_owned()),
            holds: Some(measured >= least),
            ..Self::told(subject, measured, unit)
        }
    }

    /// Adds the lowest and the highest of what the figure is the median of.
    pub fn within(self, spread: Spread) -> Self {
        Self {
            spread: Some(spread),
            ..self
        }
    }

    pub fn verdict(&self) -> &'static str {
        match self.holds {
            Some(true) => "holds",
            Some(false) => "MISSED",
            None => "",
        }
    }

    /// The subject, what was measured, the target and the verdict.
    pub fn cells(&self) -> [String; 4] {
        let spread = self
            .spread
            .map(|spread| format!(" ({} to {})", number(spread.lowest), number(spread.highest)));
        let measured = format!("{}{} {}", number(self.measured), spread.unwrap_or_default(), self.unit);
        [
            self.subject.clone(),
            measured.trim_end().to_owned(),
            self.target.clone().unwrap_or_default(),
            self.verdict().to_owned(),
        ]
    }
}

pub const ROW_HEADS: [&str; 4] = ["what", "measured (lowest to highest)", "target", "verdict"];
pub const COMPARISON_HEADS: [&str; 10] = [
    "action",
    "ours /s",
    "bare /s",
    "rate ratio",
    "ours p50 / p99 ms",
    "bare p50 / p99 ms",
    "p99 ratio",
    "ours CPU us: server + Redis + PostgreSQL",
    "bare CPU us",
    "all CPU ratio",
];
pub const RAW_HEADS: [&str; 4] = ["store", "per s", "p50 ms", "p99 ms"];

impl Report {
    pub fn comparison_rows(&self) -> Vec<[String; 10]> {
        let both = self.comparisons.iter().map(|comparison| {
            let ours = |value: fn(&Measure) -> f64| number(comparison.ours(value).median);
            let bare = |value: fn(&Measure) -> f64| number(comparison.bare(value).median);
            let spread = |value| {
                let ratio = comparison.ratio(value);
                format!("{:.2} ({:.2} to {:.2})", ratio.median, ratio.lowest, ratio.highest)
            };
            [
                comparison.name.clone(),
                ours(|measure| measure.per_s),
                bare(|measure| measure.per_s),
                spread(|measure| measure.per_s),
                format!("{} / {}", ours(|measure| measure.p50_ms), ours(|measure| measure.p99_ms)),
                format!("{} / {}", bare(|measure| measure.p50_ms), bare(|measure| measure.p99_ms)),
                spread(|measure| measure.p99_ms),
                cpu(&ours),
                cpu(&bare),
                spread(|measure| measure.all_cpu_us),
            ]
        });
        let alone = self.bare_only.iter().map(|comparison| {
            let middle = |value: fn(&Measure) -> f64| number(comparison.bare(value).median);
            [
                comparison.name.clone(),
                "-".to_owned(),
                middle(|measure| measure.per_s),
                "-".to_owned(),
                "-".to_owned(),
                format!("{} / {}", middle(|measure| measure.p50_ms), middle(|measure| measure.p99_ms)),
                "-".to_owned(),
                "-".to_owned(),
                cpu(&middle),
                "-".to_owned(),
            ]
        });
        both.chain(alone).collect()
    }

    pub fn raw_rows(&self) -> Vec<[String; 4]> {
        let optional = |value: Option<f64>| value.map_or("-".to_owned(), number);
        let rows = self.raw.iter();
        rows.map(|figure| {
            [
                figure.what.clone(),
                number(figure.per_s),
                optional(figure.p50_ms),
                optional(figure.p99_ms),
            ]
        })
        .collect()
    }

    /// The tables in Markdown, which a terminal shows as well.
    pub fn text(&self) -> String {
        let rows: Vec<[String; 4]> = self.rows.iter().map(Row::cells).collect();
        let quick = if self.quick {
            " A quick run: its figures mean nothing."
        } else {
            ""
        };
        format!(
            "{}, {} connections.{quick}\n\n{}\n{}\n{}\n{}\n",
            self.machine,
            self.connections,
            markdown(&ROW_HEADS, &rows),
            markdown(&COMPARISON_HEADS, &self.comparison_rows()),
            markdown(&RAW_HEADS, &self.raw_rows()),
            if self.audit.passed {
                "The audit found nothing wrong."
            } else {
                &self.audit.said
            },
        )
    }

    /// Writes `report.json`, `report.md` and `report.html`, and the picture of the ratios as `ratios.svg`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<(), Failure> {
        std::fs::write(directory.join("report.json"), serde_json::to_vec_pretty(self)?)?;
        std::fs::write(directory.join("report.md"), self.text())?;
        std::fs::write(directory.join("report.html"), page::page(self))?;
        std::fs::write(directory.join("ratios.svg"), page::bars(self))?;
        Ok(())
    }
}

/// The processes' CPU time of one action.
fn cpu(middle: &dyn Fn(fn(&Measure) -> f64) -> String) -> String {
    format!(
        "{} + {} + {}",
        middle(|measure| measure.server_cpu_us),
        middle(|measure| measure.redis_cpu_us),
        middle(|measure| measure.postgres_cpu_us)
    )
}

/// A table, its columns as wide as they need to be.
pub fn markdown<const N: usize>(heads: &[&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .chain([heads[column].len()])
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut table = String::new();
    let mut line = |cells: [&str; N]| {
        for (cell, width) in cells.iter().zip(widths) {
            write!(table, "| {cell:width$} ").expect("a text takes everything");
        }
        table.push_str("|\n");
    };
    line(*heads);
    let rules: [String; N] = widths.map(|width| "-".repeat(width));
    line(std::array::from_fn(|column| rules[column].as_str()));
    for row in rows {
        line(std::array::from_fn(|column| row[column].as_str()));
    }
    table
}

/// Three digits that say something.
pub fn number(value: f64) -> String {
    let places = match value.abs() {
        magnitude if magnitude >= 100.0 || magnitude == 0.0 => 0,
        magnitude if magnitude >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.places$}")
}
