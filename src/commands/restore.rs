//! `faircross restore`: puts a PostgreSQL right that was restored from an older copy, or that lost commits in a failover, so that
//! servers may start on it again. It asks before it changes anything, and prints what it has done.

use std::collections::BTreeSet;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::PgConnection;

use super::{Failure, SettingsOptions};
use crate::chance::Chance;
use crate::clock::Clock;
use crate::ledger::address::Address;
use crate::ledger::limits::Limits;
use crate::ledger::sealing::Sealing;
use crate::ledger::{Ledger, LedgerSettings};
use crate::live::{Live, LiveSettings, client};
use crate::play::context::{game_payload, ledger_settings};
use crate::restore::ledgers::{LedgerSource, Ledgers};
use crate::restore::{self, Restore};
use crate::settings::Settings;

/// How long a statement may wait for a lock of somebody who should not be there, in milliseconds.
const LOCK_TIMEOUT_MS: u64 = 60_000;

/// Puts a restored PostgreSQL right. Stop all servers first.
#[derive(Clone, Debug, clap::Args)]
pub struct RestoreOptions {
    #[command(flatten)]
    pub settings: SettingsOptions,
    /// An operator's ledger of this moment, in the form of the simulated operator's GET /ledger; repeatable. Without an agent it
    /// speaks for all of them.
    #[arg(long = "operator-ledger", value_name = "[AGENT=]URL|FILE")]
    pub operator_ledgers: Vec<LedgerSource>,
    /// An agent of which no ledger can be had: its open bets are voided, and what only its operator knows stays there; repeatable.
    #[arg(long = "without-ledger", value_name = "AGENT")]
    pub without_ledger: Vec<String>,
    /// Does not ask.
    #[arg(long)]
    pub yes: bool,
}

/// Restores, and prints the bill.
///
/// # Errors
/// When it may not begin, or a store cannot be used; it can be run again.
pub async fn run(options: RestoreOptions) -> Result<ExitCode, Failure> {
    let (settings, secrets) = options.settings.with_secrets()?;
    crate::failpoint::arm();
    refuse_other_schema(&settings).await?;
    let ledgers = Ledgers::read(&options.operator_ledgers).await?;
    let redis_url = settings.redis.required_url()?;
    let redis = client(redis_url.expose_secret(), &settings.redis.tls_files())?;
    let live = Live::connect(&LiveSettings {
        url: redis_url.clone(),
        tls: settings.redis.tls_files(),
        command_timeout_ms: settings.redis.command_timeout_ms,
        locks_enabled: false,
    })?;
    let wallet = &settings.wallet;
    let mut restore = Restore {
        connection: connect(&settings).await?,
        live: &live,
        redis: &redis,
        sealing: &Sealing::new(secrets.sealing_key.expose_secret(), Chance),
        chance: Chance,
        clock: Clock::with_offset_ms(settings.clock.offset_ms),
        payload: &game_payload(&settings),
        second_cancel_after_bet_s: i64::try_from(wallet.debit_is_over_after_s())?,
        ledgers: &ledgers,
        without_ledger: &options.without_ledger.iter().cloned().collect::<BTreeSet<_>>(),
    };
    restore::check(&mut restore).await?;
    if !options.yes && !is_confirmed()? {
        eprintln!("nothing was changed");
        return Ok(ExitCode::FAILURE);
    }
    let bill = restore::run(restore).await?;
    writeln!(std::io::stdout(), "{bill}")?;
    Ok(ExitCode::SUCCESS)
}

async fn refuse_other_schema(settings: &Settings) -> Result<(), Failure> {
    let ledger = Ledger::connect(&LedgerSettings {
        max_connections: 1,
        ..ledger_settings(settings)?
    })?;
    let missing = ledger.missing_migrations().await?;
    // Its connection would be taken for a server's.
    ledger.close().await;
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!("the migrations {missing:?} are missing; run `faircross migrate`").into())
    }
}

/// A connection of its own, whose statements take as long as they need.
async fn connect(settings: &Settings) -> Result<PgConnection, Failure> {
    let address = Address::parse(settings.database.required_url()?.expose_secret())?.named("faircross restore");
    let limits = Limits {
        statement_timeout_ms: 0,
        lock_timeout_ms: LOCK_TIMEOUT_MS,
    };
    let patience = Duration::from_millis(settings.database.acquire_timeout_ms);
    let mut connection = address.open(limits, patience).await?.connection;
    sqlx::query("set idle_in_transaction_session_timeout = 0")
        .execute(&mut connection)
        .await?;
    Ok(connection)
}

fn is_confirmed() -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err("nobody can be asked here: say --yes".into());
    }
    eprint!(
        "This closes every open bet, signs everybody out and gives every player new seeds.\nIt is for a PostgreSQL that was restored or lost commits, with all servers stopped. Type yes to go on: "
    );
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}
