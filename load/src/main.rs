//! faircross-load: realistic load with honest latencies.
//!
//! Players are created and launched through the operator's endpoints, bet, step, cash out, look at their history, reconnect and
//! change seeds, as a scenario says. Every answer is held to the rules of the game while the load runs ([`checks`]); latencies
//! count from the instant at which an action was meant to begin. With `--self` everything that is needed runs for the time
//! of the load: private stores, the simulated operator and servers from the built `faircross`; it ends with the audit.
//!
//! It only ever loads this machine, and it ends by itself. `bench` compares the product with bare handlers
//! ([`bench`]), `growth` asks what more players and more bets do to it ([`growth`]).

mod answers;
mod bench;
mod checks;
mod connection;
mod draws;
mod growth;
mod launch;
mod own_process;
mod own_set;
mod player;
mod progress;
mod recorder;
mod report;
mod resources;
mod round;
mod scenario;
mod stages;
mod transcript;
mod world;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use faircross::chance::Chance;
use tokio::signal::unix::{SignalKind, signal};

use connection::Connection;
use own_set::OwnSet;
use report::{AuditReport, Report, StageReport, Starts};
use resources::{Meter, Sources};
use scenario::{Scenario, Stage};
use stages::Players;
use transcript::Transcript;
use world::{Operator, World};

/// So long after its end a stage waits for the rounds that it began.
const OVERTIME: Duration = Duration::from_secs(180);

/// What the tool fails with.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Realistic load on faircross.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Options {
    #[command(subcommand)]
    task: Option<Task>,
    /// Starts private stores, an operator and servers, loads them, audits them and stops them.
    #[arg(long = "self", conflicts_with = "target")]
    own_set: bool,
    /// The built faircross for `--self`; without it the one next to this program.
    #[arg(long, value_name = "FILE")]
    faircross: Option<PathBuf>,
    /// How many servers `--self` starts.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    servers: u8,
    /// A running server, as address:port of this machine; repeatable. Players are spread over them.
    #[arg(long, value_name = "ADDRESS", required_unless_present = "own_set")]
    target: Vec<SocketAddr>,
    /// The agent whose players play on the targets.
    #[arg(long, default_value = "demo")]
    agent_id: String,
    /// Its certificate.
    #[arg(long, default_value = "demo-cert")]
    certificate: String,
    /// The currency to play in.
    #[arg(long, default_value = "INR")]
    currency: String,
    /// standard, smoke, round, ramp, soak, or a file like those in load/scenarios.
    #[arg(long, default_value = "standard", value_name = "NAME|FILE")]
    scenario: String,
    /// The same as `--scenario smoke`: a few seconds, for CI.
    #[arg(long)]
    smoke: bool,
    /// Repeats the players' decisions of another run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A process whose CPU time and memory are reported; repeatable.
    #[arg(long, value_name = "NAME=PID")]
    process: Vec<NamedProcess>,
    /// The servers' Redis, to report what it does.
    #[arg(long, value_name = "URL")]
    redis_url: Option<String>,
    /// The servers' PostgreSQL, to report what it does.
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// Records with perf where the server of `--self` spends its time, into this file.
    #[arg(long, requires = "own_set", value_name = "FILE")]
    perf: Option<PathBuf>,
    /// Where report.html, report.json and transcript.jsonl go.
    #[arg(long, default_value = "target/load", value_name = "DIRECTORY")]
    out: PathBuf,
}

#[derive(Subcommand)]
enum Task {
    Bench(bench::BenchOptions),
    Growth(growth::GrowthOptions),
}

#[derive(Clone)]
struct NamedProcess(String, u32);

impl FromStr for NamedProcess {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = text
            .split_once('=')
            .and_then(|(name, pid)| Some((name.to_owned(), pid.parse().ok()?)));
        named.map(|(name, pid)| Self(name, pid)).ok_or("write it as name=pid")
    }
}

// One thread: it leaves the other cores to what is measured, and drives a few thousand requests a second.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = Options::parse();
    let ran = match &options.task {
        Some(Task::Bench(bench)) => unless_stopped(bench::run(bench)).await,
        Some(Task::Growth(growth)) => unless_stopped(growth::run(growth)).await,
        None => run(&options).await,
    };
    match ran {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("faircross-load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does the work, unless it is stopped from outside; what was started ends either way.
async fn unless_stopped(work: impl Future<Output = Result<bool, Failure>>) -> Result<bool, Failure> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        done = work => done,
        _ = interrupt.recv() => Err("interrupted".into()),
        _ = terminate.recv() => Err("stopped".into()),
    }
}

/// Loads, reports, and says whether everything was right.
async fn run(options: &Options) -> Result<bool, Failure> {
    let scenario = Scenario::load(if options.smoke { "smoke" } else { &options.scenario })?;
    if let Some(target) = options.target.iter().find(|target| !target.ip().is_loopback()) {
        return Err(format!("{target} is not on this machine, and this tool loads nothing else").into());
    }
    std::fs::create_dir_all(&options.out)?;
    // It ends by itself when the server that it watches does.
    let mut perf = None;
    let own_set = match options.own_set {
        true => Some(OwnSet::start(&program(options.faircross.as_deref())?, usize::from(options.servers)).await?),
        false => None,
    };
    if let Some((file, set)) = options.perf.as_deref().zip(own_set.as_ref()) {
        perf = Some(Perf::record(set, file)?);
    }
    let transcript_file = options.out.join("transcript.jsonl");
    let world = Arc::new(world(options, own_set.as_ref(), scenario, &transcript_file)?);
    let mut meter = Meter::new(sources(options, own_set.as_ref())).await?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stages = tokio::select! {
        stages = play(&world, &mut meter) => stages?,
        _ = interrupt.recv() => return Err("interrupted".into()),
        _ = terminate.recv() => return Err("stopped".into()),
    };
    world.transcript.flush()?;
    let audit = match &own_set {
        Some(set) => set.audit(&transcript_file)?,
        None => None,
    };
    if own_set.is_some() && audit.is_none() {
        eprintln!("This faircross has no audit command: the books were not checked.");
    }
    let report = report(options, &world, stages, own_set.as_ref(), audit);
    report.write(&options.out)?;
    println!("{}", report.text());
    println!("Report: {}", options.out.join("report.html").display());
    drop(own_set);
    drop(perf);
    Ok(report.is_good())
}

