//! The stores alone, by their own tools: what nobody could be faster than.

use std::path::{Path, PathBuf};
use std::process::Command;

use faircross::clock::Clock;
use redis::aio::MultiplexedConnection;
use serde::Serialize;

use super::generator::Seat;
use super::sides::session_key;
use super::{Extent, say};
use crate::Failure;
use crate::own_set::{DATABASE, OwnSet};
use crate::world::World;

const RAW_DATABASE: &str = "faircross_raw";
/// So many sessions are stepped on.
const PREPARED: usize = 1_000;
const CONNECTIONS: usize = 64;
/// Longer than the run lasts.
const WINDOW_MS: u64 = 3_600_000;
/// The product's connections to PostgreSQL.
const CLIENTS: usize = 16;
/// A store's own speed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RawFigure {
    pub what: String,
    pub per_s: f64,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
}

/// The product's step script in redis-benchmark, over copies of an open session. Nothing where the tool is not installed.
///
/// # Errors
/// When Redis cannot be asked, or the product runs another script than this.
pub async fn redis_benchmark(
    redis: &mut MultiplexedConnection,
    set: &OwnSet,
    world: &World,
    standing: &Seat,
    extent: &Extent,
) -> Result<Vec<RawFigure>, Failure> {
    let Some(program) = find("redis-benchmark") else {
        return Ok(Vec::new());
    };
    say("redis-benchmark");
    let hash = faircross::live::hash_of_step();
    let known: Vec<bool> = redis::cmd("SCRIPT").arg("EXISTS").arg(hash).query_async(redis).await?;
    if known != [true] {
        return Err("the product's step script is not the one that was built into this tool".into());
    }
    let agent_id = &world.operator.agent_id;
    let player_key = format!("player:{}-{agent_id}", standing.user_id);
    let generation: String = redis::cmd("HGET").arg(&player_key).arg("generation").query_async(redis).await?;
    let run_of_redis: String = redis::cmd("HGET").arg(&player_key).arg("run").query_async(redis).await?;
    let round_id = standing.round.as_ref().map_or("", |round| &round.round_id);
    let rate_limit = format!("1000000/{WINDOW_MS}/{}", Clock::default().now_unix_ms() / WINDOW_MS);
    let mut copies = Vec::new();
    let mut pipeline = redis::pipe();
    for index in 0..PREPARED {
        let name = format!("{index:012}");
        for (from, to) in [
            (session_key(world, &standing.user_id), session_key(world, &name)),
            (player_key.clone(), format!("player:{name}-{agent_id}")),
        ] {
            pipeline.cmd("COPY").arg(from).arg(&to).ignore();
            copies.push(to);
        }
    }
    let () = pipeline.query_async(redis).await?;
    let mut figures = Vec::new();
    for pipelined in [1, 16] {
        let mut benchmark = Command::new(&program);
        benchmark.arg("-s").arg(set.redis().socket());
        benchmark.args([
            "-n",
            &extent.raw_requests.to_string(),
            "-c",
            &CONNECTIONS.to_string(),
            "-P",
            &pipelined.to_string(),
        ]);
        benchmark.args(["-r", &PREPARED.to_string(), "--csv", "EVALSHA", hash, "2"]);
        benchmark.args([format!("player:__rand_int__-{agent_id}"), session_key(world, "__rand_int__")]);
        // Generation, rate limit and window, the lane, the round, that it is known, the run of Redis: the first call of a session
        // steps, the others repeat.
        benchmark.args([&generation, &rate_limit, "0", round_id, "1", &run_of_redis]);
        figures.push(redis_figure(&output(benchmark)?, pipelined)?);
    }
    let _: u64 = redis::cmd("DEL").arg(&copies).query_async(redis).await?;
    Ok(figures)
}

/// The last line: "test","rps","avg","min","p50","p95","p99","max".
fn redis_figure(csv: &str, pipelined: usize) -> Result<RawFigure, Failure> {
    let line = csv.lines().last().unwrap_or_default();
    // The script's name and arguments, which hold commas at most in a player's place, come first.
    let numbers: Vec<f64> = line
        .rsplit(',')
        .take(7)
        .filter_map(|field| field.trim_matches('"').parse().ok())
        .collect();
    let [_max, p99_ms, _p95, p50_ms, _min, _avg, per_s] = numbers[..] else {
        return Err(format!("redis-benchmark said {csv:?}").into());
    };
    Ok(RawFigure {
        what: format!("redis-benchmark: our step script, {CONNECTIONS} connections, {pipelined} at a time"),
        per_s,
        p50_ms: Some(p50_ms),
        p99_ms: Some(p99_ms),
    })
}

