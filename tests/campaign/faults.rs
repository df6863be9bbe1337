//! What can go wrong with the stores and the operator.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Map, Value, json};
use sqlx::Connection as _;

use crate::chapter::Chapter;
use crate::dice::Dice;
use crate::proxy::{Proxy, Traffic, Upstream};
use crate::report::Report;

#[derive(Clone, Copy, Debug)]
pub enum RedisFault {
    Restarted,
    Wiped,
    FileCut,
    OutOfMemory,
    ReadOnly,
    ScriptsFlushed,
    StalledFor5S,
    ConnectionsCut,
    AnswersLost,
    SilentPeer,
    FullToTheBrim,
    SnapshotFailed,
}

/// Accidents of hosts and machines rather than of processes.
pub const HOST_REDIS_FAULTS: [RedisFault; 3] = [RedisFault::SilentPeer, RedisFault::FullToTheBrim, RedisFault::SnapshotFailed];

pub const REDIS_FAULTS: [RedisFault; 9] = [
    RedisFault::Restarted,
    RedisFault::Wiped,
    RedisFault::FileCut,
    RedisFault::OutOfMemory,
    RedisFault::ReadOnly,
    RedisFault::ScriptsFlushed,
    RedisFault::StalledFor5S,
    RedisFault::ConnectionsCut,
    RedisFault::AnswersLost,
];

#[derive(Clone, Copy, Debug)]
pub enum PostgresFault {
    ImmediateShutdown,
    BackendsKilled,
    CutInIntent,
    CutInOutcome,
    CutInEnd,
    Stalled,
    PoolExhausted,
    ConnectionsCut,
    SilentPeer,
    ReadOnly,
    OneRowLocked,
    Standby,
}

/// Accidents of hosts and machines rather than of processes.
pub const HOST_POSTGRES_FAULTS: [PostgresFault; 4] = [
    PostgresFault::SilentPeer,
    PostgresFault::ReadOnly,
    PostgresFault::OneRowLocked,
    PostgresFault::Standby,
];

pub const POSTGRES_FAULTS: [PostgresFault; 8] = [
    PostgresFault::ImmediateShutdown,
    PostgresFault::BackendsKilled,
    PostgresFault::CutInIntent,
    PostgresFault::CutInOutcome,
    PostgresFault::CutInEnd,
    PostgresFault::Stalled,
    PostgresFault::PoolExhausted,
    PostgresFault::ConnectionsCut,
];

async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

const KILL_BACKENDS: &str =
    "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";

/// PostgreSQL's code for a statement that it ended because two waited for each other.
const DEADLOCK: &str = "40P01";

impl Chapter {
    pub async fn redis_fault(&mut self, fault: RedisFault, dice: &mut Dice) {
        let transcript = &self.table.transcript;
        match fault {
            RedisFault::Restarted => {
                self.world.redis.kill().expect("killed");
                pause(dice.between(0, 1_000)).await;
                self.world.redis.restart().expect("restarts");
            }
            RedisFault::Wiped => {
                transcript.redis_lost_writes.store(true, Ordering::Relaxed);
                self.world.ask_redis(&["FLUSHALL"]).await;
            }
            RedisFault::FileCut => {
                transcript.redis_lost_writes.store(true, Ordering::Relaxed);
                self.world.redis.kill().expect("killed");
                self.cut_append_only_file(dice);
                self.world.redis.restart().expect("restarts on a file that ends anywhere");
            }
            RedisFault::OutOfMemory => {
                self.world.ask_redis(&["CONFIG", "SET", "maxmemory", "100kb"]).await;
                pause(dice.between(500, 2_000)).await;
                self.world.ask_redis(&["CONFIG", "SET", "maxmemory", "0"]).await;
            }
            RedisFault::ReadOnly => {
                // Port 1 answers nobody: the old data stays, and cannot be written.
                self.world.ask_redis(&["REPLICAOF", "127.0.0.1", "1"]).await;
                pause(dice.between(500, 2_000)).await;
                self.world.ask_redis(&["REPLICAOF", "NO", "ONE"]).await;
            }
            RedisFault::ScriptsFlushed => {
                self.world.ask_redis(&["SCRIPT", "FLUSH"]).await;
            }
            RedisFault::StalledFor5S => {
                self.world.redis.signal("STOP").expect("stopped");
                pause(5_000).await;
                self.world.redis.signal("CONT").expect("goes on");
            }
            RedisFault::ConnectionsCut => self.on_redis_lines(Traffic::Cut, dice).await,
            RedisFault::AnswersLost => self.on_redis_lines(Traffic::LosesAnswers, dice).await,
            RedisFault::SilentPeer => {
                for place in self.some_places(dice) {
                    self.fleet.redis_line(place).silence();
                }
                pause(dice.between(500, 2_000)).await;
            }
            RedisFault::FullToTheBrim => {
                // Not a byte more than there is: what is open can only go on, or end.
                let used = self.used_memory().await;
                self.world.ask_redis(&["CONFIG", "SET", "maxmemory", &used]).await;
                pause(dice.between(2_000, 5_000)).await;
                self.world.ask_redis(&["CONFIG", "SET", "maxmemory", "0"]).await;
            }
            RedisFault::SnapshotFailed => {
                // Nothing can take the place of a directory that is not empty.
                let in_the_way = self.world.redis.socket().parent().expect("a directory").join("dump.rdb");
                let _ = std::fs::remove_file(&in_the_way);
                std::fs::create_dir_all(in_the_way.join("x")).expect("a directory");
                self.world.ask_redis(&["BGSAVE"]).await;
                pause(dice.between(500, 2_000)).await;
                std::fs::remove_dir_all(&in_the_way).expect("removed");
            }
        }
        Report::count(&mut self.report.redis_faults, format!("{fault:?}"));
    }

