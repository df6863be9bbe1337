//! `faircross doctor`: is this a set-up to run with money?
//!
//! It reads the same settings as the server, asks Redis, PostgreSQL and the clocks, looks at the operators that were added, and asks
//! each for one balance. Every check has a name, a verdict and, unless all is well, what to do. A check whose ground is missing
//! (PostgreSQL does not answer, so its settings cannot be read) is left out rather than reported as well.

mod on_agents;
mod on_mark;
mod on_postgres;
mod on_redis;
mod on_settings;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::clock::Clock;
use crate::settings::{Environment, Settings};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How long one store, or the look-up of one name, may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clocks that are further apart than this are reported.
const CLOCKS_APART_MS: i64 = 1000;

/// Checks what the server would run with; exits 1 when something is wrong.
#[derive(Clone, Debug, clap::Args)]
pub struct DoctorOptions {
    /// The settings file that the server is given.
    #[arg(long)]
    pub config: Option<PathBuf>,
}

/// What a check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, but somebody should have decided that it be so.
    Warn,
    /// The server will not run, or money or fairness are at risk.
    Fail,
}

/// One check's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The check's name; the same however it comes out.
    pub name: String,
    pub verdict: Verdict,
    /// What was found, without secrets.
    pub found: String,
    /// What to do; empty where nothing has to be done.
    pub remedy: String,
}

/// All findings, in the order of the checks.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether a check failed.
    pub fn has_failures(&self) -> bool {
        self.findings.iter().any(|finding| finding.verdict == Verdict::Fail)
    }

    fn ok(&mut self, name: impl Into<String>, found: impl Into<String>) {
        self.add(name, Verdict::Ok, found, "");
    }

    fn warn(&mut self, name: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) {
        self.add(name, Verdict::Warn, found, remedy);
    }

    fn fail(&mut self, name: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) {
        self.add(name, Verdict::Fail, found, remedy);
    }

    fn add(&mut self, name: impl Into<String>, verdict: Verdict, found: impl Into<String>, remedy: impl Into<String>) {
        self.findings.push(Finding {
            name: name.into(),
            verdict,
            found: found.into(),
            remedy: remedy.into(),
        });
    }

    /// One of two verdicts on the same question.
    fn check(&mut self, name: &str, holds: bool, found: impl Into<String>, remedy: &str) {
        let verdict = if holds { Verdict::Ok } else { Verdict::Fail };
        self.add(name, verdict, found, if holds { "" } else { remedy });
    }

    /// How far a store's clock is from this machine's.
    fn clock(&mut self, name: &str, ahead_ms: i64) {
        let found = format!(
            "{} ms {} this server's",
            ahead_ms.unsigned_abs(),
            if ahead_ms < 0 { "behind" } else { "ahead of" }
        );
        let remedy = "let both machines keep their time by NTP (timedatectl set-ntp true), and leave clock.offset_ms at 0";
        self.check(name, ahead_ms.abs() < CLOCKS_APART_MS, found, remedy);
    }
}

/// How far a store's clock is ahead for sure, in milliseconds, when it was asked between two looks at ours: nothing, if it showed
/// a time between them.
fn ahead_ms(there: i64, before: i64, after: i64) -> i64 {
    there - there.clamp(before, after.max(before))
}

impl std::fmt::Display for Report {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for finding in &self.findings {
            let verdict = match finding.verdict {
                Verdict::Ok => "ok",
                Verdict::Warn => "WARN",
                Verdict::Fail => "FAIL",
            };
            writeln!(formatter, "{verdict:5} {:28} {}", finding.name, finding.found)?;
            if !finding.remedy.is_empty() {
                writeln!(formatter, "      {:28} -> {}", "", finding.remedy)?;
            }
        }
        let count = |verdict| self.findings.iter().filter(|finding| finding.verdict == verdict).count();
        write!(
            formatter,
            "{} ok, {} to look at, {} wrong",
            count(Verdict::Ok),
            count(Verdict::Warn),
            count(Verdict::Fail)
        )
    }
}

/// Prints the report; 1 when a check failed.
///
/// # Errors
/// When the report cannot be printed.
pub async fn run(options: DoctorOptions) -> Result<ExitCode, Failure> {
    let environment = Environment::of_process();
    let mut report = examine(options.config.as_deref(), &environment).await;
    on_agents::ask(&mut report, options.config.as_deref(), &environment).await;
    writeln!(std::io::stdout(), "{report}")?;
    Ok(if report.has_failures() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// All checks that can be made without calling anybody outside.
pub async fn examine(file: Option<&Path>, environment: &Environment) -> Report {
    let mut report = Report::default();
    let secrets = on_settings::check_secrets(&mut report, environment);
    match Settings::load(file, environment) {
        Ok(settings) => {
            report.ok("settings", "readable, and every value makes sense");
            let clock = Clock::with_offset_ms(settings.clock.offset_ms);
            on_settings::check(&mut report, &settings);
            on_redis::check(&mut report, &settings.redis, clock).await;
            on_postgres::check(&mut report, &settings, secrets.as_ref(), clock).await;
            on_mark::check(&mut report, &settings).await;
        }
        Err(error) => {
            let remedy = "change the setting; config/default.toml explains all of them. Nothing else was checked";
            error
                .problems
                .iter()
                .for_each(|problem| report.fail("settings", format!("{} {}", problem.setting, problem.explanation), remedy));
        }
    }
    report
}