/// The product's insert of a bet in pgbench, once for each player, in a copy of the database that goes with the set.
///
/// # Errors
/// When the copy cannot be made (a server still uses the database) or pgbench fails.
pub fn pgbench(set: &OwnSet, world: &World, extent: &Extent) -> Result<RawFigure, Failure> {
    let what = "pgbench: our insert of a bet";
    let program = find("pgbench").ok_or("pgbench is not installed")?;
    say("pgbench");
    set.postgres().create_database(RAW_DATABASE, Some(DATABASE))?;
    let each = extent.open_rounds / CLIENTS;
    let script = set.directory().join("intent.sql");
    std::fs::write(&script, insert_for_pgbench(world, each)?)?;
    let mut pgbench = Command::new(program);
    pgbench.args(["--no-vacuum", "--protocol", "prepared", "--define", "n=-1", "--host"]);
    pgbench.arg(set.postgres().directory()).args(["--username", "faircross"]);
    pgbench.args(["--client", &CLIENTS.to_string(), "--transactions", &each.to_string(), "--file"]);
    pgbench.arg(script).arg(RAW_DATABASE);
    let said = output(pgbench)?;
    let number = |prefix: &str| {
        said.lines()
            .find_map(|line| line.strip_prefix(prefix)?.split_whitespace().next()?.parse::<f64>().ok())
    };
    let inserted = set
        .postgres()
        .execute(RAW_DATABASE, "select count(*) from bets where state = 'PENDING'")?;
    if inserted != (each * CLIENTS).to_string() {
        return Err(format!("{inserted} bets were inserted, not {}", each * CLIENTS).into());
    }
    Ok(RawFigure {
        what: format!("{what}, {CLIENTS} connections"),
        per_s: number("tps = ").ok_or_else(|| format!("pgbench said {said}"))?,
        p50_ms: None,
        p99_ms: None,
    })
}

/// The product's statement as sqlx has described it, with what a bench can give for its arguments. Each client takes players of its own.
fn insert_for_pgbench(world: &World, each: usize) -> Result<String, Failure> {
    let statement = product_statement("insert into bets (bet_id")?;
    let first = crate::bench::PACED;
    let user = format!("('{}n' || ({first} + :client_id * {each} + :n)::text)", world.run);
    let text = |length: usize| format!("'{}'", "x".repeat(length));
    let arguments = [
        "gen_random_uuid()".to_owned(),
        format!("'{}'", world.operator.agent_id),
        user,
        "0".to_owned(),
        "'chicken-road-two'".to_owned(),
        format!("'{}'", world.operator.currency),
        "2".to_owned(),
        "md5(random()::text)".to_owned(),
        "null".to_owned(),
        "'EASY'".to_owned(),
        "1000".to_owned(),
        "1".to_owned(),
        "29".to_owned(),
        "1".to_owned(),
        text(64),
        "md5(random()::text)".to_owned(),
        text(400),
        "now()".to_owned(),
        "3600".to_owned(),
    ];
    let mut sql = statement;
    for (index, argument) in arguments.iter().enumerate().rev() {
        sql = sql.replace(&format!("${}", index + 1), argument);
    }
    Ok(format!(
        "\\set n :n + 1\n{};\n",
        sql.split_whitespace().collect::<Vec<_>>().join(" ")
    ))
}

/// The text of the product's one statement that contains this, from what sqlx wrote down of it at the build.
fn product_statement(containing: &str) -> Result<String, Failure> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.sqlx");
    for entry in std::fs::read_dir(directory)? {
        let described: serde_json::Value = serde_json::from_slice(&std::fs::read(entry?.path())?)?;
        if let Some(text) = described["query"].as_str().filter(|text| text.contains(containing)) {
            return Ok(text.to_owned());
        }
    }
    Err(format!("no statement of the product contains {containing}").into())
}

/// A program in the PATH or among PostgreSQL's.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let places = std::env::split_paths(&path).chain(versions.map(|version| version.path().join("bin")));
    places.map(|place| place.join(name)).find(|file| file.is_file())
}

fn output(mut command: Command) -> Result<String, Failure> {
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
