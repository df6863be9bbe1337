//! Which values make sense, and why the others do not.

use std::path::Path;

use secrecy::ExposeSecret;
use tokio_cron_scheduler::Job;
use tracing_subscriber::filter::Targets;

use super::{Problem, Settings};
use crate::ledger::address::Address;

/// The shortest `game.session_ttl_s`, in seconds. Only the build with failpoints, which no release has, lets tests wait less.
pub const MINIMUM_SESSION_TTL_S: u64 = if cfg!(feature = "failpoints") { 1 } else { 120 };
/// The longest pause of what brings money to its place, in milliseconds. Only that build lets tests keep it still for longer.
const LONGEST_PAUSE_MS: u64 = if cfg!(feature = "failpoints") { 3_600_000 } else { 60_000 };
/// How long after its intent a debit may leave, in milliseconds: the second cancel comes after it. Only that build waits for a
/// machine that is busy with other tests.
const LONGEST_DEBIT_DELAY_MS: u64 = if cfg!(feature = "failpoints") { 60_000 } else { 2_000 };
/// How long after the last moment of a debit its second cancel comes at the earliest, in seconds: a debit that an operator still holds
/// then takes a stake that nobody gives back. Only that build, whose operator is simulated, waits for less.
const SOONEST_SECOND_CANCEL_S: u64 = if cfg!(feature = "failpoints") { 1 } else { 120 };
/// How long a probe of PostgreSQL may hang before bets are refused, in milliseconds. Only that build waits for a busy machine.
const LONGEST_PROBE_MS: u64 = if cfg!(feature = "failpoints") { 60_000 } else { 3_000 };
/// Five years, which regulators ask for, in days.
const MINIMUM_RETENTION_DAYS: u32 = 1827;
/// How long one command of Redis may take. Players are told within half a second that Redis is away; only tests, whose
/// machines may be busy with other things, wait longer.
const LONGEST_COMMAND_TIMEOUT_MS: u64 = crate::live::LONGEST_COMMAND_TIMEOUT_MS;
/// The longest that a wait may be, in seconds and milliseconds: a day.
const DAY_S: u64 = 86_400;
const DAY_MS: u64 = DAY_S * 1000;

pub(super) fn in_words(problems: &[Problem]) -> String {
    let lines = problems
        .iter()
        .map(|problem| format!("{} {}", problem.setting, problem.explanation));
    lines.collect::<Vec<_>>().join("\n")
}

/// All that is wrong, in the order of the file.
pub(super) fn problems(settings: &Settings) -> Vec<Problem> {
    let mut rules = Rules::default();
    rules.server(settings);
    rules.stores(settings);
    rules.game(settings);
    rules.wallet(settings);
    rules.background(settings);
    rules.0
}

/// What works, but should not be left so.
pub(super) fn warnings(settings: &Settings) -> Vec<Problem> {
    let mut rules = Rules::default();
    rules.require(
        settings.redis.locks,
        "redis.locks",
        "is false: a test switch, work is done more than once; remove it",
    );
    rules.require(
        settings.clock.offset_ms == 0,
        "clock.offset_ms",
        "is not 0: a test switch, this server's clock is wrong; remove it",
    );
    rules.require(
        !settings.wallet.allow_private_callbacks,
        "wallet.allow_private_callbacks",
        "is true: whoever adds an operator can make this server call addresses inside your network; turn it off unless all of them are yours",
    );
    rules.0
}

#[derive(Default)]
struct Rules(Vec<Problem>);

impl Rules {
    fn require(&mut self, holds: bool, setting: &str, otherwise: impl Into<String>) {
        if !holds {
            self.0.push(Problem {
                setting: setting.to_owned(),
                explanation: otherwise.into(),
            });
        }
    }

    fn between(&mut self, setting: &str, value: impl Into<u64>, minimum: u64, maximum: u64) {
        let value = value.into();
        let explanation = format!("is {value}, but must be from {minimum} to {maximum}");
        self.require((minimum..=maximum).contains(&value), setting, explanation);
    }

