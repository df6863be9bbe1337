//! `faircross doctor` on a right set-up and on wrong ones, each set up for real: the one thing that is wrong is named, with what
//! to do, and nothing else is.

use std::io::Write;
use std::sync::LazyLock;

use faircross::chance::Chance;
use faircross::commands::doctor::{Finding, Report, Verdict, examine};
use faircross::ledger::MIGRATIONS;
use faircross::ledger::sealing::{Sealing, certificate_row};
use faircross::settings::Environment;
use faircross::stores::{Durability, PostgresCluster, RedisServer};
use tempfile::NamedTempFile;

/// A PostgreSQL that keeps what is committed, unlike the other tests'. Its database `right` is looked at and never changed;
/// `template` is only copied, because a database to which somebody is connected cannot be.
static DURABLE: LazyLock<PostgresCluster> = LazyLock::new(|| {
    let cluster = PostgresCluster::temporary(Durability::Durable, &[]).expect("PostgreSQL starts");
    cluster.create_database("template", None).expect("a database");
    migrate(&cluster, "template");
    cluster.create_database("right", Some("template")).expect("a copy");
    cluster
});

/// As `config/redis.conf` has it.
static REDIS: LazyLock<RedisServer> = LazyLock::new(|| RedisServer::temporary(&[]).expect("Redis starts"));

/// With which the agents' certificates are sealed; drawn, because a written one would be a published one.
static SEALING_KEY: LazyLock<[u8; 32]> = LazyLock::new(|| Chance.bytes_32());

fn migrate(cluster: &PostgresCluster, database: &str) {
    let url = cluster.url(database);
    let migration = async move {
        let pool = sqlx::PgPool::connect(&url).await.expect("connected");
        MIGRATIONS.run(&pool).await.expect("migrated");
        pool.close().await;
    };
    // A thread of its own, because the first test to come here may be inside a runtime.
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(migration)
    };
    std::thread::scope(|scope| scope.spawn(runtime).join().expect("migrated"));
    add_agent(cluster, database, "casino", "https://8.8.8.8/callback", "{192.0.2.0/24}");
}

fn add_agent(cluster: &PostgresCluster, database: &str, agent_id: &str, callback_url: &str, addresses: &str) {
    let certificate = hex::encode(Sealing::new(&SEALING_KEY, Chance).seal(&certificate_row(agent_id), "certificate"));
    let statement = format!(
        "insert into agents (agent_id, certificate_sealed, callback_url, allowed_addresses, currencies)
         values ('{agent_id}', '\\x{certificate}', '{callback_url}', '{addresses}', '{{INR}}')"
    );
    cluster.execute(database, &statement).expect("an agent");
}

/// A copy of the right database, to be spoilt.
fn copy(name: &str) -> String {
    DURABLE.create_database(name, Some("template")).expect("a copy")
}

fn random_key() -> String {
    hex::encode(Chance.bytes_32())
}

/// The report on the right set-up with these variables changed (an empty value removes one).
async fn report_with(changes: &[(&str, &str)]) -> Report {
    let right = [
        ("DATABASE_URL", DURABLE.url("right")),
        ("REDIS_URL", REDIS.url()),
        ("FAIRCROSS__SECRETS__JWT_KEY", random_key()),
        ("FAIRCROSS__SECRETS__SEALING_KEY", hex::encode(*SEALING_KEY)),
    ];
    let kept = right
        .into_iter()
        .filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    let changed = changes
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (*name, (*value).to_owned()));
    examine(None, &Environment::of(kept.chain(changed))).await
}

fn named(report: &Report, verdict: Verdict) -> Vec<&str> {
    let of_verdict = report.findings.iter().filter(|finding| finding.verdict == verdict);
    // The tests' binary has failpoints, which doctor is right to mention.
    of_verdict
        .map(|finding| finding.name.as_str())
        .filter(|name| *name != "build")
        .collect()
}

/// Asserts that exactly this fails, and that it says what was found and what to do.
fn assert_only_failure<'a>(report: &'a Report, name: &str, found: &str, remedy: &str) -> &'a Finding {
    assert_eq!(named(report, Verdict::Fail), [name], "{report}");
    let finding = report.findings.iter().find(|finding| finding.name == name).expect("it was named");
    assert!(finding.found.contains(found) && finding.remedy.contains(remedy), "{finding:?}");
    assert!(report.has_failures());
    finding
}

