//! The world of the end-to-end tests: a real PostgreSQL database and a real Redis of its own for each test, the simulated
//! operator as its own process, and one or more servers as processes that can be killed at a named point. When a test is
//! done it closes the world with [`World::close`], which waits until every bet has come to its end and then holds our books
//! against the operator's.

mod accounts;
mod books;
mod meter;
mod operator;
mod player;
mod refusal;
mod server;
mod snapshot;

use std::collections::HashSet;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use faircross::clock::Clock;
use faircross::stores::{Durability, PostgresCluster, RedisServer};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

pub use accounts::launch_token;
pub use meter::{Meter, resting_jobs};
pub use operator::Operator;
pub use player::{Answer, Player, wallet};
pub use refusal::Witness;
pub use server::Server;
pub use snapshot::Belongings;

/// The binary under test.
pub const FAIRCROSS: &str = env!("CARGO_BIN_EXE_faircross");

/// Who audits: the binary under test, unless `AUDITOR` names another build. A bug in the rules of the game would blind the
/// audit that was built with it.
static AUDITOR: LazyLock<String> = LazyLock::new(|| std::env::var("AUDITOR").unwrap_or_else(|_| FAIRCROSS.to_owned()));

/// How long anything that is waited for may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The one PostgreSQL of this test process, which counts the statements of every database; gone when the process is.
static CLUSTER: LazyLock<PostgresCluster> = LazyLock::new(|| {
    let settings = [
        ("shared_preload_libraries", "pg_stat_statements"),
        // Enough for the statements of every test's database: one that is forgotten cannot be counted.
        ("pg_stat_statements.max", "50000"),
        ("max_connections", "300"),
    ];
    PostgresCluster::temporary(Durability::Volatile, &settings).expect("PostgreSQL starts")
});

/// A database with the schema, from which every test's is copied.
static TEMPLATE: LazyLock<&'static str> = LazyLock::new(|| {
    let url = CLUSTER.create_database("world_template", None).expect("a database");
    let mut command = std::process::Command::new(FAIRCROSS);
    let migrated = command
        .arg("migrate")
        .env_clear()
        .env("DATABASE_URL", url)
        .env("FAIRCROSS__DATABASE__ACQUIRE_TIMEOUT_MS", PATIENCE.as_millis().to_string())
        .output()
        .expect("the binary runs");
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    CLUSTER
        .execute("world_template", "create extension pg_stat_statements")
        .expect("an extension");
    "world_template"
});

