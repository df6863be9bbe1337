//! What every session of ours is held to, whatever the server's own settings are. The limits are set after connecting and read
//! back in a statement of its own: a connection pooler such as PgBouncer drops those that stand among the options of a start,
//! and one that shares sessions between transactions would lose these.
//!
//! One setting is about plans. The newest of a player's rows is at the end of an index, and PostgreSQL finds it in one step. Where a
//! table has few rows and many that were deleted, it takes a bitmap of all of them for cheaper; `enable_bitmapscan` is off, because
//! each of our statements follows an index in its order.

use sqlx::PgConnection;

/// How long PostgreSQL itself lets our statements go on, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub statement_timeout_ms: u64,
    pub lock_timeout_ms: u64,
}

/// A session, what its limits read when they were set, and whether it takes writes.
pub struct Session {
    pub connection: PgConnection,
    pub takes_writes: bool,
    limits: Vec<String>,
}

/// The settings in the order of the two queries.
const NAMES: [&str; 9] = [
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "tcp_keepalives_count",
    "tcp_user_timeout",
    "enable_bitmapscan",
];

/// Sets our limits on a new connection and reads them back.
///
/// # Errors
/// When PostgreSQL refuses one, or one is not in force afterwards, by name.
pub async fn impose(mut connection: PgConnection, limits: Limits) -> Result<Session, sqlx::Error> {
    // A transaction that its holder forgot, or a holder whose host is gone, must not block money: the server itself ends it
    // well within the 45 seconds after which a killed server's bets are closed. An idle session is ours to close.
    let limits: Vec<String> = sqlx::query_scalar(
        "select array[set_config('statement_timeout', $1, false), set_config('lock_timeout', $2, false),
             set_config('idle_in_transaction_session_timeout', '10s', false), set_config('idle_session_timeout', '0', false),
             set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '5', false),
             set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '10s', false),
             set_config('enable_bitmapscan', 'off', false)]",
    )
    .bind(limits.statement_timeout_ms.to_string())
    .bind(limits.lock_timeout_ms.to_string())
    .persistent(false)
    .fetch_one(&mut connection)
    .await?;
    let mut session = Session {
        connection,
        takes_writes: false,
        limits,
    };
    session.look().await?;
    Ok(session)
}

impl Session {
    /// Asks whether it takes writes and whether its limits are still in force.
    ///
    /// # Errors
    /// When it does not answer, or a limit is not in force, by name.
    pub async fn look(&mut self) -> Result<(), sqlx::Error> {
        let (takes_writes, in_force): (bool, Vec<String>) = sqlx::query_as(
            "select not pg_is_in_recovery() and not current_setting('transaction_read_only')::boolean,
                 array[current_setting('statement_timeout'), current_setting('lock_timeout'),
                 current_setting('idle_in_transaction_session_timeout'), current_setting('idle_session_timeout'),
                 current_setting('tcp_keepalives_idle'), current_setting('tcp_keepalives_interval'),
                 current_setting('tcp_keepalives_count'), current_setting('tcp_user_timeout'),
                 current_setting('enable_bitmapscan')]",
        )
        .persistent(false)
        .fetch_one(&mut self.connection)
        .await?;
        self.takes_writes = takes_writes;
        let lost = lost(&self.limits, &in_force);
        if lost.is_empty() {
            return Ok(());
        }
        let told = format!("{lost}: not in force; a pooler before PostgreSQL must keep a session for each of its clients");
        Err(sqlx::Error::Configuration(told.into()))
    }

    /// PostgreSQL's process that serves it.
    async fn process(&mut self) -> Result<i32, sqlx::Error> {
        let process = sqlx::query_scalar("select pg_backend_pid()").persistent(false);
        process.fetch_one(&mut self.connection).await
    }
}

/// Checks that two connections which are open at once have a session each. A pooler that shares sessions between transactions
/// serves both with one, so that limits and prepared statements of one would be the other's.
///
/// # Errors
/// When they share one, or one does not answer.
pub async fn check_apart(first: &mut Session, second: &mut Session) -> Result<(), sqlx::Error> {
    if first.process().await? != second.process().await? {
        return Ok(());
    }
    let told = "two connections share one session; a pooler before PostgreSQL must keep a session for each of its clients \
                (PgBouncer: pool_mode = session)";
    Err(sqlx::Error::Configuration(told.into()))
}

/// The limits that do not read as they were set.
fn lost(set: &[String], in_force: &[String]) -> String {
    let differing = NAMES.iter().zip(set.iter().zip(in_force)).filter(|(_, (set, there))| set != there);
    let told: Vec<String> = differing
        .map(|(name, (set, there))| format!("{name} = {set} reads {there}"))
        .collect();
    told.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_not_in_force_is_named() {
        let set: Vec<String> = ["5s", "1s", "10s", "0", "10", "5", "3", "10s", "off"]
            .map(ToOwned::to_owned)
            .to_vec();
        assert_eq!(lost(&set, &set), "");
        let mut dropped = set.clone();
        dropped[0] = "0".to_owned();
        assert_eq!(lost(&set, &dropped), "statement_timeout = 5s reads 0");
    }
}
