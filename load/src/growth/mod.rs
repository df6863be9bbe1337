//! `faircross-load growth`: what becomes of rates, latencies and query plans when there are more players and more bets.
//!
//! Players: so many, who together mean to act a thousand times a second, so that only their number changes. Bets: the table filled
//! with so many finished bets of other players, then the standard load, and then a while in which PostgreSQL explains every statement
//! that the product really runs (`plans.rs`). No such statement may read a whole table of those that grow.

mod fill;
mod plans;
mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::Method;

use crate::Failure;
use crate::bench::{machine, play, say, world};
use crate::connection::{Connection, Question};
use crate::own_set::OwnSet;
use crate::report::AuditReport;
use crate::scenario::Stage;
use crate::stages::Players;
use crate::world::World;

use plans::Statement;
use report::{Figures, Report};

/// Players of the load on a table of some size.
const PLAYERS: usize = 64;
/// Players whose rounds stay open meanwhile: what walks over all open rounds for one of them is seen by it.
const STANDING_PLAYERS: usize = 500;
/// Players and rounds a second while every statement is explained.
const EXPLAINED_PLAYERS: usize = 32;
const EXPLAINED_ROUNDS_PER_S: f64 = 10.0;
/// Longer than a sweep's interval and a retry's wait.
const EXPLAINED_S: u64 = 8;
/// Settles that the operator refuses meanwhile, so that there is something to claim and send again.
const REFUSED_SETTLES: &str = r#"{"settle": {"kind": "refuse", "count": 20}}"#;
/// All players of a number together mean to act so many times a second.
const ACTIONS_PER_S: usize = 1_000;

/// Measures with more and more players and bets.
#[derive(clap::Args)]
pub struct GrowthOptions {
    /// A minute and small numbers: shows that everything works; its figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// The built faircross; without it the one next to this program.
    #[arg(long, value_name = "FILE")]
    faircross: Option<PathBuf>,
    /// Numbers of players.
    #[arg(long, value_delimiter = ',', default_value = "1,10,100,1000,10000")]
    players: Vec<usize>,
    /// Numbers of rows in the bets table; ten million take some nine gigabytes of disk and a few minutes.
    #[arg(long, value_delimiter = ',', default_value = "10000,1000000,10000000")]
    rows: Vec<u64>,
    /// Where growth.html, growth.json and growth.md go.
    #[arg(long, default_value = "target/bench", value_name = "DIRECTORY")]
    out: PathBuf,
}

/// Measures all sizes; false when a statement reads a whole table or a book is wrong.
///
/// # Errors
/// When something cannot be started or asked.
pub async fn run(options: &GrowthOptions) -> Result<bool, Failure> {
    let (players, rows, seconds) = match options.quick {
        true => (vec![1, 10, 100], vec![10_000, 100_000], 3),
        false => (options.players.clone(), options.rows.clone(), 20),
    };
    std::fs::create_dir_all(&options.out)?;
    let program = crate::program(options.faircross.as_deref())?;
    let transcript = options.out.join("transcript.jsonl");
    let mut report = Report {
        machine: String::new(),
        quick: options.quick,
        players: Vec::new(),
        rows: Vec::new(),
        statements: Vec::new(),
        audits: Vec::new(),
    };
    if !players.is_empty() {
        let set = OwnSet::start(&program, 1).await?;
        for number in players {
            say(&format!("{number} players"));
            report.players.push(of_players(&set, number, seconds, &transcript).await?);
            report.audits.push(audit(&set, &transcript)?);
        }
    }
    for number in rows {
        let (figures, statements, audit) = of_rows(&program, number, seconds, &transcript).await?;
        report.rows.push(figures);
        report.statements.extend(statements);
        report.audits.push(audit);
    }
    report.machine = machine();
    report.write(&options.out)?;
    println!("{}", report.text());
    println!("Report: {}", options.out.join("growth.html").display());
    Ok(report.is_good())
}