    fn text(&mut self, setting: &str, value: &str, longest: usize) {
        let well_formed =
            !value.is_empty() && value.len() <= longest && value.chars().all(|c| c.is_ascii_graphic() && c != '"' && c != '\\');
        self.require(
            well_formed,
            setting,
            format!("must be 1 to {longest} visible ASCII characters without quotes or spaces"),
        );
    }

    fn server(&mut self, settings: &Settings) {
        let server = &settings.server;
        self.between("server.workers", server.workers as u64, 1, 1024);
        self.between("server.drain_delay_s", server.drain_delay_s, 0, 600);
        self.between("server.shutdown_timeout_s", server.shutdown_timeout_s, 1, 600);
        let url = &server.frontend_url;
        let plain = matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none() && url.fragment().is_none();
        self.require(
            plain,
            "server.frontend_url",
            "must be an http or https address without a query, such as https://play.example.com",
        );
        self.between("rate_limit.requests", settings.rate_limit.requests, 1, 1_000_000);
        self.between("rate_limit.window_ms", settings.rate_limit.window_ms, 100, DAY_MS);
        self.between("rate_limit.in_flight", settings.rate_limit.in_flight, 1, 8_u64);
        self.between("session.token_ttl_s", settings.session.token_ttl_s, 1, 30 * DAY_S);
        self.between("session.launch_token_ttl_s", settings.session.launch_token_ttl_s, 1, DAY_S);
        let filter = settings.log.filter.parse::<Targets>().is_ok();
        self.require(
            filter,
            "log.filter",
            "is not a filter: write a level and exceptions, such as info,sqlx=warn",
        );
        self.require(
            settings.clock.offset_ms.unsigned_abs() <= 400 * DAY_MS,
            "clock.offset_ms",
            "must be within 400 days",
        );
    }

    /// The addresses may be empty here, because not every command needs both; `required_url` asks for them.
    fn stores(&mut self, settings: &Settings) {
        let database = &settings.database;
        let url = database.url.expose_secret();
        if !url.is_empty()
            && let Err(error) = Address::parse(url)
        {
            self.require(false, "database.url", error.to_string());
        }
        self.between("database.max_connections", database.max_connections, 3, 10_000);
        self.between("database.acquire_timeout_ms", database.acquire_timeout_ms, 100, 60_000);
        self.between("database.statement_timeout_ms", database.statement_timeout_ms, 100, 600_000);
        self.between("database.lock_timeout_ms", database.lock_timeout_ms, 10, 60_000);
        self.between("database.probe_timeout_ms", database.probe_timeout_ms, 10, LONGEST_PROBE_MS);
        let redis = &settings.redis;
        let url = redis.url.expose_secret();
        let readable = url.is_empty() || redis::parse_redis_url(url).is_some();
        self.require(
            readable,
            "redis.url",
            "cannot be read: it must look like redis://host:6379/0, rediss://host:6380/0 (TLS) or redis+unix:///path/to.sock",
        );
        for (setting, file) in [
            ("redis.ca_file", &redis.ca_file),
            ("redis.client_certificate_file", &redis.client_certificate_file),
            ("redis.client_key_file", &redis.client_key_file),
        ] {
            self.require(
                file.is_empty() || std::fs::File::open(file).is_ok(),
                setting,
                "names a file that cannot be read: it must be a file in PEM format, or empty",
            );
        }
        self.require(
            redis.client_certificate_file.is_empty() == redis.client_key_file.is_empty(),
            "redis.client_key_file",
            "goes with redis.client_certificate_file: set both or none",
        );
        self.between("redis.command_timeout_ms", redis.command_timeout_ms, 10, LONGEST_COMMAND_TIMEOUT_MS);
    }

    fn game(&mut self, settings: &Settings) {
        let game = &settings.game;
        self.between("game.session_ttl_s", game.session_ttl_s, MINIMUM_SESSION_TTL_S, 7 * DAY_S);
        let file = game.configuration_file.as_str();
        let there = file.is_empty() || Path::new(file).is_file();
        self.require(
            there,
            "game.configuration_file",
            format!("names {file:?}, which is no file; leave it empty for the built-in configuration"),
        );
        self.text("game.platform", &game.platform, 50);
        self.text("game.game_type", &game.game_type, 10);
        self.text("game.game_code", &game.game_code, 50);
        self.text("game.game_name", &game.game_name, 50);
        self.text("game.settle_type", &game.settle_type, 50);
    }

