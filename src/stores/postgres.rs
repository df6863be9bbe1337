//! A private PostgreSQL cluster with as many databases as wanted, on a unix socket in its directory.
//!
//! Whoever may enter the directory (its owner and root) may connect, without a password and as the only user, `faircross`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use url::Url;

use super::account::Account;
use super::watchdog::{Watchdog, Watched};
use super::{StoreError, programs, while_doing};

const USER: &str = "faircross";
/// In a cluster's directory: its files, once complete.
const DATA: &str = "data";

/// Whether what is committed survives a loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// As in production.
    Durable,
    /// Commits do not wait for the disk: for tests, which throw everything away. A killed server process still loses nothing.
    Volatile,
}

/// A running cluster. Dropping it stops PostgreSQL; its databases stay in its directory, unless that was temporary.
pub struct PostgresCluster {
    directory: PathBuf,
    programs: PathBuf,
    account: Account,
    durability: Durability,
    temporary: bool,
    settings: Vec<(String, String)>,
    /// `None` between `kill` and `restart`.
    watchdog: Option<Watchdog>,
}

impl PostgresCluster {
    /// Starts the cluster in `directory`, which is made if need be. See [`PostgresCluster::directory`] for where it really is.
    ///
    /// # Errors
    /// When PostgreSQL is not installed, or does not become ready; the error holds the end of its log.
    pub fn start(directory: &Path, durability: Durability) -> Result<Self, StoreError> {
        Self::start_in(directory, false, durability, &[])
    }

    /// A cluster whose directory goes with it, with settings that go over ours.
    ///
    /// # Errors
    /// As [`PostgresCluster::start`].
    pub fn temporary(durability: Durability, settings: &[(&str, &str)]) -> Result<Self, StoreError> {
        Self::start_in(&super::temporary_directory("postgres"), true, durability, settings)
    }

    fn start_in(directory: &Path, temporary: bool, durability: Durability, settings: &[(&str, &str)]) -> Result<Self, StoreError> {
        let programs = programs::postgres_directory()?;
        let account = Account::for_postgres()?;
        let directory = account.private_directory(directory)?;
        let settings = settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let mut cluster = Self {
            directory,
            programs,
            account,
            durability,
            temporary,
            settings,
            watchdog: None,
        };
        cluster.initialise()?;
        cluster.end_earlier_run()?;
        cluster.launch()?;
        Ok(cluster)
    }

    /// Where its files are: the directory asked for, or one in /var/tmp where PostgreSQL's user could not have reached that.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The address of a database in it; it stays the same over a restart.
    pub fn url(&self, database: &str) -> String {
        let mut url = Url::parse(&format!("postgres://{USER}@localhost/{database}")).expect("a database name that belongs into a url");
        url.query_pairs_mut().append_pair("host", &self.directory.display().to_string());
        // libpq reads a plus sign as itself.
        url.as_str().replace('+', "%20")
    }

    /// Makes a database, empty or as a copy of `template` (to which nobody may be connected), and gives its address.
    ///
    /// # Errors
    /// When PostgreSQL refuses, for example because there is one of that name.
    pub fn create_database(&self, name: &str, template: Option<&str>) -> Result<String, StoreError> {
        let copy = template.map(|template| format!(" template \"{template}\"")).unwrap_or_default();
        self.execute("postgres", &format!("create database \"{name}\"{copy}"))?;
        Ok(self.url(name))
    }

