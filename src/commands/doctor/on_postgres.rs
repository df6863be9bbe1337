//! PostgreSQL: does it answer, does it keep what was committed, is its schema ours, and what time is it there?

use std::collections::BTreeMap;

use secrecy::ExposeSecret;
use sqlx::{PgConnection, query_as, query_scalar};
use tokio::time::timeout;

use super::{PATIENCE, Report, ahead_ms, on_agents};
use crate::clock::Clock;
use crate::ledger::address::Address;
use crate::ledger::limits::{Limits, check_apart};
use crate::ledger::{LedgerError, MIGRATIONS, sessions};
use crate::settings::{Secrets, Settings};

/// The oldest version that the schema is written for, as `server_version_num`.
const OLDEST: i32 = 140_000;

/// An open transaction that is older deserves a look, in seconds.
const LONGEST_TRANSACTION_S: i64 = 60;

pub(super) async fn check(report: &mut Report, settings: &Settings, secrets: Option<&Secrets>, clock: Clock) {
    let remedy = "start PostgreSQL, or correct DATABASE_URL (host, port, database, user and password)";
    if let Err(error) = settings.database.required_url() {
        return report.fail("postgres", error.to_string(), remedy);
    }
    let mut connection = match timeout(PATIENCE, connect(settings)).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return report.fail("postgres", format!("cannot be used: {error}"), remedy),
        Err(_) => return report.fail("postgres", format!("did not answer within {} s", PATIENCE.as_secs()), remedy),
    };
    report.ok("postgres", "answers, with our limits in force");
    if let Err(error) = ask_everything(report, settings, secrets, clock, &mut connection).await {
        report.fail("postgres", format!("could not be asked about itself: {error}"), "look into its log");
    }
}

/// As the server does: a limit that cannot be put in force, or a session that is not ours alone, fails here, by name.
pub(super) async fn connect(settings: &Settings) -> Result<PgConnection, sqlx::Error> {
    let address = Address::parse(settings.database.url.expose_secret())
        .map_err(|error| sqlx::Error::Configuration(error.into()))?
        .named("faircross doctor");
    let limits = Limits {
        statement_timeout_ms: settings.database.statement_timeout_ms,
        lock_timeout_ms: settings.database.lock_timeout_ms,
    };
    let (mut first, mut second) = (address.open(limits, PATIENCE).await?, address.open(limits, PATIENCE).await?);
    check_apart(&mut first, &mut second).await?;
    Ok(first.connection)
}

async fn ask_everything(
    report: &mut Report,
    settings: &Settings,
    secrets: Option<&Secrets>,
    clock: Clock,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    check_server(report, settings, connection).await?;
    let before = clock.now().timestamp_millis();
    let there: i64 = query_scalar("select (extract(epoch from clock_timestamp()) * 1000)::bigint")
        .fetch_one(&mut *connection)
        .await?;
    report.clock("postgres clock", ahead_ms(there, before, clock.now().timestamp_millis()));
    check_oldest_transaction(report, connection).await?;
    if check_migrations(report, connection).await? {
        on_agents::check(report, settings, secrets, connection).await?;
    }
    Ok(())
}

async fn check_server(report: &mut Report, settings: &Settings, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let names = "('server_version_num', 'server_version', 'fsync', 'synchronous_commit', 'full_page_writes', 'max_connections',
                  'superuser_reserved_connections', 'default_transaction_read_only', 'transaction_read_only')";
    let rows: Vec<(String, String)> = query_as(sqlx::AssertSqlSafe(format!(
        "select name, setting from pg_settings where name in {names}"
    )))
    .fetch_all(connection)
    .await?;
    let settings_there: BTreeMap<String, String> = rows.into_iter().collect();
    let text = |name: &str| settings_there.get(name).map_or("", String::as_str);
    let number = |name: &str| text(name).parse::<i32>().unwrap_or(0);

    report.check(
        "postgres version",
        number("server_version_num") >= OLDEST,
        text("server_version"),
        "install PostgreSQL 14 or later",
    );
    for name in ["fsync", "synchronous_commit", "full_page_writes"] {
        let remedy = format!("set {name} = on: without it a committed bet or settlement can be lost, and money with it");
        report.check(&format!("postgres {name}"), text(name) != "off", text(name), &remedy);
    }
    let read_only = text("transaction_read_only") == "on" || text("default_transaction_read_only") == "on";
    let found = if read_only { "takes no writes" } else { "takes writes" };
    report.check(
        "postgres writable",
        !read_only,
        found,
        "point DATABASE_URL to the primary, and set default_transaction_read_only = off",
    );
    let usable = number("max_connections") - number("superuser_reserved_connections");
    let wanted = settings.database.max_connections;
    let enough = u32::try_from(usable).is_ok_and(|usable| usable >= wanted);
    let found = format!("{usable} for all its clients, {wanted} for this server at most");
    report.check(
        "postgres connections",
        enough,
        found,
        "raise max_connections of PostgreSQL, or lower database.max_connections",
    );
    Ok(())
}

/// A transaction that is held open makes every bet of the house dearer, the longer the more.
async fn check_oldest_transaction(report: &mut Report, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let name = "postgres oldest transaction";
    match sessions::oldest_transaction_age_s(connection).await {
        Ok(age_s) if age_s < LONGEST_TRANSACTION_S => report.ok(name, format!("{age_s} s old")),
        Ok(age_s) => {
            let remedy =
                "find it in pg_stat_activity (the earliest xact_start) or pg_prepared_xacts, and end it: pg_terminate_backend(pid)";
            report.warn(
                name,
                format!("{age_s} s old: rows that were replaced since cannot be cleaned up"),
                remedy,
            );
        }
        Err(LedgerError::Unavailable(error)) => return Err(error),
        Err(error) => report.fail(name, error.to_string(), "look into its log"),
    }
    Ok(())
}

/// Whether the schema is this version's.
async fn check_migrations(report: &mut Report, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let name = "postgres migrations";
    let known: bool = query_scalar("select to_regclass('_sqlx_migrations') is not null")
        .fetch_one(&mut *connection)
        .await?;
    let mut applied: BTreeMap<i64, (bool, Vec<u8>)> = BTreeMap::new();
    if known {
        let rows: Vec<(i64, bool, Vec<u8>)> = query_as("select version, success, checksum from _sqlx_migrations")
            .fetch_all(&mut *connection)
            .await?;
        applied = rows
            .into_iter()
            .map(|(version, success, checksum)| (version, (success, checksum)))
            .collect();
    }
    let missing: Vec<String> = MIGRATIONS
        .iter()
        .filter(|ours| applied.get(&ours.version).is_none_or(|(success, _)| !success))
        .map(|ours| ours.version.to_string())
        .collect();
    let foreign: Vec<String> = applied
        .iter()
        .filter(|(version, (_, checksum))| {
            !MIGRATIONS
                .iter()
                .any(|ours| ours.version == **version && *ours.checksum == **checksum)
        })
        .map(|(version, _)| version.to_string())
        .collect();
    if !foreign.is_empty() {
        let remedy =
            "run the version of faircross that made this database, or a newer one; if it is another program's, correct DATABASE_URL";
        report.fail(name, format!("{} are not this version's", foreign.join(", ")), remedy);
    } else if !missing.is_empty() {
        report.fail(name, format!("{} are missing", missing.join(", ")), "run `faircross migrate`");
    } else {
        report.ok(name, format!("all {} applied", applied.len()));
    }
    Ok(foreign.is_empty() && missing.is_empty())
}
