//! A private Redis, set up as `config/redis.conf` says, on a unix socket in its directory.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use url::Url;

use super::account::Account;
use super::watchdog::{Watchdog, Watched};
use super::{POLL, StoreError, programs, wait_until, while_doing};

const CONFIGURATION: &str = include_str!("../../config/redis.conf");

/// A running Redis. Dropping it shuts Redis down; what it held stays in its directory, unless that was temporary.
pub struct RedisServer {
    directory: PathBuf,
    temporary: bool,
    settings: Vec<(String, String)>,
    /// `None` between `kill` and `restart`.
    watchdog: Option<Watchdog>,
}

impl RedisServer {
    /// Starts a Redis that keeps its data in `directory`, which is made if need be.
    ///
    /// # Errors
    /// When there is no redis-server, or it does not become ready; the error holds the end of its log.
    pub fn start(directory: &Path) -> Result<Self, StoreError> {
        Self::start_with(directory, &[])
    }

    /// As [`RedisServer::start`], with settings that go over those of `config/redis.conf`.
    ///
    /// # Errors
    /// As [`RedisServer::start`].
    pub fn start_with(directory: &Path, settings: &[(&str, &str)]) -> Result<Self, StoreError> {
        Self::start_in(directory, false, settings)
    }

    /// A Redis whose directory goes with it.
    ///
    /// # Errors
    /// As [`RedisServer::start`].
    pub fn temporary(settings: &[(&str, &str)]) -> Result<Self, StoreError> {
        Self::start_in(&super::temporary_directory("redis"), true, settings)
    }

    fn start_in(directory: &Path, temporary: bool, settings: &[(&str, &str)]) -> Result<Self, StoreError> {
        let directory = Account::ours().private_directory(directory)?;
        let settings = settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let mut server = Self {
            directory,
            temporary,
            settings,
            watchdog: None,
        };
        server.end_earlier_run()?;
        server.launch()?;
        Ok(server)
    }

    /// The address: `redis+unix:///…/redis.sock`. It stays the same over a restart.
    pub fn url(&self) -> String {
        let file = Url::from_file_path(self.socket()).expect("the directory's path is absolute");
        file.as_str().replacen("file://", "redis+unix://", 1)
    }

    /// The unix socket that it listens on.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("redis.sock")
    }

    /// The process id; `None` after [`RedisServer::kill`].
    pub fn pid(&self) -> Option<u32> {
        self.watchdog.as_ref().map(Watchdog::pid)
    }

    /// Kills Redis (SIGKILL), as a crash would. What it had not yet written to disk is lost.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn kill(&mut self) -> Result<(), StoreError> {
        if let Some(mut watchdog) = self.watchdog.take() {
            watchdog.keep_files()?;
            watchdog.signal("KILL")?;
        }
        Ok(())
    }

    /// Sends a signal: `STOP` makes Redis hang, `CONT` lets it go on.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn signal(&mut self, signal: &str) -> Result<(), StoreError> {
        self.watchdog.as_mut().map_or(Ok(()), |watchdog| watchdog.signal(signal))
    }

    /// Starts Redis again in the same place, with what was on disk; a running one is shut down before.
    ///
    /// # Errors
    /// As [`RedisServer::start`].
    pub fn restart(&mut self) -> Result<(), StoreError> {
        if let Some(mut watchdog) = self.watchdog.take() {
            watchdog.keep_files()?;
        }
        self.launch()
    }

    fn launch(&mut self) -> Result<(), StoreError> {
        let program = programs::redis_server()?;
        let configuration = self.directory.join("redis.conf");
        std::fs::write(&configuration, CONFIGURATION).map_err(while_doing("writing redis.conf"))?;
        let text = |path: &Path| path.display().to_string();
        let mut command = vec![text(&program), text(&configuration), "--port".to_owned(), "0".to_owned()];
        let place = [
            ("dir", text(&self.directory)),
            ("unixsocket", text(&self.socket())),
            ("unixsocketperm", "700".to_owned()),
        ];
        let settings = self.settings.iter().map(|(key, value)| (key.as_str(), value.clone()));
        command.extend(
            place
                .into_iter()
                .chain(settings)
                .flat_map(|(key, value)| [format!("--{key}"), value]),
        );
        let watchdog = Watchdog::start(&Watched {
            name: "Redis",
            account: Account::ours(),
            directory: &self.directory,
            environment: Vec::new(),
            command,
            // Ending at once loses nothing of a temporary Redis that is worth a save; the append-only file is written by then.
            stop_signal: if self.temporary { "KILL" } else { "TERM" },
            remove: self.temporary.then_some(self.directory.as_path()),
        })?;
        watchdog.wait_until_ready(|| self.answers())?;
        self.watchdog = Some(watchdog);
        Ok(())
    }

    /// A Redis of an earlier run that was killed may still be shutting down; two must not share a directory.
    fn end_earlier_run(&self) -> Result<(), StoreError> {
        if !self.answers() {
            return Ok(());
        }
        drop(self.ask("SHUTDOWN SAVE"));
        let gone = wait_until(|| UnixStream::connect(self.socket()).is_err());
        if gone {
            Ok(())
        } else {
            Err(StoreError::NotStopped { program: "Redis" })
        }
    }

    fn answers(&self) -> bool {
        // Asking for a password is an answer too; while its data loads it says LOADING.
        self.ask("PING")
            .is_ok_and(|answer| answer.starts_with("+PONG") || answer.starts_with("-NOAUTH"))
    }

    fn ask(&self, command: &str) -> std::io::Result<String> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(POLL * 100))?;
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line)
    }
}
