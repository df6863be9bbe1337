//! A process of our own set.
//!
//! It is the child of a small shell that reads from a pipe of ours: when this process ends, however it does, the pipe ends and
//! the shell stops what it started.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::connection::{Connection, Question};

const READY_WITHIN: Duration = Duration::from_secs(60);
const WATCHDOG: &str = r#"
log=$1
shift
"$@" </dev/null >"$log" 2>&1 &
child=$!
echo "$child"
read -r end
kill -s TERM "$child"
wait "$child"
"#;

/// A child under its watchdog. Dropping it asks it to end and waits for that.
pub struct OwnProcess {
    shell: Child,
    pub pid: u32,
    log: PathBuf,
}

impl OwnProcess {
    /// Starts `program`; its output goes to a log in the directory.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        name: &str,
        program: &Path,
        directory: &Path,
        arguments: &[&str],
        environment: &[(String, String)],
    ) -> Result<Self, Failure> {
        let log = directory.join(format!("{name}.log"));
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", WATCHDOG, "faircross-load-watchdog"])
            .arg(&log)
            .arg(program)
            .args(arguments);
        shell.envs(environment.iter().cloned());
        shell
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0);
        let mut shell = shell.spawn()?;
        let mut line = String::new();
        BufReader::new(shell.stdout.take().expect("stdout is piped")).read_line(&mut line)?;
        let pid = line.trim().parse().map_err(|_| format!("{name} cannot be started"))?;
        Ok(Self { shell, pid, log })
    }

    /// Waits until a path is answered with 200, unless the process ends before.
    ///
    /// # Errors
    /// When it ended or took too long; with the end of its log.
    pub async fn wait_until_ready(&self, address: SocketAddr, path: &str) -> Result<(), Failure> {
        let begun = Instant::now();
        let mut connection = Connection::new(address);
        while begun.elapsed() < READY_WITHIN {
            if connection
                .ask(Question::get(path, None))
                .await
                .is_ok_and(|answer| answer.status == 200)
            {
                return Ok(());
            }
            // It stays visible as a zombie when it has ended.
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid));
            if stat.is_ok_and(|stat| stat.contains(") Z ")) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(12)..].join("\n");
        Err(format!("{} does not become ready; the end of its log:\n{end}", self.log.display()).into())
    }
}

impl Drop for OwnProcess {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // Servers end within their own shutdown timeout.
        drop(self.shell.wait());
    }
}
