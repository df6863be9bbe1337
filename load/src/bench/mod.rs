//! `faircross-load bench`: the product beside bare handlers that do the same calls, in one run on one machine, and the targets.
//!
//! A figure of one machine on one day says little; a ratio says what the product costs above the calls that it cannot do without.
//! Short segments of both servers alternate, first the one and then the other in front, so that the machine's moods meet both. Of
//! every pair of segments the ratio is taken; the median of the ratios is reported with the lowest and the highest.

mod comparison;
mod generator;
mod occupancy;
pub mod page;
mod raw;
pub mod report;
mod sides;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use faircross::chance::Chance;

use crate::Failure;
use crate::connection::Connection;
use crate::own_set::OwnSet;
use crate::player::Player;
use crate::recorder::{Action, Recorder};
use crate::scenario::{Scenario, Stage};
use crate::stages::Players;
use crate::transcript::Transcript;
use crate::world::World;

use comparison::{Comparison, Pair, one_sided};
use generator::Act;
use report::{Report, Row};
use sides::{Side, Sides};

/// Players at one instant.
const BURST: usize = 80;
/// Players who play at their own pace.
const PACED: usize = 256;
/// The pause of each of them before an action: about a thousand actions a second of all.
const PACE_MS: u64 = 250;

/// Compares the product with bare handlers and checks the targets.
#[derive(clap::Args)]
pub struct BenchOptions {
    /// A minute instead of six: shows that everything works; its figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Only what is compared with the bare handlers: two minutes, while something is being changed.
    #[arg(long)]
    only_comparison: bool,
    /// The built faircross; without it the one next to this program.
    #[arg(long, value_name = "FILE")]
    faircross: Option<PathBuf>,
    /// How many connections ask at the same time.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Where report.html, report.json and report.md go.
    #[arg(long, default_value = "target/bench", value_name = "DIRECTORY")]
    out: PathBuf,
}

/// How much of everything.
pub struct Extent {
    /// Rounds of a compared segment.
    pub rounds: usize,
    /// Segments of each side; one more goes before them and does not count. An even number, so that each side is in front as often:
    /// whoever comes first does better.
    pub cycles: usize,
    /// Time of the segments that are not counted in rounds.
    pub segment: Duration,
    pub open_rounds: usize,
    pub sessions: usize,
    pub bursts: u32,
    pub paced_s: u64,
    pub raw_requests: usize,
}

impl Extent {
    fn new(options: &BenchOptions) -> Self {
        if options.quick {
            return Self {
                rounds: 64,
                cycles: 1,
                segment: Duration::from_millis(500),
                open_rounds: 200,
                sessions: 1_000,
                bursts: 1,
                paced_s: 2,
                raw_requests: 2_000,
            };
        }
        let rounds = 2_000;
        Self {
            rounds,
            cycles: 6,
            segment: Duration::from_secs(5),
            open_rounds: if options.only_comparison { rounds } else { 10_000 },
            sessions: 50_000,
            bursts: 5,
            paced_s: 15,
            raw_requests: 200_000,
        }
    }
}

/// Runs the bench; false when a book is wrong. (A missed target is a finding and no failure.)
///
/// # Errors
/// When something cannot be started or asked.
pub async fn run(options: &BenchOptions) -> Result<bool, Failure> {
    let extent = Extent::new(options);
    std::fs::create_dir_all(&options.out)?;
    let mut set = OwnSet::start(&crate::program(options.faircross.as_deref())?, 1).await?;
    let transcript = options.out.join("transcript.jsonl");
    let world = world(&set, &transcript, "standard")?;
    say(&format!("{} players come in", extent.open_rounds + PACED));
    world.look_at_road(&mut Connection::new(set.addresses[0])).await;
    let mut players = Players::join(&world, PACED + extent.open_rounds).await?.0;
    let crowd = without_connections(players.split_off(PACED), &set);
    let mut sides = Sides::start(&set, &world, &crowd, options.connections).await?;

    let comparisons = compare(&mut sides, &extent).await?;
    let mut rows = comparison::rows(&comparisons);
    let (mut bare_only, mut raw) = (Vec::new(), Vec::new());
    if !options.only_comparison {
        rows.extend(together(&world, Players(players), &extent).await?);
        let (occupied, redis_raw) = occupancy::measure(&mut sides, &set, &extent).await?;
        rows.extend(occupied);
        raw = redis_raw;
        let warm_start_ms = set.warm_start.as_secs_f64() * 1_000.0;
        rows.push(Row::at_most("Start to ready, warm database", warm_start_ms, "ms", 300.0));
        bare_only.push(one_sided(&mut sides, Act::CommittedSteps, "script + commit (bare)", &extent).await?);
    }
    drop(sides);

    world.transcript.flush()?;
    say("the audit");
    let audit = set.audit(&transcript)?.ok_or("this faircross has no audit")?;
    set.stop_servers();
    if !options.only_comparison {
        raw.push(raw::pgbench(&set, &world, &extent)?);
    }

    let report = Report {
        machine: machine(),
        quick: options.quick,
        connections: options.connections,
        comparisons,
        bare_only,
        raw,
        rows,
        audit,
    };
    report.write(&options.out)?;
    println!("{}", report.text());
    println!("Report: {}", options.out.join("report.html").display());
    Ok(report.audit.passed)
}