/// perf on the first server.
struct Perf(Child);

impl Perf {
    fn record(set: &OwnSet, file: &Path) -> Result<Self, Failure> {
        let server = set.sources().processes.into_iter().find(|(name, _)| name == "server");
        let (_, pid) = server.ok_or("there is no server")?;
        let mut perf = Command::new("perf");
        perf.args([
            "record",
            "--freq",
            "199",
            "--call-graph",
            "dwarf,16384",
            "--pid",
            &pid.to_string(),
            "--output",
        ]);
        let child = perf.arg(file).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Ok(Self(child.map_err(|error| format!("perf: {error}"))?))
    }
}

impl Drop for Perf {
    fn drop(&mut self) {
        drop(self.0.wait());
    }
}

fn world(options: &Options, own_set: Option<&OwnSet>, scenario: Scenario, transcript: &Path) -> Result<World, Failure> {
    let given = Operator {
        agent_id: options.agent_id.clone(),
        certificate: options.certificate.clone(),
        currency: options.currency.clone(),
    };
    let servers = own_set.map_or_else(|| options.target.clone(), |set| set.addresses.clone());
    let operator = own_set.map_or(given, OwnSet::operator);
    // "l", eight characters, "n" and a number: within an operator's 21.
    let run = format!("l{}", &Chance.token()[..8]);
    let transcript = Transcript::create(transcript)?;
    Ok(World::new(servers, operator, scenario, options.seed, run, transcript))
}

fn sources(options: &Options, own_set: Option<&OwnSet>) -> Sources {
    let mut sources = own_set.map(OwnSet::sources).unwrap_or_default();
    sources
        .processes
        .extend(options.process.iter().map(|NamedProcess(name, pid)| (name.clone(), *pid)));
    sources.processes.push(("load tool".to_owned(), std::process::id()));
    sources.redis_url = sources.redis_url.or_else(|| options.redis_url.clone());
    sources.database_url = sources.database_url.or_else(|| options.database_url.clone());
    sources
}

/// Creates the players and plays all stages. The first report is that of the players' creation.
async fn play(world: &Arc<World>, meter: &mut Meter) -> Result<Vec<StageReport>, Failure> {
    let mut road = Connection::new(world.servers[0]);
    world.look_at_road(&mut road).await;
    let before = meter.sample().await?;
    world.next_recorder();
    let begun = Instant::now();
    let mut players = Players::join(world, world.scenario.most_players()).await?;
    let lasted = begun.elapsed();
    let after = meter.sample().await?;
    let usage = meter.usage(&before, &after, 0, lasted, &world.operator.agent_id, &[]).await?;
    let mut reports = vec![StageReport::new(
        "Creating and launching players",
        &world.next_recorder(),
        lasted,
        usage,
    )];
    for stage in &world.scenario.stages.clone() {
        reports.push(play_stage(world, meter, &mut players, stage).await?);
    }
    Ok(reports)
}

async fn play_stage(world: &Arc<World>, meter: &mut Meter, players: &mut Players, stage: &Stage) -> Result<StageReport, Failure> {
    let before = meter.sample().await?;
    world.next_recorder();
    let begun = Instant::now();
    tokio::select! {
        played = players.play(stage) => played?,
        () = world.watch_road() => {}
        () = progress::show(world, stage) => {}
        () = tokio::time::sleep(OVERTIME + Duration::from_secs(stage.seconds().unwrap_or(0))) => {
            return Err(format!("{}: rounds were still under way {} s after its end", stage.name(), OVERTIME.as_secs()).into());
        }
    }
    let lasted = begun.elapsed();
    progress::clear();
    let recorder = world.next_recorder();
    let after = meter.sample().await?;
    let users: Vec<String> = players.names().map(str::to_owned).collect();
    let usage = meter
        .usage(&before, &after, recorder.rounds, lasted, &world.operator.agent_id, &users)
        .await?;
    Ok(StageReport::new(stage.name(), &recorder, lasted, usage))
}

fn report(options: &Options, world: &World, stages: Vec<StageReport>, own_set: Option<&OwnSet>, audit: Option<AuditReport>) -> Report {
    let (violations, first_violations) = world.violations();
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1_000.0;
    Report {
        title: world.scenario.title.clone(),
        seed: options.seed,
        servers: world.servers.len(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        stages,
        violations,
        first_violations,
        starts: own_set.map(|set| Starts {
            with_new_database_ms: milliseconds(set.first_start),
            with_warm_database_ms: milliseconds(set.warm_start),
        }),
        audit,
    }
}

/// The faircross to start: the one named, or the one that was built with this program.
fn program(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let program = match named {
        Some(program) => std::path::absolute(program)?,
        None => std::env::current_exe()?.with_file_name("faircross"),
    };
    if program.is_file() {
        Ok(program)
    } else {
        Err(format!(
            "there is no {}: build it (cargo build), or name one with --faircross",
            program.display()
        )
        .into())
    }
}
