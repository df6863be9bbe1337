//! The round being played, in Redis: sessions, locks, players' standing, the public road. All of it may be lost at any moment and is
//! rebuilt from PostgreSQL; no money is computed or kept here.
//!
//! Every change of state is one Lua script in `lua/` with one typed function here, and one round trip. Scripts are idempotent, because a
//! command that ran into its deadline may have run. A value that cannot be read is logged without its contents, counted
//! (`faircross_redis_unreadable_values_total`) and treated as missing, and writers overwrite it: so it is rebuilt like any value that was lost.

mod callers;
mod connection;
mod fitness;
mod hazards;
pub mod keys;
mod locks;
mod mark;
mod players;
mod presence;
mod reign;
mod reply;
mod scripts;
mod server_info;
mod sessions;
mod tls;

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

pub use callers::{BeginBet, Caller, GateRefusal, RateLimit};
pub use fitness::{NEEDED, Unfit, is_recent};
pub use hazards::{HazardRecord, Publish};
pub use mark::RecordMark;
pub use players::PlayerStanding;
pub use scripts::hash_of_step;
pub use server_info::{MEMORY_WARNING_RATIO, ServerInfo, used_bytes};
pub use sessions::{Move, NamedRound, NewSession, OpenSession, Progress, ReadSession, Session};
pub use tls::{TlsFiles, client};

/// The longest that a command may take, whatever the settings say: a player is told within half a second that Redis is down.
pub const LONGEST_COMMAND_TIMEOUT_MS: u64 = if cfg!(feature = "failpoints") { 60_000 } else { 400 };

/// How to reach Redis.
#[derive(Clone)]
pub struct LiveSettings {
    /// `redis://[user:password@]host:port[/db]`, `rediss://` likewise with TLS, `unix:///path` or `redis+unix:///path`. May hold a password.
    pub url: SecretString,
    /// What `rediss://` trusts and shows.
    pub tls: TlsFiles,
    /// The deadline of one command, at most [`LONGEST_COMMAND_TIMEOUT_MS`].
    pub command_timeout_ms: u64,
    /// Whether bet and job locks are taken. Off only in tests, which prove that no money rests on them.
    pub locks_enabled: bool,
}

/// Everything that is kept in Redis. Clones share their connections.
#[derive(Clone)]
pub struct Live {
    connection: connection::Connection,
    locks_enabled: bool,
}

/// Why Redis gave no answer that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LiveError {
    /// Down, too slow or still loading. Whether a command ran is unknown.
    #[error("Redis cannot be used: {0}")]
    Unreachable(String),
    /// Out of memory: what begins something is refused and did not run. Open rounds go on.
    #[error("Redis is full: what is written into it has reached maxmemory")]
    Full,
    /// It answers, but cannot be used as it is set up or at the moment.
    #[error("Redis cannot be used: {0}")]
    Unfit(Unfit),
    /// The value of this key is not what belongs there and nothing rebuilds it by itself.
    #[error("the value of {key} cannot be read")]
    Unreadable {
        /// The key; its value is never shown.
        key: String,
    },
}

impl Live {
    /// Prepares the connection; it is made by the first command, so Redis may be down at start.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`] when the url cannot be understood, or a file that TLS needs cannot be read.
    pub fn connect(settings: &LiveSettings) -> Result<Self, LiveError> {
        let deadline = Duration::from_millis(settings.command_timeout_ms.min(LONGEST_COMMAND_TIMEOUT_MS));
        let client = client(settings.url.expose_secret(), &settings.tls)?;
        let connection = connection::Connection::prepare(client, deadline);
        Ok(Self {
            connection,
            locks_enabled: settings.locks_enabled,
        })
    }

    /// Round trips issued since the start, script reloads included; also the metric `faircross_redis_round_trips_total`.
    pub fn round_trips(&self) -> u64 {
        self.connection.round_trips()
    }
}

/// Records that a value cannot be read, by its key and never by its contents.
fn unreadable(key: &str) -> LiveError {
    tracing::error!(key, "unreadable value in Redis");
    metrics::counter!("faircross_redis_unreadable_values_total").increment(1);
    LiveError::Unreadable { key: key.to_owned() }
}
