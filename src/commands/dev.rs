//! `faircross dev`: everything on one machine for a newcomer.
//!
//! A private Redis and PostgreSQL, the simulated operator and the server run as children of this command, on unix sockets and
//! on ports of 127.0.0.1. What they keep lies in one directory (`.dev`) and is there again at the next start. The
//! set-up is done with the commands and requests that a real one takes: `migrate`, `agent add`, createMember and
//! doLoginAndLaunchGame. When this command ends, however it does, its children end.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::chance::Chance;
use crate::settings::{Environment, GameSettings, Settings};
use crate::stores::{Durability, OwnProcess, PostgresCluster, RedisServer, missing};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const AGENT: &str = "demo";
const CERTIFICATE: &str = "demo-cert";
const PLAYER: &str = "player1";
const CURRENCY: &str = "INR";
const DATABASE: &str = "faircross";
/// How often the children are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Runs everything on this machine, to play and to try things out.
#[derive(Clone, Debug, clap::Args)]
pub struct DevOptions {
    /// The port of 127.0.0.1 to serve on; the next free one is taken when it is busy.
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// Where the stores, the secrets and the logs are kept.
    #[arg(long, default_value = ".dev")]
    pub data_dir: PathBuf,
}

/// Runs until Ctrl-C or SIGTERM, or until a child ends, which is a failure.
///
/// # Errors
/// When something cannot be started; the message says what, and what its log says.
pub async fn run(options: DevOptions) -> Result<ExitCode, Failure> {
    let directory = std::path::absolute(&options.data_dir)?;
    std::fs::create_dir_all(&directory)?;
    let _lock = lock(&directory)?;
    // Until here and below Ctrl-C ends this process at once; its watchdogs stop what was started.
    let demo = start(&directory, options.port)?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        outcome = demo.welcome_players() => outcome?,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    say("\nStopping ...");
    drop(demo);
    Ok(ExitCode::SUCCESS)
}

/// All that runs, in the order in which it has to end.
struct Demo {
    server: OwnProcess,
    operator: OwnProcess,
    _redis: RedisServer,
    _postgres: PostgresCluster,
    address: String,
    game: GameSettings,
    directory: PathBuf,
}

fn start(directory: &Path, wanted_port: u16) -> Result<Demo, Failure> {
    let game = Settings::load(None, &Environment::of_process())?.game;
    let missing: Vec<String> = missing().iter().map(ToString::to_string).collect();
    if !missing.is_empty() {
        return Err(missing.join("\n").into());
    }
    say("Starting PostgreSQL and Redis ...");
    let postgres_directory = directory.join("postgres");
    let postgres = PostgresCluster::start(&postgres_directory, Durability::Durable)?;
    if postgres.directory() != postgres_directory {
        say(&format!(
            "(PostgreSQL may not run as root, and its user cannot reach {}:",
            postgres_directory.display()
        ));
        say(&format!(" its files are in {})", postgres.directory().display()));
    }
    if postgres
        .execute("postgres", &format!("select 1 from pg_database where datname = '{DATABASE}'"))?
        .is_empty()
    {
        postgres.create_database(DATABASE, None)?;
    }
    let redis = RedisServer::start(&directory.join("redis"))?;

    let port = free_port(wanted_port)?;
    if port != wanted_port {
        say(&format!("Port {wanted_port} is taken; the server takes {port}."));
    }
    let operator_port = free_port(port.saturating_add(1000))?;
    let address = format!("http://127.0.0.1:{port}");
    let environment = environment(directory, port, &address, &postgres.url(DATABASE), &redis.url())?;
    run_to_end(&["migrate"], &environment)?;
    let operator = start_operator(directory, operator_port)?;
    let callback_url = format!("http://127.0.0.1:{operator_port}/");
    let agent = [
        "--agent-id",
        AGENT,
        "--cert",
        CERTIFICATE,
        "--callback-url",
        &callback_url,
        "--allow-ip",
        "127.0.0.1",
        "--currency",
        CURRENCY,
        "--allow-published-certificate",
    ];
    run_to_end(&[&["agent", "add"], &agent[..]].concat(), &environment)?;
    say("Starting the server ...");
    let server = OwnProcess::start("the server", &directory.join("server"), &["serve".to_owned()], &environment)?;
    server.wait_until_ready(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())?;
    Ok(Demo {
        server,
        operator,
        _redis: redis,
        _postgres: postgres,
        address,
        game,
        directory: directory.to_owned(),
    })
}