/// So many players at one pace of all together.
async fn of_players(set: &OwnSet, number: usize, seconds: u64, transcript: &std::path::Path) -> Result<Figures, Failure> {
    let world = world(set, transcript, "round")?;
    let mut players = come_in(&world, number).await?;
    let pause = Duration::from_millis((number * 1_000 / ACTIONS_PER_S) as u64);
    let stage = Stage::Closed {
        name: String::new(),
        players: number,
        // Each acts a few times.
        seconds: seconds.max(4 * pause.as_secs()),
        pause_ms: pause.as_millis() as u64,
        ramp: false,
    };
    let recorder = play(&world, &mut players, &stage).await?;
    // Players join during the first pause, and the last rounds end after the stage.
    let steady = pause.as_secs() as usize..stage.seconds().unwrap_or(seconds) as usize;
    finished(&world, set)?;
    Ok(Figures::new(number as u64, &recorder, steady))
}

/// The standard load on a table of so many bets, and what PostgreSQL says of the product's statements there.
async fn of_rows(
    program: &std::path::Path,
    number: u64,
    seconds: u64,
    transcript: &std::path::Path,
) -> Result<(Figures, Vec<Statement>, AuditReport), Failure> {
    let mut set = OwnSet::start_with(program, 0, &plans::SETTINGS).await?;
    say(&format!("{number} bets are filled in"));
    let begun = Instant::now();
    let size = fill::fill(&set, number)?;
    say(&format!("{number} bets are there after {} s; {size}", begun.elapsed().as_secs()));
    set.add_server().await?;
    let world = world(&set, transcript, "standard")?;
    let mut players = come_in(&world, PLAYERS + STANDING_PLAYERS).await?;
    let mut standing = Players(players.0.split_off(PLAYERS));
    let stage = Stage::Closed {
        name: String::new(),
        players: PLAYERS,
        seconds,
        pause_ms: 0,
        ramp: false,
    };
    let recorder = play(&world, &mut players, &stage).await?;
    let figures = Figures::new(number, &recorder, 0..seconds as usize);

    tokio::select! {
        () = standing.open_rounds() => {}
        () = world.watch_road() => {}
    }
    say("PostgreSQL explains what it does");
    plans::switch(&set, true)?;
    order_refusals(&set).await?;
    let explained = Stage::Open {
        name: String::new(),
        players: EXPLAINED_PLAYERS,
        rounds_per_s: EXPLAINED_ROUNDS_PER_S,
        ramp_to: None,
        pace_ms: 100,
        seconds: EXPLAINED_S,
    };
    play(&world, &mut players, &explained).await?;
    let asked = players.0.iter_mut().find(|player| player.round.is_some()).ok_or("nobody played")?;
    asked
        .ask_transaction_status()
        .await
        .map_err(|trouble| format!("getTransactionStatus: {trouble}"))?;
    set.wait_until_settled()?;
    plans::switch(&set, false)?;
    standing.end_rounds().await;
    finished(&world, &set)?;
    let statements = plans::collect(&set, number)?;

    set.stop_servers();
    fill::remove(&set)?;
    let audit = audit(&set, transcript)?;
    Ok((figures, statements, audit))
}

async fn come_in(world: &Arc<World>, number: usize) -> Result<Players, Failure> {
    world.look_at_road(&mut Connection::new(world.servers[0])).await;
    Players::join(world, number).await
}

async fn order_refusals(set: &OwnSet) -> Result<(), Failure> {
    let question = Question {
        body: Some(("application/json", REFUSED_SETTLES.as_bytes().to_vec())),
        ..Question::send(Method::PUT, "/faults", None, &serde_json::Value::Null)
    };
    let answer = Connection::new(set.operator_address()).ask(question).await?;
    if (200..300).contains(&answer.status) {
        Ok(())
    } else {
        Err(format!("the operator takes no order: {}", String::from_utf8_lossy(&answer.body)).into())
    }
}

/// Waits until nothing is owed, and fails when an answer broke a rule.
fn finished(world: &World, set: &OwnSet) -> Result<(), Failure> {
    world.transcript.flush()?;
    set.wait_until_settled()?;
    match world.violations() {
        (0, _) => Ok(()),
        (number, first) => Err(format!("{number} answers broke a rule: {}", first.join("; ")).into()),
    }
}

fn audit(set: &OwnSet, transcript: &std::path::Path) -> Result<AuditReport, Failure> {
    say("the audit");
    set.audit(transcript)?.ok_or_else(|| "this faircross has no audit".into())
}
