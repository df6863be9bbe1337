//! Counts from outside what the servers of a world ask of their stores and of the operator: Redis tells every command to whoever
//! monitors it, PostgreSQL counts its statements by their text, the operator lists its calls.
//!
//! The servers' jobs go on by themselves. Most can be made to rest by settings ([`resting_jobs`]); the few that cannot are
//! known by what they name, which no request for a player does.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;
use redis::aio::MultiplexedConnection;

use super::{World, WorldOptions, wait_for};

/// What only jobs say to Redis: its time and the road (each epoch), who is online (every two seconds).
const COMMANDS_OF_JOBS: [&str; 4] = ["\"TIME\"", "hazard-refresh-lock", "\"hazards-DAREDEVIL\"", "user-sessions:"];
/// What each connection says when a worker makes it for its first command, and asks again each second; and each script, which is loaded
/// once, by whoever needs it first.
const COMMANDS_OF_A_NEW_CONNECTION: [&str; 3] = ["\"INFO\" \"server\"", "\"SETINFO\"", "\"SCRIPT\" \"LOAD\""];
/// What the counting itself says to Redis.
const COMMANDS_OF_THE_METER: [&str; 1] = ["\"ECHO\""];
/// All agents, which are read again every five seconds (a bet would ask for one), the chains of the road's days, and how
/// much is owed.
const STATEMENTS_OF_JOBS: [&str; 4] = [
    "from agents order by agent_id",
    "hazard_chains",
    "pg_stat_activity",
    "min(created_at) as oldest from outbox",
];
/// What each connection to PostgreSQL says once, when it is opened (and the probe, which asks again): it sets its limits, and
/// looks whether they are in force and whether it may write.
const STATEMENTS_OF_A_NEW_CONNECTION: [&str; 2] = ["idle_in_transaction_session_timeout", "select not pg_is_in_recovery()"];
const ACTIONS: [&str; 5] = ["getBalance", "bet", "cancelBet", "settle", "voidBet"];

/// Settings under which a world's jobs rest for an hour where they can.
pub fn resting_jobs() -> WorldOptions {
    let once_a_year = "0 0 0 1 1 *";
    WorldOptions::default()
        .with("FAIRCROSS__RECOVERY__SWEEP_EVERY_MS", 3_600_000)
        .with("FAIRCROSS__RECOVERY__DRAIN_EVERY_MS", 3_600_000)
        .with("FAIRCROSS__RECOVERY__PROBE_EVERY_MS", 3_600_000)
        .with("FAIRCROSS__JOBS__WALLET_RETRY", once_a_year)
        .with("FAIRCROSS__JOBS__BET_CLEANUP", once_a_year)
        .with("FAIRCROSS__JOBS__WALLET_AUDIT_CLEANUP", once_a_year)
}

/// What was asked between two looks.
#[derive(Debug)]
pub struct Bill {
    /// Round trips to Redis: the commands of clients. What a script does inside is none.
    pub redis: Vec<String>,
    /// Statements that PostgreSQL carried out, each as often as it was.
    pub statements: Vec<String>,
    /// Calls to the operator, by action.
    pub calls: Vec<&'static str>,
}

/// Reads the meters of a world.
pub struct Meter<'a> {
    world: &'a World,
    /// Every line that Redis told so far.
    monitored: Arc<Mutex<Vec<String>>>,
    marks: MultiplexedConnection,
    mark: AtomicU32,
    lines: usize,
    statements: BTreeMap<String, i64>,
    calls: BTreeMap<&'static str, usize>,
}

