//! Private stores: a Redis and a PostgreSQL of our own, for newcomers (`faircross dev`) and for tests.
//!
//! Both are the real servers, found where Debian or the PATH has them, listening on unix sockets only, so that nothing
//! outside reaches them and no port is taken. Each runs under a watchdog that stops it as soon as this process
//! is gone, however it went. PostgreSQL refuses to run as root: started by root it runs as the user `postgres` or `nobody`,
//! and its files move to /var/tmp when that user cannot reach the directory asked for.
//!
//! Everything here blocks its thread for as long as a server takes to start or stop (Redis some 50 ms, a new PostgreSQL
//! about a second). No product code uses it.

mod account;
mod postgres;
mod process;
mod programs;
mod redis_server;
mod watchdog;

use std::path::PathBuf;
use std::time::Duration;

pub use postgres::{Durability, PostgresCluster};
pub use process::OwnProcess;
pub use programs::{Missing, missing};
pub use redis_server::RedisServer;

use crate::chance::Chance;
use crate::clock::Clock;

/// How long a server may take to start or to stop; a minute for a slow, busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The pause between two looks at something that cannot call back.
const POLL: Duration = Duration::from_millis(10);
/// Unix socket paths are limited to 107 bytes; the longest name that we put into a directory has 20.
const LONGEST_SOCKET_DIRECTORY: usize = 86;

/// What went wrong with a private store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{0}")]
    Missing(#[from] Missing),
    #[error("{doing}: {source}")]
    Io { doing: String, source: std::io::Error },
    #[error("{program} failed: {output}")]
    Failed { program: String, output: String },
    #[error("{program} did not become ready; the end of {}:\n{log_end}", log.display())]
    NotReady {
        program: &'static str,
        log: PathBuf,
        log_end: String,
    },
    #[error("{program} did not stop within {} s", PATIENCE.as_secs())]
    NotStopped { program: &'static str },
    #[error("{} belongs to somebody else; remove it", .0.display())]
    Foreign(PathBuf),
}

/// Names what was being done when the operating system refused it.
fn while_doing(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> StoreError {
    let doing = doing.into();
    move |source| StoreError::Io { doing, source }
}

/// Looks again and again until `seen` is true; false when patience ran out.
fn wait_until(mut seen: impl FnMut() -> bool) -> bool {
    let clock = Clock::default();
    let start = clock.monotonic();
    loop {
        if seen() {
            return true;
        }
        if clock.elapsed_since(start) > PATIENCE {
            return false;
        }
        std::thread::sleep(POLL);
    }
}

/// A new place for files that go when their server goes.
fn temporary_directory(of: &str) -> PathBuf {
    std::env::temp_dir().join(format!("faircross-{of}-{}", &Chance.token()[..12]))
}