/// A database of its own with the schema: its name and its address.
pub fn new_database() -> (String, String) {
    static DATABASES: AtomicU32 = AtomicU32::new(0);
    let name = format!("world_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    let url = CLUSTER.create_database(&name, Some(*TEMPLATE)).expect("a database");
    (name, url)
}

/// Where the socket of the PostgreSQL of this test process is.
pub fn cluster_directory() -> std::path::PathBuf {
    CLUSTER.directory().to_path_buf()
}

/// What a test wants to be different.
#[derive(Clone, Debug, Default)]
pub struct WorldOptions {
    /// Over the settings that all tests share, for every server.
    pub settings: Vec<(&'static str, String)>,
    /// Over the settings of the tests' Redis.
    pub redis: Vec<(&'static str, String)>,
}

impl WorldOptions {
    /// Servers that give calls and bets up soon, for tests in which somebody dies or does not answer. All others wait as long as
    /// a machine that is busy with other tests may need, and no bet of theirs is cancelled because of that.
    pub fn hasty() -> Self {
        Self::default()
            .with("FAIRCROSS__RECOVERY__PENDING_AFTER_MS", 2_500)
            .with("FAIRCROSS__WALLET__DEBIT_WITHIN_MS", 2_000)
            .with("FAIRCROSS__WALLET__BET_TIMEOUT_MS", 2_000)
            .with("FAIRCROSS__WALLET__CALL_TIMEOUT_MS", 2_000)
            .with("FAIRCROSS__WALLET__LEASE_S", 3)
    }

    /// With a Redis that is set up differently in this.
    pub fn with_redis(mut self, name: &'static str, value: impl ToString) -> Self {
        self.redis.push((name, value.to_string()));
        self
    }

    /// With one more setting, by its name in the environment.
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.settings.push((name, value.to_string()));
        self
    }
}

/// Everything that a server needs around it.
pub struct World {
    pub redis: RedisServer,
    pub database_url: String,
    pub database: String,
    pub operator: Operator,
    pub http: reqwest::Client,
    options: WorldOptions,
    /// Where the servers write their logs.
    pub directory: tempfile::TempDir,
    jwt_key: String,
    sealing_key: String,
    players: AtomicU32,
    servers: AtomicU32,
}

impl World {
    /// A world without servers.
    pub async fn new(options: WorldOptions) -> Self {
        let (name, database_url) = tokio::task::spawn_blocking(new_database).await.expect("not cancelled");
        Self::over(name, database_url, options).await
    }

    /// A world without servers over a database that somebody else has made and looks after.
    pub async fn over(database: String, database_url: String, options: WorldOptions) -> Self {
        let own = options.redis.clone();
        let start = move || {
            let own = own.iter().map(|(name, value)| (*name, value.as_str()));
            RedisServer::temporary(&[("appendfsync", "no"), ("save", "")].into_iter().chain(own).collect::<Vec<_>>())
        };
        let redis = tokio::task::spawn_blocking(start)
            .await
            .expect("not cancelled")
            .expect("Redis starts");
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .timeout(PATIENCE)
            // Servers close a connection on which they never heard a word after five seconds.
            .pool_idle_timeout(Duration::from_secs(3))
            .build()
            .expect("a client");
        let directory = tempfile::tempdir().expect("a directory");
        let world = Self {
            redis,
            database_url,
            database,
            operator: Operator::start(http.clone()),
            http,
            options,
            directory,
            jwt_key: random_key(),
            sealing_key: random_key(),
            players: AtomicU32::new(0),
            servers: AtomicU32::new(0),
        };
        world.add_agent("demo", "demo-cert", &world.operator.url(), &[]).await;
        world
    }

    /// A world with one server and the usual settings.
    pub async fn with_server() -> (Self, Server) {
        Self::with_server_and(WorldOptions::default()).await
    }

    /// A world with one server and other settings.
    pub async fn with_server_and(options: WorldOptions) -> (Self, Server) {
        let world = Self::new(options).await;
        let server = world.start_server().await;
        (world, server)
    }

    /// The environment of every command and server of this world.
    pub fn environment(&self) -> Vec<(String, String)> {
        let fixed = [
            ("DATABASE_URL", self.database_url.clone()),
            ("REDIS_URL", self.redis.url()),
            ("PORT", "0".to_owned()),
            ("FAIRCROSS__SECRETS__JWT_KEY", self.jwt_key.clone()),
            ("FAIRCROSS__SECRETS__SEALING_KEY", self.sealing_key.clone()),
            ("FAIRCROSS__WALLET__ALLOW_PRIVATE_CALLBACKS", "true".to_owned()),
            ("FAIRCROSS__LOG__FILTER", "warn".to_owned()),
            ("FAIRCROSS__RATE_LIMIT__REQUESTS", "100000".to_owned()),
            ("FAIRCROSS__SERVER__DRAIN_DELAY_S", "0".to_owned()),
            ("FAIRCROSS__SERVER__SHUTDOWN_TIMEOUT_S", "30".to_owned()),
            // A busy machine is not what these tests are about; those that take a store away set its real deadline.
            ("FAIRCROSS__REDIS__COMMAND_TIMEOUT_MS", PATIENCE.as_millis().to_string()),
            ("FAIRCROSS__DATABASE__ACQUIRE_TIMEOUT_MS", PATIENCE.as_millis().to_string()),
            ("FAIRCROSS__DATABASE__STATEMENT_TIMEOUT_MS", PATIENCE.as_millis().to_string()),
            ("FAIRCROSS__DATABASE__LOCK_TIMEOUT_MS", PATIENCE.as_millis().to_string()),
            ("FAIRCROSS__DATABASE__PROBE_TIMEOUT_MS", PATIENCE.as_millis().to_string()),
            ("FAIRCROSS__RECOVERY__PENDING_AFTER_MS", PATIENCE.as_millis().to_string()),
            ("FAIRCROSS__WALLET__DEBIT_WITHIN_MS", PATIENCE.as_millis().to_string()),
            ("FAIRCROSS__WALLET__BET_TIMEOUT_MS", PATIENCE.as_millis().to_string()),
            ("FAIRCROSS__WALLET__CALL_TIMEOUT_MS", "15000".to_owned()),
            ("FAIRCROSS__WALLET__LEASE_S", "20".to_owned()),
            // Recovery at test speed; no relation between these times is needed for safety.
            ("FAIRCROSS__RECOVERY__SWEEP_EVERY_MS", "200".to_owned()),
            ("FAIRCROSS__RECOVERY__DRAIN_EVERY_MS", "100".to_owned()),
            ("FAIRCROSS__WALLET__SECOND_CANCEL_AFTER_S", "1".to_owned()),
            ("FAIRCROSS__WALLET__RETRY_SCHEDULE_S", "0,1,1".to_owned()),
        ];
        let own = self
            .options
            .settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        fixed.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(own).collect()
    }

    /// A server of this world.
    pub async fn start_server(&self) -> Server {
        self.start_server_with(&[]).await
    }

    /// A server that is killed when it reaches the point `name` for the first time.
    pub async fn start_server_killed_at(&self, name: &str) -> Server {
        self.start_server_with(&[("FAILPOINTS", &format!("{name}=1*return(kill)"))]).await
    }

    /// A server with more in its environment.
    pub async fn start_server_with(&self, environment: &[(&str, &str)]) -> Server {
        let (environment, log) = self.of_next_server(environment);
        Server::start(&environment, log, self.http.clone()).await
    }

    /// The whole environment of the next server, and where it logs.
    pub fn of_next_server(&self, environment: &[(&str, &str)]) -> (Vec<(String, String)>, std::path::PathBuf) {
        let number = self.servers.fetch_add(1, Ordering::Relaxed);
        let log = self.directory.path().join(format!("server-{number}.log"));
        let mut all = self.environment();
        all.extend(environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        (all, log)
    }

    /// Runs a command of the binary in this world and returns its status and output.
    pub async fn command(&self, arguments: &[&str]) -> (i32, String) {
        self.command_with(&[], arguments).await
    }

    /// The same with more in its environment.
    pub async fn command_with(&self, environment: &[(&str, &str)], arguments: &[&str]) -> (i32, String) {
        let program = if arguments.first() == Some(&"audit") {
            AUDITOR.as_str()
        } else {
            FAIRCROSS
        };
        let output = tokio::process::Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(self.environment())
            .envs(environment.iter().copied())
            .output()
            .await
            .expect("the binary runs");
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        (output.status.code().unwrap_or(-1), text)
    }

    /// Adds or changes an agent, as a person would.
    pub async fn add_agent(&self, agent_id: &str, certificate: &str, callback_url: &str, more: &[&str]) {
        let mut arguments = vec![
            "agent",
            "add",
            "--agent-id",
            agent_id,
            "--cert",
            certificate,
            "--callback-url",
            callback_url,
        ];
        arguments.extend(["--allow-ip", "127.0.0.1", "--currency", "INR", "--allow-published-certificate"]);
        arguments.extend(more);
        let (status, text) = self.command(&arguments).await;
        assert_eq!(status, 0, "{text}");
    }

    /// A new player of the demo agent, signed in at `server`.
    pub async fn player(&self, server: &Server) -> Player {
        let number = self.players.fetch_add(1, Ordering::Relaxed);
        self.player_named(server, "demo", "demo-cert", &format!("player{number}")).await
    }

    /// A player of an agent, created unless they exist, signed in at `server`.
    pub async fn player_named(&self, server: &Server, agent_id: &str, certificate: &str, user_id: &str) -> Player {
        Player::sign_in(&self.http, server, agent_id, certificate, user_id).await
    }

    /// A connection to this world's database.
    pub async fn connection(&self) -> PgConnection {
        PgConnection::connect(&self.database_url).await.expect("PostgreSQL answers")
    }

    /// The first column of the first row, as text.
    pub async fn ask_database(&self, sql: &str) -> String {
        let row: Option<(Option<String>,)> = sqlx::query_as(sqlx::AssertSqlSafe(format!("select ({sql})::text")))
            .fetch_optional(&mut self.connection().await)
            .await
            .expect("a query");
        row.and_then(|row| row.0).unwrap_or_default()
    }

    /// Runs statements as the cluster's owner, outside this world's database.
    pub async fn administer(&self, sql: &str) {
        let sql = sql.to_owned();
        let done = tokio::task::spawn_blocking(move || CLUSTER.execute("postgres", &sql))
            .await
            .expect("not cancelled");
        done.expect("PostgreSQL answers");
    }

    /// Changes this world's database behind the servers' backs.
    pub async fn change_database(&self, sql: &str) {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
            .execute(&mut self.connection().await)
            .await
            .expect("a statement");
    }

    /// A connection to this world's Redis, as patient as the tests are.
    async fn redis_connection(&self) -> redis::aio::MultiplexedConnection {
        let config = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        redis::Client::open(self.redis.url())
            .expect("a url")
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .expect("Redis answers")
    }

    /// Sends one command to this world's Redis.
    pub async fn ask_redis(&self, command: &[&str]) -> redis::Value {
        let mut connection = self.redis_connection().await;
        let (name, arguments) = command.split_first().expect("a command");
        redis::cmd(name)
            .arg(arguments)
            .query_async(&mut connection)
            .await
            .expect("Redis answers")
    }

    /// Waits until every bet has come to its end and every owed call is done.
    pub async fn wait_until_settled(&self) {
        let unfinished = "select concat_ws(', ',
            (select string_agg(state || ' ' || bet_id, ', ') from bets where state not in ('WON', 'LOST', 'VOIDED', 'CANCELLED', 'REJECTED')),
            (select string_agg(state || ' ' || action || ' ' || coalesce(last_status, ''), ', ') from outbox where state = 'open'))";
        wait_for(&format!("every bet of {} ends", self.database), async || {
            let left = self.ask_database(unfinished).await;
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await;
    }

    /// Waits until all is settled and holds our books against the operator's, by the test's own check and by the audit.
    pub async fn close(self) {
        self.check_books().await;
        let (status, text) = self
            .command(&["audit", "--settled", "--operator-ledger", &self.operator.ledger_url()])
            .await;
        assert_eq!(status, 0, "{text}");
    }

    /// Waits until all is settled and holds our books against the operator's, also in the middle of a world's life: nobody
    /// may be playing.
    pub async fn check_books(&self) {
        self.wait_until_settled().await;
        books::assert_they_agree(self).await;
    }

    /// The ids of the bets that only the operator knew when a restore found them.
    pub async fn bets_found_by_restores(&self) -> HashSet<String> {
        let text = self
            .ask_database("select coalesce(json_agg(platform_tx_id), '[]') from restored_bets where not has_bet")
            .await;
        serde_json::from_str(&text).expect("JSON")
    }

    /// Copies this world's database as it stands; whoever is connected to it is cut off. Returns the copy's name.
    pub async fn copy_database(&self) -> String {
        static COPIES: AtomicU32 = AtomicU32::new(0);
        let copy = format!("{}_copy_{}", self.database, COPIES.fetch_add(1, Ordering::Relaxed));
        let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname =";
        self.administer(&format!("{cut} '{}'", self.database)).await;
        self.administer(&format!("create database \"{copy}\" template \"{}\"", self.database))
            .await;
        copy
    }

    /// Puts a copy in the place of this world's database, as a restore from a backup does.
    pub async fn put_back(&self, copy: &str) {
        self.administer(&format!("drop database \"{}\" with (force)", self.database)).await;
        self.administer(&format!("create database \"{}\" template \"{copy}\"", self.database))
            .await;
    }

    /// The bets table, each row as JSON.
    pub async fn bets(&self) -> Vec<Value> {
        let text = self
            .ask_database("select coalesce(json_agg(bets order by sequence), '[]') from bets")
            .await;
        serde_json::from_str(&text).expect("JSON")
    }
}

/// Polls until `ask` says yes, for as long as anything may take since something last changed.
pub async fn wait_for(what: &str, ask: impl AsyncFn() -> Result<(), String>) {
    let start = Clock::default().monotonic();
    let (mut last, mut changed) = (String::new(), start);
    loop {
        match ask().await {
            Ok(()) => return,
            Err(still) if still != last => (last, changed) = (still, Clock::default().monotonic()),
            Err(_) => {}
        }
        if changed.elapsed() > PATIENCE || start.elapsed() > 5 * PATIENCE {
            panic!("waited too long until {what}: {last}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn random_key() -> String {
    hex::encode(faircross::chance::Chance.bytes_32())
}
