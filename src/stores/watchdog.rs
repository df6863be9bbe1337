//! A server that cannot outlive us.
//!
//! A small shell starts the server and reads lines from a pipe whose other end only this process holds. A line is a signal to
//! pass on. The end of the pipe, which comes when the handle is dropped and also when this process is killed, stops
//! the server and, for a temporary one, removes its files. The shell has a process group of its own, so that Ctrl-C in a
//! terminal reaches us and not the server behind our back.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::{StoreError, account::Account, wait_until, while_doing};

const SCRIPT: &str = r#"
log=$1 stop=$2 remove=$3
shift 3
"$@" </dev/null >"$log" 2>&1 &
server=$!
echo "$server"
while read -r signal; do
    case $signal in
    KEEP) remove= ;;
    KILL) kill -s KILL "$server"; wait "$server" ;;
    *) kill -s "$signal" "$server" ;;
    esac
    echo done
done
kill -s CONT "$server"
kill -s "$stop" "$server"
wait "$server"
if [ -n "$remove" ]; then rm -rf "$remove"; fi
"#;

/// What to start and how to end it.
pub(super) struct Watched<'a> {
    /// The server's name in messages.
    pub(super) name: &'static str,
    pub(super) account: Account,
    /// Where the server runs and writes its log.
    pub(super) directory: &'a Path,
    /// Variables besides the few that every server gets.
    pub(super) environment: Vec<(OsString, OsString)>,
    /// The program and its arguments.
    pub(super) command: Vec<String>,
    /// The signal that stops it.
    pub(super) stop_signal: &'static str,
    /// What to remove afterwards.
    pub(super) remove: Option<&'a Path>,
}

/// A running server; dropping it stops the server and waits for that.
pub(super) struct Watchdog {
    name: &'static str,
    shell: Child,
    answers: BufReader<ChildStdout>,
    log: PathBuf,
    pid: u32,
}

impl Watchdog {
    pub(super) fn start(watched: &Watched<'_>) -> Result<Self, StoreError> {
        let log = watched.directory.join("log");
        let mut shell: Command = watched.account.command(Path::new("/bin/sh"), watched.directory);
        shell.args(["-c", SCRIPT, "faircross-watchdog"]).arg(&log).arg(watched.stop_signal);
        shell.arg(watched.remove.unwrap_or(Path::new(""))).args(&watched.command);
        shell.envs(watched.environment.iter().map(|(name, value)| (name, value)));
        shell
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0);
        let mut shell = shell.spawn().map_err(while_doing(format!("starting {}", watched.name)))?;
        let answers = shell.stdout.take().expect("stdout is piped");
        let mut watchdog = Self {
            name: watched.name,
            shell,
            answers: BufReader::new(answers),
            log,
            pid: 0,
        };
        watchdog.pid = watchdog.answer()?.parse().map_err(|_| watchdog.not_ready())?;
        Ok(watchdog)
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until `ready`, unless the server ends before.
    pub(super) fn wait_until_ready(&self, mut ready: impl FnMut() -> bool) -> Result<(), StoreError> {
        let mut is_ready = false;
        wait_until(|| {
            is_ready = ready();
            is_ready || !self.is_running()
        });
        if is_ready { Ok(()) } else { Err(self.not_ready()) }
    }

    /// Passes a signal on (`TERM`, `STOP`, `CONT` ...). After `KILL` the server is gone when this returns.
    pub(super) fn signal(&mut self, signal: &str) -> Result<(), StoreError> {
        let pipe = self.shell.stdin.as_mut().expect("the pipe is open until the watchdog is dropped");
        writeln!(pipe, "{signal}").map_err(while_doing(format!("signalling {}", self.name)))?;
        self.answer().map(drop)
    }

    /// Leaves the files where they are when the server ends, because it is to be started on them again.
    pub(super) fn keep_files(&mut self) -> Result<(), StoreError> {
        self.signal("KEEP")
    }

    fn answer(&mut self) -> Result<String, StoreError> {
        let mut line = String::new();
        self.answers
            .read_line(&mut line)
            .map_err(while_doing(format!("starting {}", self.name)))?;
        Ok(line.trim().to_owned())
    }

    /// Whether the server still runs; one that ended stays visible as a zombie until the shell ends.
    pub(super) fn is_running(&self) -> bool {
        match std::fs::read_to_string(format!("/proc/{}/stat", self.pid)) {
            Ok(stat) => !stat.contains(") Z "),
            Err(_) => !Path::new("/proc/self").exists(),
        }
    }

    pub(super) fn not_ready(&self) -> StoreError {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let log_end = lines[lines.len().saturating_sub(12)..].join("\n");
        StoreError::NotReady {
            program: self.name,
            log: self.log.clone(),
            log_end,
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let stopped = wait_until(|| !matches!(self.shell.try_wait(), Ok(None)));
        if !stopped {
            tracing::error!(server = self.name, pid = self.pid, "does not stop; end it by hand");
        }
    }
}