#[tokio::test]
async fn a_right_set_up_is_right() {
    let report = report_with(&[]).await;
    assert!(!report.has_failures(), "{report}");
    assert_eq!(named(&report, Verdict::Warn), [] as [&str; 0], "{report}");
    assert!(report.findings.len() >= 20, "{report}");
    for (name, found) in [("postgres", "our limits in force"), ("postgres oldest transaction", "s old")] {
        let named = report.findings.iter().find(|finding| finding.name == name);
        assert!(named.is_some_and(|finding| finding.found.contains(found)), "{report}");
    }
}

#[tokio::test]
async fn redis_that_is_not_there() {
    let report = report_with(&[("REDIS_URL", "redis+unix:///nowhere/redis.sock")]).await;
    assert_only_failure(&report, "redis", "cannot be used", "start Redis");
    assert!(
        named(&report, Verdict::Ok).contains(&"postgres migrations"),
        "the rest is checked all the same: {report}"
    );
    let report = report_with(&[("REDIS_URL", "")]).await;
    assert_only_failure(&report, "redis", "is not set", "REDIS_URL");
}

#[tokio::test]
async fn redis_that_wants_a_password() {
    let redis = RedisServer::temporary(&[("requirepass", "sesame")]).expect("Redis starts");
    let report = report_with(&[("REDIS_URL", &redis.url())]).await;
    assert_only_failure(&report, "redis", "NOAUTH", "REDIS_URL");
}

#[tokio::test]
async fn redis_that_may_evict_sessions() {
    let redis = RedisServer::temporary(&[("maxmemory-policy", "allkeys-lru")]).expect("Redis starts");
    let report = report_with(&[("REDIS_URL", &redis.url())]).await;
    assert_only_failure(&report, "redis eviction", "allkeys-lru", "maxmemory-policy noeviction");
}

#[tokio::test]
async fn redis_without_the_append_only_file() {
    let redis = RedisServer::temporary(&[("appendonly", "no")]).expect("Redis starts");
    let report = report_with(&[("REDIS_URL", &redis.url())]).await;
    assert_only_failure(&report, "redis persistence", "off", "appendonly yes");
}

#[tokio::test]
async fn redis_that_is_a_replica() {
    let redis = RedisServer::temporary(&[("replicaof", "127.0.0.1 1")]).expect("Redis starts");
    let report = report_with(&[("REDIS_URL", &redis.url())]).await;
    assert_only_failure(&report, "redis role", "slave", "primary");
}

#[tokio::test]
async fn redis_that_hangs() {
    let mut redis = RedisServer::temporary(&[]).expect("Redis starts");
    redis.signal("STOP").expect("stopped");
    let report = report_with(&[("REDIS_URL", &redis.url())]).await;
    assert_only_failure(&report, "redis", "", "start Redis");
}

#[tokio::test]
async fn redis_without_limits_is_warned_about() {
    let redis = RedisServer::temporary(&[("maxmemory", "0"), ("appendfsync", "no")]).expect("Redis starts");
    let report = report_with(&[("REDIS_URL", &redis.url())]).await;
    assert!(!report.has_failures(), "{report}");
    assert_eq!(named(&report, Verdict::Warn), ["redis memory", "redis persistence"], "{report}");
}

#[tokio::test]
async fn postgres_that_is_not_there() {
    let report = report_with(&[("DATABASE_URL", "postgres://faircross@localhost/right?host=/nowhere")]).await;
    assert_only_failure(&report, "postgres", "cannot be used", "DATABASE_URL");
    let report = report_with(&[("DATABASE_URL", &DURABLE.url("nothing"))]).await;
    assert_only_failure(&report, "postgres", "does not exist", "DATABASE_URL");
    let report = report_with(&[("DATABASE_URL", "")]).await;
    assert_only_failure(&report, "postgres", "is not set", "DATABASE_URL");
}

#[tokio::test]
async fn postgres_that_loses_commits() {
    let url = copy("loses_commits");
    DURABLE
        .execute("postgres", "alter database loses_commits set synchronous_commit = off")
        .expect("altered");
    let report = report_with(&[("DATABASE_URL", &url)]).await;
    assert_only_failure(&report, "postgres synchronous_commit", "off", "synchronous_commit = on");
}

