//! Where the servers' programs are, and what to install when they are not there.

use std::path::{Path, PathBuf};

use super::StoreError;

/// A program that is not on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{program} was not found in PATH{also}: install it (Debian and Ubuntu: apt-get install {package})")]
pub struct Missing {
    program: &'static str,
    also: &'static str,
    /// The Debian package that brings it.
    pub package: &'static str,
}

const REDIS: Missing = Missing {
    program: "redis-server",
    also: "",
    package: "redis-server",
};
const POSTGRES: Missing = Missing {
    program: "PostgreSQL 14 or later",
    also: " or /usr/lib/postgresql",
    package: "postgresql",
};

/// What has to be installed before private stores can be started.
pub fn missing() -> Vec<Missing> {
    let mut missing = Vec::new();
    if redis_server().is_err() {
        missing.push(REDIS);
    }
    if postgres_directory().is_err() {
        missing.push(POSTGRES);
    }
    missing
}

pub(super) fn redis_server() -> Result<PathBuf, StoreError> {
    let found = search_path()
        .into_iter()
        .map(|directory| directory.join("redis-server"))
        .find(|program| program.is_file());
    found.ok_or_else(|| REDIS.into())
}

/// The directory with `initdb`, `postgres`, `pg_isready` and `psql`: the newest of Debian's versions, else what PATH has.
pub(super) fn postgres_directory() -> Result<PathBuf, StoreError> {
    let complete = |directory: &PathBuf| {
        ["initdb", "postgres", "pg_isready", "psql"]
            .iter()
            .all(|name| directory.join(name).is_file())
    };
    let versions = Path::new("/usr/lib/postgresql").read_dir().into_iter().flatten().flatten();
    let mut versions: Vec<u32> = versions
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|version| *version >= 14)
        .collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    let debian = versions
        .into_iter()
        .map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")));
    debian.chain(search_path()).find(complete).ok_or_else(|| POSTGRES.into())
}

fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/bin", "/usr/sbin", "/usr/local/bin"].map(PathBuf::from))
        .collect()
}