    fn wallet(&mut self, settings: &Settings) {
        let wallet = &settings.wallet;
        self.between("wallet.bet_timeout_ms", wallet.bet_timeout_ms, 10, 60_000);
        self.between("wallet.call_timeout_ms", wallet.call_timeout_ms, 10, 60_000);
        self.between("wallet.debit_within_ms", wallet.debit_within_ms, 1, LONGEST_DEBIT_DELAY_MS);
        let waits = &wallet.retry_schedule_s;
        self.require(
            !waits.is_empty(),
            "wallet.retry_schedule_s",
            "is empty, but must name at least one wait in seconds",
        );
        let bearable = waits.iter().all(|wait| *wait <= DAY_S);
        self.require(
            bearable,
            "wallet.retry_schedule_s",
            "has a wait of more than a day (86400 s), so money would stay open for too long",
        );
        let repeats = waits.last().is_none_or(|last| *last >= 1);
        self.require(
            repeats,
            "wallet.retry_schedule_s",
            "ends in 0, but the last wait repeats: it must be at least 1",
        );
        self.between("wallet.retry_jitter_percent", wallet.retry_jitter_percent, 0, 100);
        self.between(
            "wallet.second_cancel_after_s",
            wallet.second_cancel_after_s,
            SOONEST_SECOND_CANCEL_S,
            DAY_S,
        );
        self.between("wallet.human_after_s", wallet.human_after_s, 1, 30 * DAY_S);
        self.between("wallet.lease_s", wallet.lease_s, 1, 45);
        self.between("wallet.concurrency_per_agent", wallet.concurrency_per_agent, 1, 10_000);
        self.between("wallet.connection_rest_ms", wallet.connection_rest_ms, 0, 60_000);
        self.between("wallet.breaker_calls", wallet.breaker_calls, 1, 10_000);
        self.between("wallet.breaker_open_ms", wallet.breaker_open_ms, 1, 600_000);
    }

    fn background(&mut self, settings: &Settings) {
        let recovery = &settings.recovery;
        self.between("recovery.sweep_every_ms", recovery.sweep_every_ms, 10, LONGEST_PAUSE_MS);
        self.between("recovery.pending_after_ms", recovery.pending_after_ms, 10, 600_000);
        self.between("recovery.drain_every_ms", recovery.drain_every_ms, 10, LONGEST_PAUSE_MS);
        self.between("recovery.probe_every_ms", recovery.probe_every_ms, 10, LONGEST_PAUSE_MS);
        let jobs = &settings.jobs;
        self.schedule("jobs.wallet_retry", &jobs.wallet_retry);
        self.schedule("jobs.bet_cleanup", &jobs.bet_cleanup);
        self.schedule("jobs.wallet_audit_cleanup", &jobs.wallet_audit_cleanup);
        self.require(
            jobs.retention_days >= MINIMUM_RETENTION_DAYS,
            "jobs.retention_days",
            format!(
                "is {}, but regulators ask for five years: at least {MINIMUM_RETENTION_DAYS}",
                jobs.retention_days
            ),
        );
        self.between(
            "jobs.archive_after_days",
            jobs.archive_after_days,
            1,
            u64::from(jobs.retention_days.max(1)),
        );
        self.between("jobs.cleanup_batch", jobs.cleanup_batch, 1, 100_000);
        self.between("jobs.cleanup_slice_ms", jobs.cleanup_slice_ms, 1, 240_000);
    }

    fn schedule(&mut self, setting: &str, expression: &str) {
        let readable = expression.split_whitespace().count() == 6 && Job::new(expression, |_, _| {}).is_ok();
        let explanation =
            format!("is {expression:?}, but must be a cron expression with six fields (second first), such as \"0 0 2 * * *\"");
        self.require(readable, setting, explanation);
    }
}
