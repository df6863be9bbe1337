//! A real PgBouncer before PostgreSQL: with a session for each of its clients everything works, and one that shares sessions between
//! transactions is named at start and by `doctor`.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::world::{World, WorldOptions, cluster_directory, wait_for};

/// It ends when it is dropped.
struct PgBouncer {
    directory: TempDir,
    _process: Child,
}

impl PgBouncer {
    /// In front of the tests' PostgreSQL, and as its user: neither runs as root.
    async fn start(pool_mode: &str) -> Self {
        let directory = TempDir::with_prefix("faircross-pooler-").expect("a directory");
        let at = directory.path().display();
        let cluster = cluster_directory();
        let owner = cluster.metadata().expect("PostgreSQL's directory");
        let configuration = format!(
            "[databases]
             * = host={cluster} user=faircross
             [pgbouncer]
             listen_port = 6432
             unix_socket_dir = {at}
             auth_type = any
             pool_mode = {pool_mode}
             ignore_startup_parameters = extra_float_digits
             logfile = {at}/log",
            cluster = cluster.display()
        );
        let file = directory.path().join("pgbouncer.ini");
        std::fs::write(&file, configuration.replace("\n             ", "\n")).expect("written");
        let mut command = std::process::Command::new("pgbouncer");
        command.env("PATH", "/usr/sbin:/usr/local/bin:/usr/bin:/bin").arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let ours = directory.path().metadata().expect("ours").uid();
        if ours != owner.uid() {
            for path in [directory.path(), &file] {
                chown(path, Some(owner.uid()), Some(owner.gid())).expect("given away");
            }
            command.uid(owner.uid()).gid(owner.gid());
        }
        let process = Command::from(command).kill_on_drop(true).spawn().expect("pgbouncer runs");
        let started = Self {
            directory,
            _process: process,
        };
        wait_for("PgBouncer listens", async || {
            let log = std::fs::read_to_string(started.directory.path().join("log")).unwrap_or_default();
            if log.contains("process up") { Ok(()) } else { Err(log) }
        })
        .await;
        started
    }

    fn url(&self, database: &str) -> String {
        let directory = self.directory.path().display().to_string().replace('/', "%2F");
        format!("postgres://faircross@localhost:6432/{database}?host={directory}")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_keeps_sessions_is_as_good_as_none() {
    let world = World::new(WorldOptions::default()).await;
    let pooler = PgBouncer::start("session").await;
    let url = pooler.url(&world.database);
    let server = world.start_server_with(&[("FAIRCROSS__DATABASE__URL", &url)]).await;
    world.player(&server).await.win_on_lane("10.00", "EASY", 0).await;
    world.wait_until_settled().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_shares_sessions_is_named() {
    let world = World::new(WorldOptions::default()).await;
    let pooler = PgBouncer::start("transaction").await;
    let url = pooler.url(&world.database);
    for command in ["doctor", "serve"] {
        let (status, text) = world.command_with(&[("FAIRCROSS__DATABASE__URL", &url)], &[command]).await;
        assert_eq!(status, 1, "{text}");
        assert!(text.contains("pool_mode = session"), "{text}");
    }
    world.close().await;
}