#[tokio::test]
async fn postgres_without_fsync() {
    let cluster = PostgresCluster::temporary(Durability::Durable, &[("fsync", "off")]).expect("PostgreSQL starts");
    cluster.create_database("volatile", None).expect("a database");
    migrate(&cluster, "volatile");
    let report = report_with(&[("DATABASE_URL", &cluster.url("volatile"))]).await;
    assert_only_failure(&report, "postgres fsync", "off", "fsync = on");
}

#[tokio::test]
async fn postgres_that_takes_no_writes() {
    let url = copy("read_only");
    DURABLE
        .execute("postgres", "alter database read_only set default_transaction_read_only = on")
        .expect("altered");
    let report = report_with(&[("DATABASE_URL", &url)]).await;
    assert_only_failure(&report, "postgres writable", "takes no writes", "primary");
}

#[tokio::test]
async fn postgres_with_too_few_connections() {
    let report = report_with(&[("FAIRCROSS__DATABASE__MAX_CONNECTIONS", "5000")]).await;
    assert_only_failure(&report, "postgres connections", "5000 for this server", "max_connections");
}

#[tokio::test]
async fn a_schema_that_is_not_there_or_not_ours() {
    let url = DURABLE.create_database("empty", None).expect("a database");
    let report = report_with(&[("DATABASE_URL", &url)]).await;
    assert_only_failure(&report, "postgres migrations", "missing", "faircross migrate");

    let url = copy("newer");
    let newer = "insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (99990101, 'later', true, '\\x00', 1)";
    DURABLE.execute("newer", newer).expect("inserted");
    let report = report_with(&[("DATABASE_URL", &url)]).await;
    assert_only_failure(
        &report,
        "postgres migrations",
        "99990101 are not this version's",
        "version of faircross",
    );
}

#[tokio::test]
async fn a_record_that_is_behind_its_mark() {
    let redis = RedisServer::temporary(&[]).expect("Redis starts");
    let system = DURABLE
        .execute("right", "select system_identifier from pg_control_system()")
        .expect("PostgreSQL answers");
    let mark = async |system: &str| {
        let client = redis::Client::open(redis.url()).expect("a url");
        let mut connection = client.get_multiplexed_async_connection().await.expect("Redis answers");
        let mut command = redis::cmd("HSET");
        command.arg("record-mark").arg("system").arg(system).arg("timeline").arg("00000001");
        command
            .arg("sequence")
            .arg(7)
            .arg("betId")
            .arg("3f0d0d4e-6a10-4b7a-9a0e-6a5b0f6f0c11");
        command.query_async::<()>(&mut connection).await.expect("written");
    };
    mark(&system).await;
    let report = report_with(&[("REDIS_URL", &redis.url())]).await;
    assert_only_failure(&report, "record mark", "is behind", "faircross restore");
    mark("1").await;
    let report = report_with(&[("REDIS_URL", &redis.url())]).await;
    assert!(!report.has_failures(), "{report}");
    assert_eq!(named(&report, Verdict::Warn), ["record mark"], "{report}");
    let unfinished = copy("unfinished");
    DURABLE
        .execute("unfinished", "insert into restores default values")
        .expect("written");
    let report = report_with(&[("DATABASE_URL", &unfinished)]).await;
    assert_only_failure(&report, "record mark", "not come to its end", "faircross restore");
}

#[tokio::test]
async fn a_clock_that_is_wrong() {
    for offset_ms in ["5000", "-3600000"] {
        let report = report_with(&[("FAIRCROSS__CLOCK__OFFSET_MS", offset_ms)]).await;
        assert_eq!(named(&report, Verdict::Fail), ["redis clock", "postgres clock"], "{report}");
        assert_eq!(named(&report, Verdict::Warn), ["switches"], "{report}");
        assert!(report.to_string().contains("NTP"), "{report}");
    }
}

