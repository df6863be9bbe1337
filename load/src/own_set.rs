//! A set of our own to load: private stores, the simulated operator and one or several servers, all stopped at the end.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use faircross::chance::Chance;
use faircross::stores::{Durability, PostgresCluster, RedisServer};

use crate::Failure;
use crate::own_process::OwnProcess;
use crate::report::AuditReport;
use crate::resources::Sources;
use crate::world::Operator;

const AGENT: &str = "load";
const CERTIFICATE: &str = "load-cert";
const CURRENCY: &str = "INR";
/// The database of its servers.
pub const DATABASE: &str = "faircross_load";
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// All that runs, in the order in which it has to end.
pub struct OwnSet {
    servers: Vec<OwnProcess>,
    operator: OwnProcess,
    redis: RedisServer,
    postgres: PostgresCluster,
    program: PathBuf,
    environment: Vec<(String, String)>,
    operator_address: SocketAddr,
    directory: Directory,
    pub addresses: Vec<SocketAddr>,
    /// From the start of a server's process to its first "ready", with a new database and with a warm one.
    pub first_start: Duration,
    pub warm_start: Duration,
}

impl OwnSet {
    /// Starts everything from a built `faircross`.
    ///
    /// # Errors
    /// When something cannot be started; the message says what, with the end of its log.
    pub async fn start(program: &Path, servers: usize) -> Result<Self, Failure> {
        Self::start_with(program, servers, &[]).await
    }

    /// The same with settings of PostgreSQL that go over ours.
    ///
    /// # Errors
    /// When something cannot be started; the message says what, with the end of its log.
    pub async fn start_with(program: &Path, servers: usize, postgres_settings: &[(&str, &str)]) -> Result<Self, Failure> {
        let directory = Directory::new()?;
        let postgres = PostgresCluster::temporary(Durability::Durable, postgres_settings)?;
        postgres.create_database(DATABASE, None)?;
        let redis = RedisServer::temporary(&[])?;
        let environment = environment(&postgres.url(DATABASE), &redis.url());
        run(program, &environment, &["migrate"])?;
        let operator_address = free_address()?;
        let operator = start_operator("operator", program, &directory.0, operator_address).await?;
        let callback_url = format!("http://{operator_address}/");
        run(
            program,
            &environment,
            &[
                "agent",
                "add",
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
            ],
        )?;
        let (first, first_start) = start_server(program, &directory.0, &environment, free_address()?).await?;
        drop(first);
        let mut set = Self {
            servers: Vec::new(),
            operator,
            redis,
            postgres,
            program: program.to_owned(),
            environment,
            operator_address,
            addresses: Vec::new(),
            first_start,
            warm_start: Duration::ZERO,
            directory,
        };
        for _ in 0..servers {
            set.add_server().await?;
        }
        Ok(set)
    }

