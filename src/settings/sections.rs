//! The sections as types. What each key means is written once, in `config/default.toml`; here stands what is not plain
//! from the name. `rules.rs` says which values make sense.

use std::net::IpAddr;

use ipnet::IpNet;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, de::Error};
use url::Url;

/// All settings but the secrets.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub server: ServerSettings,
    pub database: DatabaseSettings,
    pub redis: RedisSettings,
    pub game: GameSettings,
    pub session: SessionSettings,
    pub rate_limit: RateLimitSettings,
    pub wallet: WalletSettings,
    pub recovery: RecoverySettings,
    pub jobs: JobSettings,
    pub log: LogSettings,
    pub clock: ClockSettings,
}

/// `[server]`: where this process listens and whom it believes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    pub bind: IpAddr,
    pub port: u16,
    pub workers: usize,
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    #[serde(deserialize_with = "networks")]
    pub metrics_allow: Vec<IpNet>,
    #[serde(deserialize_with = "address")]
    pub frontend_url: Url,
    pub drain_delay_s: u64,
    pub shutdown_timeout_s: u64,
}

/// `[database]`: PostgreSQL.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSettings {
    /// Empty when not set; it holds a password, so it is a secret. See [`DatabaseSettings::required_url`].
    pub url: SecretString,
    pub max_connections: u32,
    pub acquire_timeout_ms: u64,
    pub statement_timeout_ms: u64,
    pub lock_timeout_ms: u64,
    pub probe_timeout_ms: u64,
}

/// `[redis]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisSettings {
    /// Empty when not set; it may hold a password, so it is a secret. See [`RedisSettings::required_url`].
    pub url: SecretString,
    /// Empty: the authorities that the machine trusts.
    pub ca_file: String,
    /// Empty, as the key is: none is shown.
    pub client_certificate_file: String,
    pub client_key_file: String,
    pub command_timeout_ms: u64,
    pub locks: bool,
}

/// `[game]`: the one game that is served, and how operators know it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GameSettings {
    pub enabled: bool,
    pub session_ttl_s: u64,
    /// Empty: the built-in configuration.
    pub configuration_file: String,
    pub platform: String,
    pub game_type: String,
    pub game_code: String,
    pub game_name: String,
    pub settle_type: String,
}

/// `[session]`: how long tokens live.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionSettings {
    pub token_ttl_s: u64,
    pub launch_token_ttl_s: u64,
}

/// `[rate_limit]`: so many requests of a player in a window.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimitSettings {
    pub requests: u32,
    pub window_ms: u32,
    pub in_flight: u32,
}

/// `[wallet]`: the calls to operators.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WalletSettings {
    pub bet_timeout_ms: u64,
    pub call_timeout_ms: u64,
    pub debit_within_ms: u64,
    /// Never empty; the last wait repeats.
    pub retry_schedule_s: Vec<u64>,
    pub retry_jitter_percent: u8,
    pub second_cancel_after_s: u64,
    pub human_after_s: u64,
    pub lease_s: u64,
    pub concurrency_per_agent: u32,
    pub connection_rest_ms: u64,
    pub breaker_calls: u32,
    pub breaker_open_ms: u64,
    pub allow_private_callbacks: bool,
}

impl WalletSettings {
    /// How long after its intent a debit can be on its way at most, in seconds: then the second cancel goes out.
    pub fn debit_is_over_after_s(&self) -> u64 {
        self.debit_within_ms.div_ceil(1_000).saturating_add(self.second_cancel_after_s)
    }
}

/// `[recovery]`: what brings every bet to its end.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoverySettings {
    pub sweep_every_ms: u64,
    pub pending_after_ms: u64,
    pub drain_every_ms: u64,
    pub probe_every_ms: u64,
}

/// `[jobs]`: the schedule (cron with six fields, UTC) and what the clean-ups keep.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSettings {
    pub wallet_retry: String,
    pub bet_cleanup: String,
    pub wallet_audit_cleanup: String,
    pub archive_after_days: u32,
    pub retention_days: u32,
    pub cleanup_batch: u32,
    pub cleanup_slice_ms: u64,
}

/// `[log]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    pub filter: String,
    pub format: LogFormat,
}

/// For whom log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines, an object a line.
    Json,
}

/// `[clock]`: a test switch.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockSettings {
    pub offset_ms: i64,
}

/// Networks; an address alone is the network of that one address.
fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    Vec::<String>::deserialize(deserializer)?
        .iter()
        .map(|text| network(text.trim()).map_err(D::Error::custom))
        .collect()
}

fn network(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address
        .or_else(|_| text.parse::<IpNet>())
        .map_err(|_| format!("{text:?} is neither an address nor a network such as 10.0.0.0/8"))
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    let text = String::deserialize(deserializer)?;
    Url::parse(&text).map_err(|_| D::Error::custom(format!("{text:?} is not an address such as https://play.example.com")))
}