#[tokio::test]
async fn secrets_that_are_none() {
    let published = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for (value, remedy) in [("", "is not set"), (published, "published"), ("f00", "malformed")] {
        let report = report_with(&[("FAIRCROSS__SECRETS__SEALING_KEY", value)]).await;
        let finding = assert_only_failure(&report, "secrets", "FAIRCROSS__SECRETS__SEALING_KEY", remedy);
        assert!(finding.remedy.contains("openssl rand -hex 32"), "{finding:?}");
        assert!(value.is_empty() || !report.to_string().contains(value), "{report}");
    }
}

#[tokio::test]
async fn a_sealing_key_that_is_not_this_database_s() {
    let report = report_with(&[("FAIRCROSS__SECRETS__SEALING_KEY", &random_key())]).await;
    assert_only_failure(&report, "sealing key", "casino", "FAIRCROSS__SECRETS__SEALING_KEY");
}

#[tokio::test]
async fn agents_that_cannot_call_or_be_called() {
    let cases = [
        (
            "agent_silent",
            "https://8.8.8.8/",
            "{}",
            "agent other addresses",
            "1029",
            "--allow-ip",
        ),
        (
            "agent_private",
            "http://10.1.2.3/",
            "{192.0.2.1/32}",
            "agent other callback",
            "not a public one",
            "ALLOW_PRIVATE_CALLBACKS",
        ),
        (
            "agent_unknown",
            "https://wallet.invalid/",
            "{192.0.2.1/32}",
            "agent other callback",
            "wallet.invalid",
            "DNS",
        ),
        (
            "agent_no_url",
            "wallet",
            "{192.0.2.1/32}",
            "agent other callback",
            "is no url",
            "faircross agent add",
        ),
    ];
    for (database, callback_url, addresses, name, found, remedy) in cases {
        let url = copy(database);
        add_agent(&DURABLE, database, "other", callback_url, addresses);
        let report = report_with(&[("DATABASE_URL", &url)]).await;
        assert_only_failure(&report, name, found, remedy);
    }
}

#[tokio::test]
async fn agents_that_are_open_or_absent_are_warned_about() {
    let url = copy("agent_open");
    add_agent(&DURABLE, "agent_open", "other", "http://8.8.4.4/", "{0.0.0.0/0}");
    let report = report_with(&[("DATABASE_URL", &url)]).await;
    assert_eq!(
        named(&report, Verdict::Warn),
        ["agent other addresses", "agent other callback"],
        "{report}"
    );
    DURABLE.execute("agent_open", "delete from agents").expect("deleted");
    let report = report_with(&[("DATABASE_URL", &url)]).await;
    assert_eq!(named(&report, Verdict::Warn), ["agents"], "{report}");
    assert!(!report.has_failures());
}

#[tokio::test]
async fn proxies_that_are_not_known() {
    let report = report_with(&[("FAIRCROSS__SERVER__TRUSTED_PROXIES", "10.0.0.1,0.0.0.0/0")]).await;
    assert_only_failure(&report, "trusted proxies", "any caller", "server.trusted_proxies");
    let report = report_with(&[("FAIRCROSS__SERVER__FRONTEND_URL", "http://play.example.com")]).await;
    assert_eq!(named(&report, Verdict::Warn), ["trusted proxies", "frontend address"], "{report}");
    let report = report_with(&[("FAIRCROSS__SERVER__BIND", "0.0.0.0")]).await;
    assert_eq!(named(&report, Verdict::Warn), ["trusted proxies"], "{report}");
}

#[tokio::test]
async fn settings_that_are_wrong() {
    let report = report_with(&[("FAIRCROSS__SERVER__PROT", "80")]).await;
    assert_only_failure(&report, "settings", "FAIRCROSS__SERVER__PROT", "config/default.toml");
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(b"{}").expect("written");
    let path = file.path().display().to_string();
    let report = report_with(&[("FAIRCROSS__GAME__CONFIGURATION_FILE", &path)]).await;
    assert_only_failure(&report, "game configuration", &path, "correct the file");
    let report = report_with(&[("FAIRCROSS__REDIS__LOCKS", "false")]).await;
    assert_eq!(named(&report, Verdict::Warn), ["switches"], "{report}");
}

/// Only the build with failpoints lets a deadline be short enough to be found here.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_deadline_that_is_too_short() {
    let report = report_with(&[("FAIRCROSS__GAME__SESSION_TTL_S", "5")]).await;
    assert_only_failure(&report, "deadline of a round", "5 s", "120 or more");
}
