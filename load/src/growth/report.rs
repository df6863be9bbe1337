//! What growth did, as text, JSON, Markdown and a page.

use std::ops::Range;
use std::path::Path;

use serde::Serialize;

use super::plans::Statement;
use crate::Failure;
use crate::bench::page::{self, table};
use crate::bench::report::{markdown, number};
use crate::recorder::{Action, Recorder};
use crate::report::chart::{Chart, Series};
use crate::report::{AuditReport, escaped};

/// Everything.
#[derive(Serialize)]
pub struct Report {
    pub machine: String,
    pub quick: bool,
    pub players: Vec<Figures>,
    pub rows: Vec<Figures>,
    pub statements: Vec<Statement>,
    pub audits: Vec<AuditReport>,
}

/// The load at one size.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Players, or rows.
    pub size: u64,
    pub answers_per_s: f64,
    pub rounds_per_s: f64,
    pub errors: u64,
    pub p99_ms: Vec<(&'static str, Option<f64>)>,
}

const SHOWN: [Action; 4] = [Action::Bet, Action::SafeStep, Action::CashOut, Action::History];
const HEADS: [&str; 8] = [
    "",
    "answers /s",
    "rounds /s",
    "bet p99 ms",
    "safe step p99 ms",
    "cash-out p99 ms",
    "history p99 ms",
    "errors",
];
const STATEMENT_HEADS: [&str; 8] = [
    "statement",
    "bets",
    "runs",
    "slowest ms",
    "blocks",
    "rows thrown away",
    "how it reaches the tables",
    "verdict",
];
/// A scan that throws away more rows than this walks over what it need not.
const MOST_THROWN_AWAY: u64 = 100;
/// So much of a statement's text is shown in a table.
const SHOWN_TEXT: usize = 60;

impl Figures {
    /// `steady` are the seconds between the players' arrival and the end.
    pub fn new(size: u64, recorder: &Recorder, steady: Range<usize>) -> Self {
        let end = steady.end.min(recorder.seconds.len());
        let seconds = &recorder.seconds[steady.start.min(end)..end];
        let per_s = |sum: u64| sum as f64 / seconds.len().max(1) as f64;
        Self {
            size,
            answers_per_s: per_s(seconds.iter().map(|second| second.answers).sum()),
            rounds_per_s: per_s(seconds.iter().map(|second| second.rounds).sum()),
            errors: recorder.errors(),
            p99_ms: SHOWN.map(|action| (action.name(), recorder.percentile_ms(action, 99.0))).to_vec(),
        }
    }

    fn cells(&self) -> [String; 8] {
        let p99 = |index: usize| self.p99_ms[index].1.map_or("-".to_owned(), number);
        [
            self.size.to_string(),
            number(self.answers_per_s),
            number(self.rounds_per_s),
            p99(0),
            p99(1),
            p99(2),
            p99(3),
            self.errors.to_string(),
        ]
    }
}

impl Report {
    /// Whether no statement reads a whole growing table, and all books are right.
    pub fn is_good(&self) -> bool {
        self.statements.iter().all(|statement| statement.read_whole.is_empty()) && self.audits.iter().all(|audit| audit.passed)
    }

    /// The tables in Markdown.
    pub fn text(&self) -> String {
        let quick = if self.quick {
            " A quick run: its figures mean nothing."
        } else {
            ""
        };
        let (players, rows) = self.figures();
        format!(
            "{}.{quick}\n\n{}\n{}\n{}\n{}\n",
            self.machine,
            markdown(&heads("players"), &players),
            markdown(&heads("rows in bets"), &rows),
            markdown(&STATEMENT_HEADS, &self.statement_rows()),
            self.audited(),
        )
    }

    fn figures(&self) -> (Vec<[String; 8]>, Vec<[String; 8]>) {
        let cells = |all: &[Figures]| all.iter().map(Figures::cells).collect();
        (cells(&self.players), cells(&self.rows))
    }

