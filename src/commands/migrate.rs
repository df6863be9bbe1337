//! `faircross migrate`: brings PostgreSQL's schema up to what this binary needs.

use super::{Failure, SettingsOptions};
use crate::ledger::Ledger;
use crate::play::context::ledger_settings;

/// Applies the migrations that are missing.
#[derive(Clone, Debug, clap::Args)]
pub struct MigrateOptions {
    #[command(flatten)]
    pub settings: SettingsOptions,
}

/// Migrates.
///
/// # Errors
/// When PostgreSQL cannot be reached, or has migrations that are not ours.
pub async fn run(options: MigrateOptions) -> Result<(), Failure> {
    let ledger = Ledger::connect(&ledger_settings(&options.settings.settings()?)?)?;
    let missing = ledger.missing_migrations().await?;
    ledger.migrate().await?;
    match missing.len() {
        0 => println!("the schema is current"),
        count => println!("{count} migrations applied"),
    }
    Ok(())
}
