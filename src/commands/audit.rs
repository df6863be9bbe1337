//! `faircross audit`: the invariants of the money and of fairness over PostgreSQL, Redis and an operator's ledger, as a table
//! for people or as JSON. It changes nothing, and exits 1 when one does not hold.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use reqwest::Url;
use secrecy::ExposeSecret;

use super::{Failure, SettingsOptions};
use crate::audit::{self, Limits, Scope, Sources};
use crate::chance::Chance;
use crate::ledger::sealing::Sealing;
use crate::ledger::{Ledger, LedgerSettings};
use crate::live::{Live, LiveSettings, client};
use crate::play::context::ledger_settings;
use crate::settings::Settings;

/// A killed server's bets are closed within so many seconds.
const CLOSED_WITHIN_S: u64 = 45;
/// What is due may wait so much longer, in seconds, for servers that are busy.
const GRACE_S: u64 = 15;

/// How long PostgreSQL may take to let the audit in, in milliseconds; no player waits for it.
const PATIENCE_MS: u64 = 30_000;

/// Checks that nothing was lost; exits 1 when something was.
#[derive(Clone, Debug, clap::Args)]
pub struct AuditOptions {
    #[command(flatten)]
    pub settings: SettingsOptions,
    /// The operator's ledger; without a path, /ledger of the simulated operator there.
    #[arg(long, value_name = "URL")]
    pub operator_ledger: Url,
    /// An agent whose operator that is; repeatable. Without it, all agents.
    #[arg(long = "agent-id", value_name = "AGENT")]
    pub agents: Vec<String>,
    /// Every bet should have come to its end.
    #[arg(long)]
    pub settled: bool,
    /// What clients recorded of the answers they got: JSON lines.
    #[arg(long, value_name = "FILE")]
    pub transcripts: Option<PathBuf>,
    /// A file that must hold no secret, such as a server's log; repeatable.
    #[arg(long = "search", value_name = "FILE")]
    pub searched_files: Vec<PathBuf>,
    /// JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Audits; 1 when an invariant does not hold.
///
/// # Errors
/// When something cannot be read.
pub async fn run(options: AuditOptions) -> Result<ExitCode, Failure> {
    let (settings, secrets) = options.settings.with_secrets()?;
    let ledger = Ledger::connect(&LedgerSettings {
        max_connections: 3,
        acquire_timeout_ms: PATIENCE_MS,
        ..ledger_settings(&settings)?
    })?;
    let redis_url = settings.redis.required_url()?;
    let live = Live::connect(&LiveSettings {
        url: redis_url.clone(),
        tls: settings.redis.tls_files(),
        command_timeout_ms: settings.redis.command_timeout_ms,
        locks_enabled: false,
    })?;
    let sources = Sources {
        ledger: &ledger,
        live: &live,
        redis: &client(redis_url.expose_secret(), &settings.redis.tls_files())?,
        sealing: &Sealing::new(secrets.sealing_key.expose_secret(), Chance),
        operator_ledger: &options.operator_ledger,
        transcripts: options.transcripts,
        searched_files: options.searched_files,
    };
    let scope = Scope {
        agents: options.agents,
        settled: options.settled,
    };
    let report = audit::run(&sources, &scope, &limits(&settings)).await?;
    let mut output = std::io::stdout().lock();
    if options.json {
        writeln!(output, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        writeln!(output, "{report}")?;
    }
    Ok(if report.holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn limits(settings: &Settings) -> Limits {
    let seconds = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    let sweeps_s = settings.recovery.sweep_every_ms.div_ceil(1000);
    Limits {
        pending_s: seconds((settings.recovery.pending_after_ms.div_ceil(1000) + sweeps_s).max(CLOSED_WITHIN_S) + GRACE_S),
        overdue_s: seconds(CLOSED_WITHIN_S + GRACE_S),
        retention_days: i32::try_from(settings.jobs.retention_days).unwrap_or(i32::MAX),
    }
}
