//! What can be set, and from where.
//!
//! `config/default.toml` is built in and explains every key. A file given with `--config` goes over it, the environment
//! over both: `FAIRCROSS__SECTION__KEY`, and the customary `DATABASE_URL`, `REDIS_URL` and `PORT`. Everything is checked
//! before anything starts: an unknown key, a value of the wrong kind and a value that makes no sense are all named together,
//! each with what would be right. Secrets are apart ([`Secrets`]): they come from the environment only, and one in a file is
//! refused.

mod layers;
mod rules;
mod secrets;
mod sections;

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use crate::live::TlsFiles;

pub use layers::Environment;
pub use rules::MINIMUM_SESSION_TTL_S;
pub use secrets::{Secrets, is_published};
pub use sections::{
    ClockSettings, DatabaseSettings, GameSettings, JobSettings, LogFormat, LogSettings, RateLimitSettings, RecoverySettings, RedisSettings,
    ServerSettings, SessionSettings, Settings, WalletSettings,
};

/// The built-in `config/default.toml`.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

/// One wrong setting: its name as the user would write it, what is wrong, and what would be right. Never a secret's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `server.port`, or the variable's name where that is what has to change.
    pub setting: String,
    /// What is wrong and what would be right, in a sentence.
    pub explanation: String,
}

/// Why the settings cannot be used: all that is wrong with them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", rules::in_words(.problems))]
pub struct SettingsError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl SettingsError {
    fn one(setting: impl Into<String>, explanation: impl Into<String>) -> Self {
        Self {
            problems: vec![Problem {
                setting: setting.into(),
                explanation: explanation.into(),
            }],
        }
    }
}

impl Settings {
    /// The defaults, then `file`, then `environment`, checked.
    ///
    /// # Errors
    /// Everything that is wrong, each by name and with what would be right.
    pub fn load(file: Option<&Path>, environment: &Environment) -> Result<Self, SettingsError> {
        let settings = layers::merge(file, environment)?;
        let problems = rules::problems(&settings);
        if problems.is_empty() {
            Ok(settings)
        } else {
            Err(SettingsError { problems })
        }
    }

    /// What works but should not be left so in production; logged at start.
    pub fn warnings(&self) -> Vec<Problem> {
        rules::warnings(self)
    }
}

impl DatabaseSettings {
    /// The address of PostgreSQL, for the commands that cannot do without.
    ///
    /// # Errors
    /// When it is not set.
    pub fn required_url(&self) -> Result<&SecretString, SettingsError> {
        required(
            &self.url,
            "database.url",
            "set DATABASE_URL=postgres://user:password@host:5432/name",
        )
    }
}

impl RedisSettings {
    /// The address of Redis, for the commands that cannot do without.
    ///
    /// # Errors
    /// When it is not set.
    pub fn required_url(&self) -> Result<&SecretString, SettingsError> {
        required(&self.url, "redis.url", "set REDIS_URL=redis://host:6379/0")
    }

    /// What `rediss://` trusts and shows.
    pub fn tls_files(&self) -> TlsFiles {
        let client = (!self.client_certificate_file.is_empty())
            .then(|| (PathBuf::from(&self.client_certificate_file), PathBuf::from(&self.client_key_file)));
        TlsFiles {
            ca: (!self.ca_file.is_empty()).then(|| PathBuf::from(&self.ca_file)),
            client,
        }
    }
}

fn required<'a>(url: &'a SecretString, setting: &str, remedy: &str) -> Result<&'a SecretString, SettingsError> {
    if url.expose_secret().is_empty() {
        Err(SettingsError::one(setting, format!("is not set: {remedy}")))
    } else {
        Ok(url)
    }
}
