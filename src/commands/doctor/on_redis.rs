//! Redis: does it answer, does it keep what it is given, and what time is it there?

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ConnectionAddr, InfoDict, RedisError};
use secrecy::ExposeSecret as _;
use tokio::time::timeout;

use super::{PATIENCE, Report, ahead_ms};
use crate::clock::Clock;
use crate::live::{Live, LiveError, LiveSettings, MEMORY_WARNING_RATIO, Unfit, client, is_recent, used_bytes};
use crate::settings::RedisSettings;

type Failure = Box<dyn std::error::Error + Send + Sync>;

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
    /// `None` where CONFIG is not allowed, as the next one.
    appendfsync: Option<String>,
    stops_after_failed_snapshot: Option<String>,
    /// As the server itself would find.
    fitness: Result<(), LiveError>,
}

async fn ask(settings: &RedisSettings, clock: Clock) -> Result<Answers, Failure> {
    let client = client(settings.url.expose_secret(), &settings.tls_files())?;
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
        appendfsync: configured(&mut connection, "appendfsync").await,
        stops_after_failed_snapshot: configured(&mut connection, "stop-writes-on-bgsave-error").await,
        fitness: fitness(settings).await,
    })
}

async fn configured(connection: &mut MultiplexedConnection, name: &str) -> Option<String> {
    let answer: Result<Vec<String>, RedisError> = redis::cmd("CONFIG").arg("GET").arg(name).query_async(connection).await;
    answer.ok()?.into_iter().nth(1)
}

async fn fitness(settings: &RedisSettings) -> Result<(), LiveError> {
    let live = Live::connect(&LiveSettings {
        url: settings.url.clone(),
        tls: settings.tls_files(),
        command_timeout_ms: PATIENCE.as_secs() * 1000,
        locks_enabled: false,
    })?;
    live.fitness().await
}

fn judge(report: &mut Report, settings: &RedisSettings, answers: &Answers) {
    let text = |name: &str| answers.info.get::<String>(name).unwrap_or_default();
    let version = text("redis_version");
    report.ok("redis", "answers");
    report.check(
        "redis version",
        is_recent(&version),
        version,
        "install Redis 7.0 or later, or Valkey",
    );
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
    check_fitness(report, &answers.fitness);
    check_memory(report, &answers.info);
    check_persistence(report, answers);
    check_snapshots(report, answers);
    check_protection(report, settings);
    report.clock("redis clock", answers.ahead_ms);
}

/// What only Redis itself can say: whether it takes writes, and whether this user may do all that the server does.
fn check_fitness(report: &mut Report, fitness: &Result<(), LiveError>) {
    let name = "redis permissions";
    match fitness {
        Ok(()) => report.ok(name, "our user may do all that is needed"),
        Err(LiveError::Unfit(Unfit::Cluster)) => report.fail(
            "redis cluster",
            "it is part of a cluster, and Redis Cluster is not supported yet",
            "point REDIS_URL to a server with cluster-enabled no",
        ),
        Err(LiveError::Unfit(Unfit::Forbidden { what })) => {
            report.fail(
                name,
                format!("our user may not: {what}"),
                "give the user the rules of config/redis-acl.conf",
            );
        }
        Err(LiveError::Unfit(Unfit::WritesStopped { reason })) => report.fail(
            "redis writes",
            format!("Redis has stopped all writes: {reason}"),
            "set stop-writes-on-bgsave-error no (CONFIG SET, and in redis.conf), and look at its disk and its log; see config/redis.conf",
        ),
        // The version, the role and the memory have checks of their own.
        Err(LiveError::Unfit(Unfit::TooOld { .. } | Unfit::Replica) | LiveError::Full) => {}
        Err(error) => report.fail("redis", error.to_string(), "start Redis, or correct REDIS_URL"),
    }
}

fn check_memory(report: &mut Report, info: &InfoDict) {
    let name = "redis memory";
    let limit: u64 = info.get("maxmemory").unwrap_or(0);
    if limit == 0 {
        return report.warn(
            name,
            "no limit",
            "set maxmemory (400mb), so that Redis refuses bets before the machine kills it",
        );
    }
    let used = used_bytes(info).unwrap_or(0);
    let found = format!("{} % of {} MB in use", used.saturating_mul(100) / limit, limit >> 20);
    let remedy =
        "raise maxmemory (CONFIG SET, and in redis.conf), or find out what fills it (redis-cli --bigkeys): when it is full no bet is taken";
    if used >= limit {
        report.fail(name, format!("full: {found}"), remedy);
    } else if used as f64 >= limit as f64 * MEMORY_WARNING_RATIO {
        report.warn(name, found, remedy);
    } else {
        report.ok(name, found);
    }
}

/// A snapshot is for backups only; what it must not do is to stop rounds.
fn check_snapshots(report: &mut Report, answers: &Answers) {
    let name = "redis snapshots";
    let failed = answers
        .info
        .get::<String>("rdb_last_bgsave_status")
        .is_some_and(|status| status != "ok");
    if answers.stops_after_failed_snapshot.as_deref() == Some("yes") {
        let found = "a failed snapshot stops every round (stop-writes-on-bgsave-error yes)";
        let remedy = "set stop-writes-on-bgsave-error no (CONFIG SET, and in redis.conf): the append-only file is what keeps rounds";
        report.warn(name, found, remedy);
    } else if failed {
        let remedy = "look at Redis's disk and its log; rounds go on, because the append-only file keeps them";
        report.warn(name, "the last one failed (rdb_last_bgsave_status)", remedy);
    } else {
        report.ok(name, "a failed one stops nothing");
    }
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
    let Ok(client) = client(settings.url.expose_secret(), &settings.tls_files()) else {
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