fn start_operator(directory: &Path, port: u16) -> Result<OwnProcess, Failure> {
    let place = directory.join("operator");
    std::fs::create_dir_all(&place)?;
    let ledger = place.join("ledger").display().to_string();
    let certificate = format!("{AGENT}={CERTIFICATE}");
    let port_text = port.to_string();
    let arguments = [
        "operator",
        "--port",
        &port_text,
        "--agent-certificate",
        &certificate,
        "--data",
        &ledger,
        "--currency",
        CURRENCY,
    ];
    let operator = OwnProcess::start("the simulated operator", &place, &arguments.map(str::to_owned), &[])?;
    operator.wait_until_ready(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())?;
    Ok(operator)
}

impl Demo {
    /// Prints a launch link now and at every Enter, until a child ends.
    async fn welcome_players(&self) -> Result<(), Failure> {
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        self.wait_until_ready(&client).await?;
        self.create_player(&client).await?;
        say(&format!(
            "\nPlay here (the link signs in one visit):\n\n    {}\n",
            self.launch_link(&client).await?
        ));
        say("Enter: another link.  Ctrl-C: stop everything.");
        say(&format!(
            "Logs, data and settings are in {} and are there again at the next start;",
            self.directory.display()
        ));
        say(&format!(
            "`set -a; . {}/environment` lets other commands use them.",
            self.directory.display()
        ));
        let mut lines = lines_of_terminal();
        loop {
            tokio::select! {
                Some(()) = lines.recv() => say(&format!("\n    {}\n", self.launch_link(&client).await?)),
                () = tokio::time::sleep(LOOK_EVERY) => self.check_children()?,
            }
        }
    }

    fn check_children(&self) -> Result<(), Failure> {
        match [&self.server, &self.operator].into_iter().find(|process| !process.is_running()) {
            Some(process) => Err(process.ended().into()),
            None => Ok(()),
        }
    }

    async fn wait_until_ready(&self, client: &reqwest::Client) -> Result<(), Failure> {
        let address = format!("{}/health/ready", self.address);
        for _ in 0..120 {
            self.check_children()?;
            if client.get(&address).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY / 5).await;
        }
        let answer = client.get(&address).send().await?.text().await?;
        Err(format!("the server does not become ready: {answer}").into())
    }

    async fn create_player(&self, client: &reqwest::Client) -> Result<(), Failure> {
        let fields = [
            ("userId", PLAYER),
            ("currency", CURRENCY),
            ("betLimit", ""),
            ("language", "en"),
            ("userName", "Player One"),
        ];
        let answer = self.ask(client, "createMember", &fields).await?;
        // 1001: there already, from an earlier start.
        if ["0000", "1001"].contains(&status(&answer)) {
            Ok(())
        } else {
            Err(format!("createMember answered {answer}").into())
        }
    }

    async fn launch_link(&self, client: &reqwest::Client) -> Result<String, Failure> {
        let game = [
            ("platform", self.game.platform.as_str()),
            ("gameType", &self.game.game_type),
            ("gameCode", &self.game.game_code),
        ];
        let answer = self
            .ask(client, "doLoginAndLaunchGame", &[&[("userId", PLAYER)], &game[..]].concat())
            .await?;
        let link = answer.get("url").and_then(Value::as_str).filter(|_| status(&answer) == "0000");
        link.map(str::to_owned)
            .ok_or_else(|| format!("doLoginAndLaunchGame answered {answer}").into())
    }

    async fn ask(&self, client: &reqwest::Client, path: &str, fields: &[(&str, &str)]) -> Result<Value, Failure> {
        let mut form = vec![("cert", CERTIFICATE), ("agentId", AGENT)];
        form.extend(fields.iter().filter(|(_, value)| !value.is_empty()));
        let request = client.post(format!("{}/wallet/{path}", self.address)).form(&form);
        Ok(request.send().await?.json().await?)
    }
}

