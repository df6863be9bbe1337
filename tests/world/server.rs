//! One server as a process.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::{FAIRCROSS, PATIENCE, wait_for};

/// A running or killed server; killed for good when dropped.
pub struct Server {
    child: Child,
    address: String,
    log: PathBuf,
}

impl Drop for Server {
    /// A test that fails shows what the server said.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = read(&self.log);
            let lines: Vec<&str> = log.lines().collect();
            eprintln!(
                "{} said last:\n{}",
                self.address,
                lines[lines.len().saturating_sub(30)..].join("\n")
            );
        }
    }
}

impl Server {
    pub async fn start(environment: &[(String, String)], log: PathBuf, http: reqwest::Client) -> Self {
        let server = Self::launch(environment, log).await;
        assert!(!server.address.is_empty(), "the server did not start: {}", server.log());
        wait_for("the server is ready", async || server.readiness(&http).await).await;
        server
    }

    /// A server that may not live until it is ready, because a failpoint is armed.
    pub async fn launch(environment: &[(String, String)], log: PathBuf) -> Self {
        let mut child = Command::new(FAIRCROSS)
            .arg("serve")
            .env_clear()
            .envs(environment.iter().cloned())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).expect("a log"))
            .kill_on_drop(true)
            .spawn()
            .expect("the binary runs");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let first = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        let line = first.ok().and_then(Result::ok).flatten().unwrap_or_default();
        let address = line.strip_prefix("listening on ").unwrap_or_default().to_owned();
        Self { child, address, log }
    }

    /// Whether it can do its work, or why not.
    pub async fn readiness(&self, http: &reqwest::Client) -> Result<(), String> {
        let answer = http
            .get(self.url("/health/ready"))
            .send()
            .await
            .map_err(|error| error.to_string())?;
        if answer.status().is_success() {
            Ok(())
        } else {
            Err(answer.text().await.unwrap_or_default())
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Kills the process as a crash would, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("it ran");
    }

    /// Sends a signal such as STOP, CONT or TERM.
    pub fn signal(&self, signal: &str) {
        let sent = std::process::Command::new("kill")
            .args([&format!("-{signal}"), &self.pid().to_string()])
            .status();
        assert!(sent.is_ok_and(|status| status.success()), "the signal {signal} is sent");
    }

    /// Waits until the process has ended by itself and returns whether by a signal (a failpoint kills it).
    pub async fn wait_until_ended(&mut self) -> bool {
        let status = tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .expect("it ends")
            .expect("a status");
        std::os::unix::process::ExitStatusExt::signal(&status).is_some()
    }

    /// Whether the log says that the failpoint was reached.
    pub fn reached(&self, failpoint: &str) -> bool {
        read(&self.log).contains(&format!("failpoint {failpoint} reached"))
    }

    /// Waits until the process stands still at this failpoint. It says that it was reached a moment before it stops.
    pub async fn wait_until_stopped_at(&self, failpoint: &str) {
        let stat = format!("/proc/{}/stat", self.pid());
        wait_for(&format!("the server is stopped at {failpoint}"), async || {
            let stat = read(Path::new(&stat));
            // The state follows the name, which is in brackets.
            let is_stopped = stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'));
            if is_stopped && self.reached(failpoint) {
                Ok(())
            } else {
                Err("not yet".to_owned())
            }
        })
        .await;
    }

    pub fn log(&self) -> String {
        read(&self.log)
    }

    /// Waits a moment at most for the process to be gone; whether it is.
    pub async fn is_gone_within(&mut self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.child.wait()).await.is_ok()
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