    async fn used_memory(&self) -> String {
        let about = self.world.ask_redis(&["INFO", "memory"]).await;
        let about: String = redis::from_redis_value(about).expect("a text");
        let line = about.lines().find_map(|line| line.strip_prefix("used_memory:"));
        line.expect("how much memory is used").trim().to_owned()
    }

    async fn on_redis_lines(&self, traffic: Traffic, dice: &mut Dice) {
        let hurt = self.some_places(dice);
        let set = |traffic| hurt.iter().for_each(|place| self.fleet.redis_line(*place).set(traffic));
        set(traffic);
        pause(dice.between(300, 1_500)).await;
        set(Traffic::Flows);
    }

    /// One server or all.
    fn some_places(&self, dice: &mut Dice) -> Vec<usize> {
        if dice.percent(50) {
            (0..self.fleet.len()).collect()
        } else {
            vec![dice.place(self.fleet.len())]
        }
    }

    /// Cuts the newest append-only file at a random place: of its last half, or of its last few kilobytes, so that rounds that
    /// are being played go back instead of away.
    fn cut_append_only_file(&self, dice: &mut Dice) {
        let socket = self.world.redis.socket();
        let directory = socket.parent().expect("a directory").join("appendonlydir");
        let newest = std::fs::read_dir(directory)
            .expect("an append-only directory")
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name().to_string_lossy().ends_with(".incr.aof"))
            .max_by_key(|entry| entry.metadata().and_then(|metadata| metadata.modified()).ok())
            .expect("an append-only file");
        let length = newest.metadata().expect("its length").len();
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(newest.path())
            .expect("it can be written");
        let most = if dice.percent(50) { length / 2 } else { length.min(8 * 1_024) };
        file.set_len(length - dice.below(most + 1)).expect("it can be cut");
    }

    pub async fn postgres_fault(&mut self, fault: PostgresFault, dice: &mut Dice) {
        match fault {
            PostgresFault::ImmediateShutdown => {
                let away_ms = dice.between(0, 1_000);
                self.postgres.with(|cluster| cluster.kill().expect("killed")).await;
                pause(away_ms).await;
                self.postgres.with(|cluster| cluster.restart().expect("restarts")).await;
            }
            PostgresFault::BackendsKilled => {
                self.world.ask_database(KILL_BACKENDS).await;
            }
            PostgresFault::CutInIntent => self.cut_in_commits(r#""action":"bet""#).await,
            PostgresFault::CutInOutcome => self.cut_in_commits(r#""action":"cancelBet""#).await,
            PostgresFault::CutInEnd => self.cut_in_commits(r#""action":"settle""#).await,
            PostgresFault::Stalled => self.on_postgres_lines(Traffic::Stalls, dice.between(500, 3_000), dice).await,
            PostgresFault::PoolExhausted => {
                // In the order in which the product's own statements take them. One that is under way may have it otherwise: then
                // PostgreSQL ends either, and if it is this one the tables are taken anew.
                let hold = format!(
                    "begin; lock table players, bets, outbox in access exclusive mode; select pg_sleep({}); commit",
                    dice.between(2, 4)
                );
                loop {
                    let mut connection = self.world.connection().await;
                    let held = sqlx::raw_sql(sqlx::AssertSqlSafe(hold.clone())).execute(&mut connection).await;
                    connection.close().await.expect("closed");
                    match held {
                        Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| code == DEADLOCK) => {}
                        held => break held.map(drop).expect("held"),
                    }
                }
            }
            PostgresFault::ConnectionsCut => self.on_postgres_lines(Traffic::Cut, dice.between(300, 1_500), dice).await,
            PostgresFault::SilentPeer => {
                for place in self.some_places(dice) {
                    self.fleet.postgres_line(place).silence();
                }
                pause(dice.between(2_000, 8_000)).await;
            }
            PostgresFault::ReadOnly => {
                // Sessions keep what they began with: those that begin in between stay read-only until somebody closes them.
                for (read_only, away_ms) in [("on", dice.between(500, 2_000)), ("off", dice.between(500, 2_000))] {
                    self.postgres_executes(&format!(
                        "begin read write; alter role faircross set default_transaction_read_only = {read_only}; commit"
                    ))
                    .await;
                    if read_only == "on" {
                        self.world.ask_database(KILL_BACKENDS).await;
                    }
                    pause(away_ms).await;
                }
            }
            PostgresFault::OneRowLocked => {
                let lock = format!(
                    "begin; select 1 from players order by random() limit 1 for update; select pg_sleep({}); rollback",
                    dice.between(3, 8)
                );
                let mut connection = self.world.connection().await;
                sqlx::raw_sql(sqlx::AssertSqlSafe(lock))
                    .execute(&mut connection)
                    .await
                    .expect("held");
                connection.close().await.expect("closed");
            }
            PostgresFault::Standby => self.fail_over(dice).await,
        }
        Report::count(&mut self.report.postgres_faults, format!("{fault:?}"));
    }

    async fn postgres_executes(&self, sql: &str) {
        let sql = sql.to_owned();
        self.postgres
            .with(move |cluster| cluster.execute("postgres", &sql).expect("executed"))
            .await;
    }

    /// The primary dies, or freezes without a word, and its standby, for which every commit waited, takes its place.
    async fn fail_over(&mut self, dice: &mut Dice) {
        let (followed_ms, away_ms, is_frozen) = (dice.between(500, 1_500), dice.between(0, 1_500), dice.percent(50));
        let standby = self
            .postgres
            .with(|cluster| {
                let standby = cluster.standby().expect("a standby");
                cluster
                    .execute("postgres", "alter system set synchronous_standby_names = '*'")
                    .expect("executed");
                cluster.execute("postgres", "select pg_reload_conf()").expect("executed");
                standby
            })
            .await;
        pause(followed_ms).await;
        self.postgres
            .with(move |cluster| match is_frozen {
                true => cluster.signal_all("STOP").expect("stopped"),
                false => cluster.kill().expect("killed"),
            })
            .await;
        let socket = standby.directory().join(".s.PGSQL.5432");
        for place in 0..self.fleet.len() {
            let line = self.fleet.postgres_line(place);
            line.lead_to(Upstream::Unix(socket.clone()));
            line.silence();
        }
        pause(away_ms).await;
        let database = self.world.database.clone();
        let url = standby.url(&database);
        self.postgres
            .with(move |cluster| {
                standby.execute("postgres", "select pg_promote()").expect("promoted");
                let mut old = std::mem::replace(cluster, standby);
                if is_frozen {
                    old.signal_all("CONT").expect("goes on");
                }
            })
            .await;
        self.world.database_url = url;
    }

    async fn on_postgres_lines(&self, traffic: Traffic, for_ms: u64, dice: &mut Dice) {
        let hurt = self.some_places(dice);
        let set = |traffic| hurt.iter().for_each(|place| self.fleet.postgres_line(*place).set(traffic));
        set(traffic);
        pause(for_ms).await;
        set(Traffic::Flows);
    }

    /// The statements with this text are executed, and their connections end before the answer; until five were met.
    async fn cut_in_commits(&mut self, text: &'static str) {
        let lines = || (0..self.fleet.len()).map(|place| self.fleet.postgres_line(place));
        let before: u64 = lines().map(Proxy::lost_answers).sum();
        lines().for_each(|line| line.set(Traffic::LosesAnswersTo(text)));
        for _ in 0..150 {
            pause(20).await;
            if lines().map(Proxy::lost_answers).sum::<u64>() >= before + 5 {
                break;
            }
        }
        lines().for_each(|line| line.set(Traffic::Flows));
        let met = lines().map(Proxy::lost_answers).sum::<u64>() - before;
        *self.report.postgres_faults.entry("(commits cut)".to_owned()).or_default() += met;
    }
}

/// The ways in which an operator answers wrongly, by the name under which they are counted.
fn wrong_answers() -> [(&'static str, Value); 11] {
    [
        ("handled beyond the deadline", json!({ "kind": "delay", "delayMs": 1_500 })),
        ("answered beyond the deadline", json!({ "kind": "delay_after", "delayMs": 1_500 })),
        ("dropped before applying", json!({ "kind": "drop_before" })),
        ("dropped after applying", json!({ "kind": "drop_after" })),
        ("500 before applying", json!({ "kind": "http_500" })),
        (
            "500 after applying",
            json!({ "kind": "http_500", "applied": true, "httpStatus": 502 }),
        ),
        ("garbage", json!({ "kind": "garbage" })),
        ("wrong id", json!({ "kind": "wrong_id" })),
        ("unlisted status, not applied", json!({ "kind": "refuse", "status": "7777" })),
        ("unlisted status, applied", json!({ "kind": "answer", "status": "7778" })),
        ("delivered twice", json!({ "kind": "duplicate", "delayMs": 300 })),
    ]
}

/// A debit that "was applied already", although none was. Of other calls an operator that says so is believed where an earlier attempt
/// may have left, so that here it says so only when it is true; `tests/attempts.rs` has the one that lies.
fn already_applied() -> (&'static str, Value) {
    ("already applied, which is not so", json!({ "kind": "refuse", "status": "1016" }))
}

/// Answers that are right, in a form that not everybody expects.
fn odd_forms() -> [(&'static str, Value); 2] {
    [
        ("a byte order mark", json!({ "kind": "byte_order_mark" })),
        ("gzipped", json!({ "kind": "gzip" })),
    ]
}

const ACTIONS: [&str; 5] = ["getBalance", "bet", "cancelBet", "settle", "voidBet"];

/// Every wrong answer of every action, each with this chance in a thousand.
pub fn noise(per_mille: u32, dice: &mut Dice) -> Value {
    let mut orders = Map::new();
    for action in ACTIONS {
        let mut faults = wrong_answers().to_vec();
        faults.extend(odd_forms());
        if action == "bet" {
            faults.push(already_applied());
        }
        dice.shuffle(&mut faults);
        let faults = faults.into_iter().map(|(_, mut fault)| {
            fault["probability"] = json!(f64::from(per_mille) / 1_000.0);
            fault["seed"] = json!(dice.below(1 << 32));
            fault
        });
        orders.insert(action.to_owned(), Value::Array(faults.collect()));
    }
    Value::Object(orders)
}

/// Adds up what the operator did since its faults were ordered.
pub fn harvest(faults: &Value, into: &mut crate::report::Counts) {
    for (action, list) in faults.as_object().into_iter().flatten() {
        for fault in list.as_array().into_iter().flatten() {
            let name = wrong_answers()
                .into_iter()
                .chain([already_applied()])
                .chain(odd_forms())
                .find(|(_, wrong)| {
                    wrong
                        .as_object()
                        .into_iter()
                        .flatten()
                        .all(|(key, value)| key == "delayMs" || fault[key] == *value)
                        && fault["applied"] == wrong["applied"]
                })
                .map_or_else(
                    || fault["kind"].as_str().unwrap_or_default().to_owned(),
                    |(name, _)| name.to_owned(),
                );
            let fired = fault["fired"].as_u64().unwrap_or_default();
            if fired > 0 {
                *into.entry(format!("{action}: {name}")).or_default() += fired;
            }
        }
    }
}
