//! faircross: a provably-fair step crash game backend. `ARCHITECTURE.md` is the map of this house.

pub mod game;

#[cfg(feature = "server")]
pub mod audit;
#[cfg(feature = "server")]
pub mod chance;
#[cfg(feature = "server")]
pub mod clock;
#[cfg(feature = "server")]
pub mod commands;
#[cfg(feature = "server")]
pub mod failpoint;
#[cfg(feature = "server")]
pub mod http;
#[cfg(feature = "server")]
pub mod jobs;
#[cfg(feature = "server")]
pub mod ledger;
#[cfg(feature = "server")]
pub mod live;
#[cfg(feature = "server")]
pub mod operator;
#[cfg(feature = "server")]
pub mod per_runtime;
#[cfg(feature = "server")]
pub mod play;
#[cfg(feature = "server")]
pub mod restore;
#[cfg(feature = "server")]
pub mod settings;
#[cfg(feature = "server")]
pub mod stores;
#[cfg(feature = "server")]
pub mod wallet;