    fn statement_rows(&self) -> Vec<[String; 8]> {
        let row = |statement: &Statement| {
            let shown: String = statement.text.chars().take(SHOWN_TEXT).collect();
            let whole: Vec<&str> = statement.read_whole.iter().map(String::as_str).collect();
            let verdict = if !whole.is_empty() {
                format!("READS ALL OF {}", whole.join(", "))
            } else if statement.thrown_away > MOST_THROWN_AWAY {
                "walks far".to_owned()
            } else {
                "on indexes".to_owned()
            };
            [
                statement.name.map_or(shown, str::to_owned),
                statement.rows.to_string(),
                statement.runs.to_string(),
                format!("{:.2}", statement.slowest_ms),
                statement.blocks.to_string(),
                statement.thrown_away.to_string(),
                statement.ways.iter().cloned().collect::<Vec<_>>().join(", "),
                verdict,
            ]
        };
        self.statements.iter().map(row).collect()
    }

    fn audited(&self) -> String {
        match self.audits.iter().find(|audit| !audit.passed) {
            Some(audit) => audit.said.clone(),
            None => format!("{} audits found nothing wrong.", self.audits.len()),
        }
    }

    /// Writes `growth.json`, `growth.md` and `growth.html`, and its pictures as `growth-players.svg` and `growth-bets.svg`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<(), Failure> {
        std::fs::write(directory.join("growth.json"), serde_json::to_vec_pretty(self)?)?;
        std::fs::write(directory.join("growth.md"), self.text())?;
        std::fs::write(directory.join("growth.html"), self.page()?)?;
        for (name, figures) in [("players", &self.players), ("bets", &self.rows)] {
            if figures.len() > 1 {
                std::fs::write(directory.join(format!("growth-{name}.svg")), latencies(name, figures))?;
            }
        }
        Ok(())
    }

    fn page(&self) -> Result<String, Failure> {
        let (players, rows) = self.figures();
        let mut plans = String::new();
        for statement in self
            .statements
            .iter()
            .filter(|statement| statement.name.is_some() || !statement.read_whole.is_empty())
        {
            plans.push_str(&format!(
                "<details><summary>{} on {} bets</summary><p>{}</p><pre>{}</pre></details>",
                statement.name.unwrap_or("a statement"),
                statement.rows,
                escaped(&statement.text),
                escaped(&serde_json::to_string_pretty(&statement.plan)?)
            ));
        }
        let body = format!(
            "<h1>Growth</h1><p>{}</p><h2>Players</h2>{}{}<h2>Bets</h2>{}{}<h2>Statements</h2>{}{plans}<h2>Audits</h2><pre>{}</pre>",
            escaped(&self.machine),
            table(&heads("players"), &players),
            latencies("players", &self.players),
            table(&heads("rows in bets"), &rows),
            latencies("bets", &self.rows),
            table(&STATEMENT_HEADS, &self.statement_rows()),
            escaped(&self.audited()),
        );
        Ok(page::document("faircross: growth", &body))
    }
}

/// The p99 of each action over the size, both drawn by their magnitude.
fn latencies(what: &str, figures: &[Figures]) -> String {
    let magnitude = |size: u64| (size.max(1) as f64).log10();
    let (first, last) = (figures.first(), figures.last());
    let (low, high) = (first.map_or(0.0, |f| magnitude(f.size)), last.map_or(1.0, |f| magnitude(f.size)));
    let place = |size: u64| (magnitude(size) - low) / (high - low).max(1.0);
    let series = SHOWN.iter().enumerate().map(|(index, action)| Series {
        name: action.name().to_owned(),
        points: figures
            .iter()
            .filter_map(|figure| Some((place(figure.size), figure.p99_ms[index].1?)))
            .collect(),
    });
    Chart {
        title: &format!("p99 by number of {what}"),
        unit: "ms",
        series: series.filter(|series| !series.points.is_empty()).collect(),
        marks: figures
            .iter()
            .map(|figure| (place(figure.size), format!("{} {what}", figure.size)))
            .collect(),
        logarithmic: true,
    }
    .svg()
}

fn heads(first: &'static str) -> [&'static str; 8] {
    let mut heads = HEADS;
    heads[0] = first;
    heads
}