fn status(answer: &Value) -> &str {
    answer.get("status").and_then(Value::as_str).unwrap_or_default()
}

/// One `dev` at a time in a directory. The lock goes with the process.
fn lock(directory: &Path) -> Result<File, Failure> {
    let file = File::create(directory.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(format!("another `faircross dev` is using {}", directory.display()).into()),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// The settings of this machine's server as variables, with the secrets, also written to `environment` for other commands.
fn environment(directory: &Path, port: u16, address: &str, database_url: &str, redis_url: &str) -> Result<Vec<(String, String)>, Failure> {
    let mut environment = secrets(&directory.join("secrets"))?;
    let port = port.to_string();
    let ours = [
        ("DATABASE_URL", database_url),
        ("REDIS_URL", redis_url),
        ("FAIRCROSS__DATABASE__URL", database_url),
        ("FAIRCROSS__REDIS__URL", redis_url),
        ("FAIRCROSS__SERVER__BIND", "127.0.0.1"),
        ("FAIRCROSS__SERVER__PORT", &port),
        ("FAIRCROSS__SERVER__FRONTEND_URL", address),
        // No balancer has to notice that it ends.
        ("FAIRCROSS__SERVER__DRAIN_DELAY_S", "0"),
        ("FAIRCROSS__WALLET__ALLOW_PRIVATE_CALLBACKS", "true"),
    ];
    environment.extend(ours.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let lines: String = environment.iter().map(|(name, value)| format!("{name}='{value}'\n")).collect();
    let path = directory.join("environment");
    drop(std::fs::remove_file(&path));
    private_file(&path)?.write_all(lines.as_bytes())?;
    Ok(environment)
}

/// This directory's secrets, drawn at the first start. What is sealed in its PostgreSQL can be opened with them only.
fn secrets(path: &Path) -> Result<Vec<(String, String)>, Failure> {
    if !path.exists() {
        let keys = ["JWT_KEY", "SEALING_KEY"].map(|name| format!("FAIRCROSS__SECRETS__{name}={}\n", hex::encode(Chance.bytes_32())));
        let unfinished = path.with_extension("new");
        drop(std::fs::remove_file(&unfinished));
        private_file(&unfinished)?.write_all(keys.concat().as_bytes())?;
        std::fs::rename(&unfinished, path)?;
    }
    let text = std::fs::read_to_string(path)?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, key)| (name.to_owned(), key.to_owned()))
        .collect())
}

fn private_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// The port, or the next one that nobody listens on.
fn free_port(wanted: u16) -> Result<u16, Failure> {
    let candidates = wanted..=wanted.saturating_add(200);
    let free = candidates
        .into_iter()
        .find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
    match free {
        Some(listener) => Ok(listener.local_addr()?.port()),
        None => Err(format!("no port from {wanted} on is free; choose another with --port").into()),
    }
}

/// Runs another command of this binary and waits for its end.
fn run_to_end(arguments: &[&str], environment: &[(String, String)]) -> Result<(), Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command
        .args(arguments)
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let name = arguments
        .iter()
        .take_while(|word| !word.starts_with('-'))
        .copied()
        .collect::<Vec<_>>()
        .join(" ");
    Err(format!("`faircross {name}` failed: {}", String::from_utf8_lossy(&said).trim()).into())
}

/// A message for each line typed. A terminal can only be read by a thread that nobody can wake, so nobody waits for it.
fn lines_of_terminal() -> mpsc::Receiver<()> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if line.is_err() || sender.blocking_send(()).is_err() {
                break;
            }
        }
    });
    receiver
}

fn say(text: &str) {
    // A closed terminal is no reason to stop.
    drop(writeln!(std::io::stdout(), "{text}"));
}
