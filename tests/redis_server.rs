//! A real Redis server of its own for each test: on a unix socket in a directory that goes away with it, so that tests run side by side
//! and one can be killed without the others noticing.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::{FromRedisValue, RedisResult};
use tempfile::TempDir;

/// Polls while a server starts, 5 ms apart: a minute.
const START_POLLS: u32 = 12_000;

/// A running (or killed) server; killed for good when dropped.
pub struct RedisServer {
    directory: TempDir,
    options: Vec<String>,
    child: Option<Child>,
}

impl RedisServer {
    /// A server without persistence, set up as `config/redis.conf` sets up what concerns the size and safety of values.
    pub fn start() -> Self {
        Self::start_with(&["--appendonly", "no"])
    }

    /// A server with options of its own, as on the command line of redis-server; for one that keeps every answered
    /// write through a crash of its process `--appendonly yes`.
    pub fn start_with(options: &[&str]) -> Self {
        let directory = TempDir::with_prefix("redis-").expect("a temporary directory");
        let mut server = Self {
            directory,
            options: options.iter().map(ToString::to_string).collect(),
            child: None,
        };
        server.restart();
        server
    }

    /// The address for `LiveSettings`.
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Stops the server as a power cut would (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("our own child can be killed");
            child.wait().expect("our own child can be waited for");
        }
    }

    /// Starts the server again, on the same socket and directory, and waits until it answers.
    pub fn restart(&mut self) {
        self.kill();
        let child = Command::new("redis-server")
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--maxmemory-policy",
                "noeviction",
                "--hash-max-listpack-value",
                "2048",
            ])
            .arg("--unixsocket")
            .arg(self.socket())
            .arg("--dir")
            .arg(self.directory.path())
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server can be started");
        self.child = Some(child);
        let answers = |_| {
            let answered = self.try_query::<String>(&["PING"]).is_ok_and(|answer| answer == "PONG");
            if !answered {
                std::thread::sleep(Duration::from_millis(5));
            }
            answered
        };
        assert!((0..START_POLLS).any(answers), "redis-server does not answer");
    }

    /// Stops the process without ending it (SIGSTOP): connections stay and nothing answers.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Asks the server directly, past the product's own code.
    pub fn query<T: FromRedisValue>(&self, command: &[&str]) -> T {
        self.try_query(command).unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    fn try_query<T: FromRedisValue>(&self, command: &[&str]) -> RedisResult<T> {
        let mut connection = redis::Client::open(self.url())?.get_connection()?;
        let mut request = redis::Cmd::new();
        request.arg(command);
        request.query(&mut connection)
    }

    fn signal(&self, signal: &str) {
        let child = self.child.as_ref().expect("the server runs");
        let status = Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status();
        assert!(status.expect("kill can be run").success(), "our own child can be signalled");
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