impl<'a> Meter<'a> {
    /// Starts to count.
    pub async fn start(world: &'a World) -> Self {
        let client = redis::Client::open(world.redis.url()).expect("a url");
        let marks = world.redis_connection().await;
        let monitor = client.get_async_monitor().await.expect("Redis answers");
        let monitored = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&monitored);
        tokio::spawn(async move {
            let mut messages = monitor.into_on_message::<String>();
            while let Some(line) = messages.next().await {
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let mut meter = Self {
            world,
            monitored,
            marks,
            mark: AtomicU32::new(0),
            lines: 0,
            statements: BTreeMap::new(),
            calls: BTreeMap::new(),
        };
        meter.read().await;
        meter
    }

    /// What was asked since the last look.
    pub async fn read(&mut self) -> Bill {
        let (statements, calls) = (self.statements_so_far().await, self.calls_so_far().await);
        let lines = self.lines_so_far().await;
        let since = |action: &&'static str| calls[action] - self.calls.get(action).copied().unwrap_or_default();
        let bill = Bill {
            redis: lines[self.lines..].iter().filter(|line| is_of_a_request(line)).cloned().collect(),
            statements: statements
                .iter()
                .flat_map(|(text, count)| repeated(text.clone(), count - self.statements.get(text).copied().unwrap_or_default()))
                .collect(),
            calls: ACTIONS.iter().flat_map(|action| vec![*action; since(action)]).collect(),
        };
        (self.lines, self.statements, self.calls) = (lines.len(), statements, calls);
        bill
    }

    /// Waits until as much was counted as is expected (PostgreSQL counts a statement a moment after its answer, and what
    /// follows an answer takes its time), reads the meters and asserts that it is not more. What comes later still is found
    /// by the next reading.
    pub async fn expect(&mut self, what: &str, redis: usize, statements: usize, calls: &[&str]) {
        let before: i64 = self.statements.values().sum();
        let expected = i64::try_from(statements).expect("a small number");
        wait_for(what, async || {
            let counted = self.statements_so_far().await.values().sum::<i64>() - before;
            let lines = self.lines_so_far().await;
            let asked = lines[self.lines..].iter().filter(|line| is_of_a_request(line)).count();
            if counted >= expected && asked >= redis {
                Ok(())
            } else {
                Err(format!("{asked} commands and {counted} statements"))
            }
        })
        .await;
        let bill = self.read().await;
        assert_eq!((bill.redis.len(), bill.statements.len()), (redis, statements), "{what}: {bill:#?}");
        assert_eq!(bill.calls, calls, "{what}: {bill:#?}");
    }

    async fn statements_so_far(&self) -> BTreeMap<String, i64> {
        let of_jobs: String = STATEMENTS_OF_JOBS
            .iter()
            .chain(&STATEMENTS_OF_A_NEW_CONNECTION)
            .map(|text| format!(" and query not like '%{text}%'"))
            .collect();
        let counted = format!(
            "select coalesce(json_object_agg(queryid, json_build_array(calls, query)), '{{}}') from pg_stat_statements
             where dbid = (select oid from pg_database where datname = current_database())
                 and query not like '%pg_stat_statements%'{of_jobs}"
        );
        let counted: BTreeMap<String, (i64, String)> = serde_json::from_str(&self.world.ask_database(&counted).await).expect("JSON");
        counted
            .into_iter()
            .map(|(id, (calls, text))| (format!("{id}: {text}"), calls))
            .collect()
    }

    async fn calls_so_far(&self) -> BTreeMap<&'static str, usize> {
        let mut calls = BTreeMap::new();
        for action in ACTIONS {
            calls.insert(action, self.world.operator.calls(action).await.len());
        }
        calls
    }

    /// Everything that Redis was told up to this moment: a mark is sent, and waited for.
    async fn lines_so_far(&self) -> Vec<String> {
        let mark = format!("mark {}", self.mark.fetch_add(1, Ordering::Relaxed));
        let _: String = redis::cmd("ECHO")
            .arg(&mark)
            .query_async(&mut self.marks.clone())
            .await
            .expect("Redis answers");
        let lines = || self.monitored.lock().unwrap_or_else(PoisonError::into_inner).clone();
        wait_for("the monitor has come to the mark", async || {
            let is_there = lines().iter().any(|line| line.contains(&format!("\"{mark}\"")));
            if is_there { Ok(()) } else { Err(mark.clone()) }
        })
        .await;
        lines()
    }
}

/// Whether a line of the monitor is a command that a client sent for a request. A script's own commands are marked `lua`.
fn is_of_a_request(line: &str) -> bool {
    let is_inside_a_script = line.split(']').next().is_some_and(|head| head.ends_with(" lua"));
    let mut others = COMMANDS_OF_JOBS
        .iter()
        .chain(&COMMANDS_OF_A_NEW_CONNECTION)
        .chain(&COMMANDS_OF_THE_METER);
    !is_inside_a_script && !others.any(|mark| line.contains(mark))
}

fn repeated(text: String, times: i64) -> Vec<String> {
    vec![text; usize::try_from(times).unwrap_or_default()]
}
