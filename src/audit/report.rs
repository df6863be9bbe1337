//! What an audit says: named checks, each with the sentence that must hold, how many things were looked at, and what was
//! found wrong.

use std::fmt;

use serde::Serialize;

/// A check keeps so many examples; it counts all violations.
const MOST_EXAMPLES: usize = 5;
/// Where a line of the table for people is broken.
const NAME_WIDTH: usize = 26;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// What it is about, with the id by which it is found again.
    pub subject: String,
    /// What is wrong with it.
    pub detail: String,
}

/// One invariant and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The same however it comes out.
    pub name: &'static str,
    /// What must hold.
    pub sentence: &'static str,
    /// How many things were looked at. A check that looked at nothing says nothing.
    pub examined: u64,
    pub violations: u64,
    /// The first few violations.
    pub examples: Vec<Violation>,
}

impl Check {
    /// A check that has looked at nothing yet.
    pub fn new(name: &'static str, sentence: &'static str) -> Self {
        Self {
            name,
            sentence,
            examined: 0,
            violations: 0,
            examples: Vec::new(),
        }
    }

    /// Counts one more thing that is looked at.
    pub fn look(&mut self) {
        self.examined = self.examined.saturating_add(1);
    }

    /// Counts so many more things that are looked at.
    pub fn look_at(&mut self, things: impl TryInto<u64>) {
        self.examined = self.examined.saturating_add(things.try_into().unwrap_or_default());
    }

    /// Records a violation.
    pub fn violate(&mut self, subject: impl fmt::Display, detail: impl fmt::Display) {
        self.violate_times(subject, detail, 1);
    }

    /// Records so many violations of which this is an example.
    pub fn violate_times(&mut self, subject: impl fmt::Display, detail: impl fmt::Display, total: u64) {
        self.violations = self.violations.saturating_add(total);
        if self.examples.len() < MOST_EXAMPLES {
            self.examples.push(Violation {
                subject: subject.to_string(),
                detail: detail.to_string(),
            });
        }
    }

    /// Whether nothing was found wrong.
    pub fn holds(&self) -> bool {
        self.violations == 0
    }
}

/// All checks of one audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether everything was expected to have come to its end.
    pub settled: bool,
    /// No check found a violation.
    pub holds: bool,
    /// The instant that the record was read as of, by PostgreSQL's clock, RFC 3339.
    pub as_of: String,
    pub checks: Vec<Check>,
}

impl Report {
    /// The report of these checks.
    pub fn of(checks: Vec<Check>, settled: bool, as_of: String) -> Self {
        Self {
            settled,
            holds: checks.iter().all(Check::holds),
            as_of,
            checks,
        }
    }

    /// The check of this name.
    pub fn check(&self, name: &str) -> Option<&Check> {
        self.checks.iter().find(|check| check.name == name)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{:9} {:NAME_WIDTH$} {:>10}  what must hold", "", "check", "looked at")?;
        for check in &self.checks {
            let verdict = match check.violations {
                0 => "ok".to_owned(),
                violations => format!("BAD {violations}"),
            };
            writeln!(
                formatter,
                "{verdict:9} {:NAME_WIDTH$} {:>10}  {}",
                check.name, check.examined, check.sentence
            )?;
            for example in &check.examples {
                writeln!(formatter, "{:9} {:NAME_WIDTH$} {}: {}", "", "", example.subject, example.detail)?;
            }
        }
        let violations: u64 = self.checks.iter().map(|check| check.violations).sum();
        write!(
            formatter,
            "{violations} violations in {} checks, as of {}",
            self.checks.len(),
            self.as_of
        )
    }
}