    /// Starts one more server.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn add_server(&mut self) -> Result<(), Failure> {
        let address = free_address()?;
        let (server, took) = start_server(&self.program, &self.directory.0, &self.environment, address).await?;
        self.servers.push(server);
        self.addresses.push(address);
        self.warm_start = self.warm_start.max(took);
        Ok(())
    }

    /// Stops all servers.
    pub fn stop_servers(&mut self) {
        self.servers.clear();
        self.addresses.clear();
    }

    /// Its PostgreSQL.
    pub fn postgres(&self) -> &PostgresCluster {
        &self.postgres
    }

    /// Its Redis.
    pub fn redis(&self) -> &RedisServer {
        &self.redis
    }

    /// Where its operator listens.
    pub fn operator_address(&self) -> SocketAddr {
        self.operator_address
    }

    /// Where the logs of its processes are.
    pub fn directory(&self) -> &Path {
        &self.directory.0
    }

    /// The built `faircross` that it runs.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its operator, as players are created.
    pub fn operator(&self) -> Operator {
        Operator {
            agent_id: AGENT.to_owned(),
            certificate: CERTIFICATE.to_owned(),
            currency: CURRENCY.to_owned(),
        }
    }

    /// Its processes and stores, and this process.
    pub fn sources(&self) -> Sources {
        let servers = self.servers.iter().map(|server| ("server".to_owned(), server.pid));
        let others = [
            ("operator", Some(self.operator.pid)),
            ("Redis", self.redis.pid()),
            ("PostgreSQL", self.postgres.pid()),
        ];
        let others = others.into_iter().filter_map(|(name, pid)| Some((name.to_owned(), pid?)));
        Sources {
            processes: servers.chain(others).collect(),
            redis_url: Some(self.redis.url()),
            database_url: Some(self.postgres.url(DATABASE)),
        }
    }

    /// Holds the books against the operator's, once everything is settled. `None`: this binary has no audit.
    ///
    /// # Errors
    /// When the audit cannot be run.
    pub fn audit(&self, transcript: &Path) -> Result<Option<AuditReport>, Failure> {
        self.wait_until_settled()?;
        let help = self.faircross().args(["audit", "--help"]).output()?;
        if !help.status.success() {
            return Ok(None);
        }
        let mut audit = self.faircross();
        audit
            .args(["audit", "--settled", "--operator-ledger"])
            .arg(format!("http://{}", self.operator_address));
        if String::from_utf8_lossy(&help.stdout).contains("--transcripts") {
            audit.arg("--transcripts").arg(transcript);
        }
        let output = audit.output()?;
        Ok(Some(AuditReport {
            passed: output.status.success(),
            said: String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned(),
        }))
    }

    /// The last settles are on their way to the operator when the players stop. What is still owed after a while is the audit's
    /// finding.
    pub fn wait_until_settled(&self) -> Result<(), Failure> {
        let begun = Instant::now();
        let owed = "select count(*) from outbox where done_at is null";
        while begun.elapsed() < SETTLED_WITHIN && self.postgres.execute(DATABASE, owed)? != "0" {
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn faircross(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.envs(self.environment.iter().cloned()).stdin(Stdio::null());
        command
    }
}

fn environment(database_url: &str, redis_url: &str) -> Vec<(String, String)> {
    let secret = || Chance.bytes_32().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    [
        ("FAIRCROSS__DATABASE__URL", database_url.to_owned()),
        ("FAIRCROSS__REDIS__URL", redis_url.to_owned()),
        ("FAIRCROSS__SECRETS__JWT_KEY", secret()),
        ("FAIRCROSS__SECRETS__SEALING_KEY", secret()),
        ("FAIRCROSS__WALLET__ALLOW_PRIVATE_CALLBACKS", "true".to_owned()),
        // No balancer has to notice that a server ends.
        ("FAIRCROSS__SERVER__DRAIN_DELAY_S", "0".to_owned()),
        // Players here are faster than people.
        ("FAIRCROSS__RATE_LIMIT__REQUESTS", "1000000".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// Starts a simulated operator that knows the agent of [`OwnSet::operator`].
pub async fn start_operator(name: &str, program: &Path, directory: &Path, address: SocketAddr) -> Result<OwnProcess, Failure> {
    let port = address.port().to_string();
    let ledger = directory.join(format!("{name}.ledger")).display().to_string();
    let certificate = format!("{AGENT}={CERTIFICATE}");
    let arguments = [
        "operator",
        "--port",
        &port,
        "--data",
        &ledger,
        "--agent-certificate",
        &certificate,
        "--currency",
        CURRENCY,
        "--starting-balance",
        "10000000.00",
    ];
    let operator = OwnProcess::start(name, program, directory, &arguments, &[])?;
    operator.wait_until_ready(address, "/health").await?;
    Ok(operator)
}

async fn start_server(
    program: &Path,
    directory: &Path,
    environment: &[(String, String)],
    address: SocketAddr,
) -> Result<(OwnProcess, Duration), Failure> {
    let mut environment = environment.to_vec();
    environment.push(("FAIRCROSS__SERVER__PORT".to_owned(), address.port().to_string()));
    environment.push(("FAIRCROSS__SERVER__FRONTEND_URL".to_owned(), format!("http://{address}")));
    let begun = Instant::now();
    let name = format!("server-{}", address.port());
    let server = OwnProcess::start(&name, program, directory, &["serve"], &environment)?;
    server.wait_until_ready(address, "/health/ready").await?;
    Ok((server, begun.elapsed()))
}

/// A directory that goes with the set.
struct Directory(PathBuf);

impl Directory {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("faircross-load-{}", &Chance.token()[..12]));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Runs a command of the binary to its end.
fn run(program: &Path, environment: &[(String, String)], arguments: &[&str]) -> Result<(), Failure> {
    let output = Command::new(program)
        .args(arguments)
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("`faircross {}` failed: {}", arguments[0], String::from_utf8_lossy(&said).trim()).into())
}

/// A free port of this machine.
pub fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
