//! A process of this binary (the server, the simulated operator) that goes with the one that started it.

use std::ffi::OsString;
use std::path::Path;

use super::account::Account;
use super::watchdog::{Watchdog, Watched};
use super::{StoreError, while_doing};

/// A running child. Dropping it asks it to end (SIGTERM) and waits for that.
pub struct OwnProcess(Watchdog);

impl OwnProcess {
    /// Runs this binary with `arguments`, our environment and `environment` over it. Its output goes to `directory`/log.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: &'static str, directory: &Path, arguments: &[String], environment: &[(String, String)]) -> Result<Self, StoreError> {
        let directory = std::path::absolute(directory).map_err(while_doing(format!("finding {}", directory.display())))?;
        std::fs::create_dir_all(&directory).map_err(while_doing(format!("making {}", directory.display())))?;
        let ourselves = std::env::current_exe().map_err(while_doing("finding this program"))?;
        let added = environment
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Watchdog::start(&Watched {
            name,
            account: Account::ours(),
            directory: &directory,
            environment: std::env::vars_os().chain(added).collect(),
            command: std::iter::once(ourselves.display().to_string())
                .chain(arguments.iter().cloned())
                .collect(),
            stop_signal: "TERM",
            remove: None,
        })
        .map(Self)
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        self.0.is_running()
    }

    /// Waits until `ready`, unless it ends before.
    ///
    /// # Errors
    /// When it ended or patience ran out; with the end of its log.
    pub fn wait_until_ready(&self, ready: impl FnMut() -> bool) -> Result<(), StoreError> {
        self.0.wait_until_ready(ready)
    }

    /// What to tell when it ended by itself: the end of its log.
    pub fn ended(&self) -> StoreError {
        self.0.not_ready()
    }
}