    /// Removes a database with all that is in it; connections to it are cut.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub fn drop_database(&self, name: &str) -> Result<(), StoreError> {
        self.execute("postgres", &format!("drop database if exists \"{name}\" with (force)"))
            .map(drop)
    }

    /// Runs SQL with `psql` and gives what it prints: a line a row, columns separated by `|`.
    ///
    /// # Errors
    /// With PostgreSQL's message.
    pub fn execute(&self, database: &str, sql: &str) -> Result<String, StoreError> {
        let mut psql = self.account.command(&self.programs.join("psql"), Path::new("/"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .arg(self.url(database));
        run("psql", psql)
    }

    /// The process id of the postmaster; `None` after [`PostgresCluster::kill`].
    pub fn pid(&self) -> Option<u32> {
        self.watchdog.as_ref().map(Watchdog::pid)
    }

    /// Stops PostgreSQL without a farewell (SIGQUIT: every connection is cut, the next start recovers), as a crash would.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn kill(&mut self) -> Result<(), StoreError> {
        if let Some(mut watchdog) = self.watchdog.take() {
            watchdog.keep_files()?;
            // Not SIGKILL: that leaves shared memory behind, and backends that still hold the files.
            watchdog.signal("QUIT")?;
        }
        Ok(())
    }

    /// Sends the postmaster a signal. (`STOP` hangs new connections only: each old one has a process of its own.)
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn signal(&mut self, signal: &str) -> Result<(), StoreError> {
        self.watchdog.as_mut().map_or(Ok(()), |watchdog| watchdog.signal(signal))
    }

    /// The same for the postmaster and all its backends: to the outside the whole host stands still.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn signal_all(&mut self, signal: &str) -> Result<(), StoreError> {
        self.signal(signal)?;
        let Some(postmaster) = self.pid() else { return Ok(()) };
        let mut kill = self.account.command(Path::new("/bin/sh"), Path::new("/"));
        // One may have ended meanwhile.
        kill.arg("-c")
            .arg(format!("kill -s {signal} {} || true", children_of(postmaster).join(" ")));
        run("kill", kill)?;
        Ok(())
    }

    /// A standby of this cluster, in a temporary directory of its own, which replays what this one commits.
    /// `pg_promote()` makes it a primary.
    ///
    /// # Errors
    /// When it cannot be copied or does not start.
    pub fn standby(&self) -> Result<Self, StoreError> {
        let directory = self.account.private_directory(&super::temporary_directory("standby"))?;
        let mut copy = self.account.command(&self.programs.join("pg_basebackup"), &directory);
        copy.args(["--write-recovery-conf", "--checkpoint", "fast", "--no-sync", "--pgdata"])
            .arg(directory.join(DATA))
            .args(["--dbname", &self.url("postgres")]);
        run("pg_basebackup", copy)?;
        let mut standby = Self {
            directory,
            programs: self.programs.clone(),
            account: self.account,
            durability: self.durability,
            temporary: true,
            settings: self.settings.clone(),
            watchdog: None,
        };
        standby.launch()?;
        Ok(standby)
    }

    /// Starts PostgreSQL again in the same place; a running one is stopped before.
    ///
    /// # Errors
    /// As [`PostgresCluster::start`].
    pub fn restart(&mut self) -> Result<(), StoreError> {
        if let Some(mut watchdog) = self.watchdog.take() {
            watchdog.keep_files()?;
        }
        self.launch()
    }

    /// Makes the cluster's files if there are none. They get their name when they are complete, so that an interrupted
    /// first start leaves nothing that looks like a cluster.
    fn initialise(&self) -> Result<(), StoreError> {
        let data = self.directory.join(DATA);
        if data.exists() {
            return Ok(());
        }
        let unfinished = self.directory.join("data.new");
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished).map_err(while_doing("removing an unfinished cluster"))?;
        }
        let mut initdb = self.account.command(&self.programs.join("initdb"), &self.directory);
        initdb
            .args([
                "--username",
                USER,
                "--auth",
                "trust",
                "--encoding",
                "UTF8",
                "--locale",
                "C",
                "--pgdata",
            ])
            .arg(&unfinished);
        if self.durability == Durability::Volatile {
            initdb.arg("--no-sync");
        }
        run("initdb", initdb)?;
        std::fs::rename(&unfinished, &data).map_err(while_doing("naming the new cluster"))
    }

    /// A PostgreSQL of an earlier run that was killed may still run or be stopping, or have left its pid file, whose number
    /// may be another process's by now.
    fn end_earlier_run(&self) -> Result<(), StoreError> {
        let data = self.directory.join(DATA);
        let pid_file = data.join("postmaster.pid");
        let Ok(text) = std::fs::read_to_string(&pid_file) else {
            return Ok(());
        };
        let pid = text.lines().next().unwrap_or_default();
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if !String::from_utf8_lossy(&command).contains(&data.display().to_string()) {
            return std::fs::remove_file(&pid_file).or_else(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Ok(()),
                _ => Err(while_doing("removing a stale postmaster.pid")(error)),
            });
        }
        let mut stop = self.account.command(&self.programs.join("pg_ctl"), &self.directory);
        stop.args(["stop", "--mode", "fast", "--wait", "--timeout", "60", "--pgdata"])
            .arg(&data);
        match run("pg_ctl", stop) {
            // It may have ended by itself just before.
            Err(error) if pid_file.exists() => Err(error),
            _ => Ok(()),
        }
    }

    fn launch(&mut self) -> Result<(), StoreError> {
        let mut command = vec![self.programs.join("postgres").display().to_string(), "-D".to_owned()];
        command.extend([
            self.directory.join(DATA).display().to_string(),
            "-k".to_owned(),
            self.directory.display().to_string(),
        ]);
        let volatile: &[(&str, &str)] = match self.durability {
            Durability::Durable => &[],
            Durability::Volatile => &[("fsync", "off"), ("synchronous_commit", "off"), ("full_page_writes", "off")],
        };
        // Space for a test binary's servers, each with a pool; an unused connection costs nothing.
        let ours = [
            ("listen_addresses", ""),
            ("max_connections", "400"),
            ("shared_buffers", "64MB"),
            ("unix_socket_permissions", "0700"),
        ];
        let theirs = self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        for (key, value) in ours.into_iter().chain(volatile.iter().copied()).chain(theirs) {
            command.extend(["-c".to_owned(), format!("{key}={value}")]);
        }
        let watchdog = Watchdog::start(&Watched {
            name: "PostgreSQL",
            account: self.account,
            directory: &self.directory,
            environment: Vec::new(),
            command,
            // "Immediate" for what is thrown away, "fast" (a checkpoint, so that the next start is quick) for what is kept.
            stop_signal: if self.temporary { "QUIT" } else { "INT" },
            remove: self.temporary.then_some(self.directory.as_path()),
        })?;
        watchdog.wait_until_ready(|| self.accepts_connections())?;
        self.watchdog = Some(watchdog);
        Ok(())
    }

    fn accepts_connections(&self) -> bool {
        let mut ready = self.account.command(&self.programs.join("pg_isready"), Path::new("/"));
        ready
            .args(["--quiet", "--host"])
            .arg(&self.directory)
            .status()
            .is_ok_and(|status| status.success())
    }
}

/// The processes whose parent is this one.
fn children_of(parent: u32) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = processes.filter_map(|process| process.file_name().into_string().ok());
    let parent = parent.to_string();
    names
        .filter(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // The state and the parent follow the name, which is in brackets.
            stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)) == Some(&*parent)
        })
        .collect()
}

fn run(name: &str, mut command: Command) -> Result<String, StoreError> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(while_doing(format!("starting {name}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(StoreError::Failed {
        program: name.to_owned(),
        output: String::from_utf8_lossy(&said).trim().to_owned(),
    })
}
