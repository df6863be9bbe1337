//! The subcommands of the binary, one file each: read the options, do one thing, say what came of it.

pub mod agent;
mod agent_enquiry;
pub mod audit;
pub mod dev;
pub mod doctor;
pub mod migrate;
pub mod queue;
pub mod restore;
pub mod serve;
pub mod verify;

use std::path::PathBuf;

use crate::settings::{Environment, Secrets, Settings, SettingsError};

/// What a command fails with; `main` prints it and exits with 1.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where the settings come from, for every command that needs them.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SettingsOptions {
    /// A TOML file over the built-in settings; the environment goes over both.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl SettingsOptions {
    /// The settings.
    ///
    /// # Errors
    /// Everything that is wrong with them, by name.
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        Settings::load(self.config.as_deref(), &Environment::of_process())
    }

    /// The settings and the secrets.
    ///
    /// # Errors
    /// Everything that is wrong with them, by name.
    pub fn with_secrets(&self) -> Result<(Settings, Secrets), SettingsError> {
        Ok((self.settings()?, Secrets::load(&Environment::of_process())?))
    }
}