/// Alternates the segments of both sides.
async fn compare(sides: &mut Sides, extent: &Extent) -> Result<Vec<Comparison>, Failure> {
    let acts = [
        (Act::Bet, "bet"),
        (Act::SafeSteps, "safe step"),
        (Act::RepeatedSteps, "repeated step"),
        (Act::CashOut, "cash-out"),
        (Act::WholeRounds, "whole round"),
    ];
    let mut comparisons: Vec<Comparison> = acts.iter().map(|(act, name)| Comparison::new(*act, name)).collect();
    for cycle in 0..=extent.cycles {
        say(&format!("comparison {cycle} of {} (0 is the warm-up)", extent.cycles));
        let order = if cycle % 2 == 0 {
            [Side::Ours, Side::Bare]
        } else {
            [Side::Bare, Side::Ours]
        };
        for comparison in &mut comparisons {
            let mut pair = Pair::default();
            for side in order {
                let measure = sides.segment(side, comparison.act, extent.rounds, extent.segment).await?;
                *pair.of(side) = measure;
            }
            match comparison.act {
                Act::Bet => sides.look_up_safe_lanes().await?,
                // Who could not cash out has a hazard on the first lane.
                Act::CashOut => {
                    sides.segment(Side::Ours, Act::LeaveTheStart, extent.rounds, extent.segment).await?;
                }
                _ => {}
            }
            if cycle > 0 {
                comparison.pairs.push(pair);
            }
        }
    }
    Ok(comparisons)
}

/// Many players of the load tool: all at one instant, and all at their own pace.
async fn together(world: &Arc<World>, mut players: Players, extent: &Extent) -> Result<Vec<Row>, Failure> {
    say("players at one instant, and players at their own pace");
    let burst = Stage::Burst {
        name: String::new(),
        players: BURST,
        times: extent.bursts,
    };
    let recorder = play(world, &mut players, &burst).await?;
    let paced = Stage::Closed {
        name: String::new(),
        players: PACED,
        seconds: extent.paced_s,
        pause_ms: PACE_MS,
        ramp: false,
    };
    let bets = recorder.actions.get(&Action::Bet).ok_or("nobody bet")?;
    let slowest_ms = recorder.percentile_ms(Action::Bet, 100.0).unwrap_or(f64::INFINITY);
    // An epoch that ends at that very instant refuses bets by right.
    let refused: u64 = bets
        .errors
        .iter()
        .filter(|(code, _)| *code != "stale_hazard_epoch")
        .map(|(_, count)| count)
        .sum();
    let mut rows = vec![
        Row::at_most(
            &format!("{BURST} players bet at one instant: the last answer"),
            slowest_ms,
            "ms",
            200.0,
        ),
        Row::at_most(&format!("{BURST} players bet at one instant: refused"), refused as f64, "", 0.0),
    ];
    let recorder = play(world, &mut players, &paced).await?;
    for action in [Action::SafeStep, Action::Session, Action::Hazards] {
        if let Some(p90_ms) = recorder.percentile_ms(action, 90.0) {
            let subject = format!("p90 of {} with {PACED} players who pause {PACE_MS} ms", action.name());
            rows.push(Row::at_most(&subject, p90_ms, "ms", 10.0));
        }
    }
    let (violations, first) = world.violations();
    for violation in first {
        eprintln!("broken rule: {violation}");
    }
    rows.push(Row::at_most("Answers that break a rule of the game", violations as f64, "", 0.0));
    Ok(rows)
}

/// Plays one stage and hands out what was recorded in it.
pub async fn play(world: &Arc<World>, players: &mut Players, stage: &Stage) -> Result<Recorder, Failure> {
    // The epoch may have moved on since anybody looked.
    world.look_at_road(&mut Connection::new(world.servers[0])).await;
    world.next_recorder();
    tokio::select! {
        played = players.play(stage) => played?,
        () = world.watch_road() => {}
    }
    Ok(world.next_recorder())
}

/// A world with the habits of a scenario, and a transcript.
///
/// # Errors
/// When the transcript cannot be written.
pub fn world(set: &OwnSet, transcript: &std::path::Path, scenario: &str) -> Result<Arc<World>, Failure> {
    let run = format!("b{}", &Chance.token()[..8]);
    let transcript = Transcript::create(transcript)?;
    let scenario = Scenario::load(scenario)?;
    Ok(Arc::new(World::new(
        set.addresses.clone(),
        set.operator(),
        scenario,
        1,
        run,
        transcript,
    )))
}

/// The generator brings connections of its own; those of the players' arrival would only be kept open.
fn without_connections(mut players: Vec<Player>, set: &OwnSet) -> Vec<Player> {
    for player in &mut players {
        player.connection = Connection::new(set.addresses[0]);
    }
    players
}

/// What the figures come from.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split_whitespace().take(3).collect();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, name)| name);
    let date = Command::new("date").arg("-u").arg("+%Y-%m-%d %H:%M UTC").output();
    let date = date
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default();
    format!(
        "{date}, {cores} cores for everything ({cpu}), load average at the end {}",
        load.join(" ")
    )
}

/// Tells how far it is.
pub fn say(text: &str) {
    eprintln!("bench: {text}");
}
