//! Redis: does it answer, does it keep what it is given, and what time is it there?

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ConnectionAddr, InfoDict, RedisError};
use secrecy::ExposeSecret;
use tokio::time::timeout;

use super::{PATIENCE, Report, ahead_ms};
use crate::clock::Clock;
use crate::settings::RedisSettings;

/// The oldest version whose commands the scripts need.
const OLDEST: (u32, u32) = (6, 2);

pub(super) async fn check(report: &mut Report, settings: &RedisSettings, clock: Clock) {
    let remedy = "start Redis, or correct REDIS_URL";
    if let Err(error) = settings.required_url() {
        return report.fail("redis", error.to_string(), remedy);
    }
    match timeout(PATIENCE, ask(settings, clock)).await {
        Ok(Ok(answers)) => judge(report, settings, &answers),
        Ok(Err(error)) => report.fail("redis", format!("cannot be used: {error}"), remedy),
        Err(_) => report.fail("redis", format!("did not answer within {} s", PATIENCE.as_secs()), remedy),
    }
}

struct Answers {
    info: InfoDict,
    /// How far its clock is ahead of ours.
    ahead_ms: i64,
    /// `None` where CONFIG is not allowed.
    appendfsync: Option<String>,
}

async fn ask(settings: &RedisSettings, clock: Clock) -> Result<Answers, RedisError> {
    let client = redis::Client::open(settings.url.expose_secret())?;
    // Our patience is the whole check's; the library's own would be half a second for each command.
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    let info = redis::cmd("INFO").query_async(&mut connection).await?;
    let before = clock.now().timestamp_millis();
    let (seconds, microseconds): (i64, i64) = redis::cmd("TIME").query_async(&mut connection).await?;
    let after = clock.now().timestamp_millis();
    Ok(Answers {
        info,
        ahead_ms: ahead_ms(seconds * 1000 + microseconds / 1000, before, after),
        appendfsync: appendfsync(&mut connection).await,
    })
}

async fn appendfsync(connection: &mut MultiplexedConnection) -> Option<String> {
    let answer: Result<Vec<String>, RedisError> = redis::cmd("CONFIG").arg("GET").arg("appendfsync").query_async(connection).await;
    answer.ok()?.into_iter().nth(1)
}

fn judge(report: &mut Report, settings: &RedisSettings, answers: &Answers) {
    let text = |name: &str| answers.info.get::<String>(name).unwrap_or_default();
    let version = text("redis_version");
    report.ok("redis", "answers");
    report.check("redis version", is_recent(&version), version, "install Redis 6.2 or later");
    let role = text("role");
    report.check(
        "redis role",
        role != "slave",
        role,
        "point REDIS_URL to the primary: a replica takes no writes",
    );

    let policy = text("maxmemory_policy");
    let remedy =
        "set maxmemory-policy noeviction (CONFIG SET, and in redis.conf): another policy may drop open rounds; see config/redis.conf";
    report.check("redis eviction", policy == "noeviction", policy, remedy);
    match answers.info.get::<u64>("maxmemory") {
        Some(0) => report.warn(
            "redis memory",
            "no limit",
            "set maxmemory (400mb), so that Redis refuses writes before the machine kills it",
        ),
        Some(bytes) => report.ok("redis memory", format!("{} MB at most", bytes >> 20)),
        None => {}
    }
    check_persistence(report, answers);
    check_protection(report, settings);
    report.clock("redis clock", answers.ahead_ms);
}

fn check_persistence(report: &mut Report, answers: &Answers) {
    let name = "redis persistence";
    if answers.info.get::<u8>("aof_enabled") != Some(1) {
        let remedy =
            "set appendonly yes (CONFIG SET, and in redis.conf): a restart forgets every open round otherwise; see config/redis.conf";
        return report.fail(name, "the append-only file is off", remedy);
    }
    let failed = ["aof_last_write_status", "aof_last_bgrewrite_status"]
        .iter()
        .find(|name| answers.info.get::<String>(name).is_some_and(|status| status != "ok"));
    if let Some(status) = failed {
        return report.fail(
            name,
            format!("{status} is not ok: writing to disk fails"),
            "look into Redis's log; the disk may be full",
        );
    }
    match answers.appendfsync.as_deref() {
        Some("no") => report.warn(
            name,
            "the append-only file is on, but appendfsync is no",
            "set appendfsync everysec; see config/redis.conf",
        ),
        _ => report.ok(name, "the append-only file is on"),
    }
}

/// Open outcomes are in Redis: whoever reads it knows the road ahead.
fn check_protection(report: &mut Report, settings: &RedisSettings) {
    let Ok(client) = redis::Client::open(settings.url.expose_secret()) else {
        return;
    };
    let connection = client.get_connection_info();
    let host = match connection.addr() {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.as_str(),
        _ => "",
    };
    let local = host.is_empty() || host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let open = !local && connection.redis_settings().password().is_none();
    if open {
        let remedy = "set requirepass or an ACL user: whoever reads Redis can see the road ahead of every open round";
        report.warn("redis protection", "on another machine, without a password", remedy);
    } else {
        report.ok("redis protection", if local { "on this machine" } else { "with a password" });
    }
}

fn is_recent(version: &str) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= OLDEST
}

#[cfg(test)]
mod tests {
    use super::is_recent;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(["6.2.0", "7.0.15", "10.1.0", "255.255.255"].into_iter().all(is_recent));
        assert!(!["6.0.16", "5.9.9", "2.8", "", "x.y"].into_iter().any(is_recent));
    }
}
