//! What can go wrong with the stores.

use std::sync::atomic::Ordering;
use std::time::Duration;

use faircross::stores::RedisServer;
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
    FailoverAndBack,
}

/// Accidents of hosts and machines rather than of processes.
pub const HOST_REDIS_FAULTS: [RedisFault; 4] = [
    RedisFault::SilentPeer,
    RedisFault::FullToTheBrim,
    RedisFault::SnapshotFailed,
    RedisFault::FailoverAndBack,
];

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
    ClockSetBack,
}

/// Accidents of hosts and machines rather than of processes.
pub const HOST_POSTGRES_FAULTS: [PostgresFault; 5] = [
    PostgresFault::SilentPeer,
    PostgresFault::ReadOnly,
    PostgresFault::OneRowLocked,
    PostgresFault::Standby,
    PostgresFault::ClockSetBack,
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
            RedisFault::FailoverAndBack => {
                transcript.redis_lost_writes.store(true, Ordering::Relaxed);
                self.fail_redis_over_and_back(dice).await;
            }
        }
        Report::count(&mut self.report.redis_faults, format!("{fault:?}"));
    }

    /// A replica takes the place of a Redis that dies or cannot be reached, and later gives it back. Replication is not waited for, so
    /// either way the last writes may be lost; on the way back the first one may not even have begun to follow.
    async fn fail_redis_over_and_back(&mut self, dice: &mut Dice) {
        let (followed_ms, reigns_ms) = (dice.between(300, 1_500), dice.between(1_500, 4_000));
        let (is_killed, is_followed_back) = (dice.percent(50), dice.percent(70));
        let second = RedisServer::temporary(&[]).expect("a second Redis");
        let (to_first, to_second) = (
            Proxy::start(Upstream::Unix(self.world.redis.socket())).await,
            Proxy::start(Upstream::Unix(second.socket())).await,
        );
        let first = std::mem::replace(&mut self.world.redis, second);
        self.redis_follows(&to_first).await;
        pause(followed_ms).await;
        let mut first = first;
        if is_killed {
            first.kill().expect("killed");
        }
        self.world.ask_redis(&["REPLICAOF", "NO", "ONE"]).await;
        self.lead_to_redis();
        pause(reigns_ms).await;
        if is_killed {
            first.restart().expect("restarts");
        }
        let second = std::mem::replace(&mut self.world.redis, first);
        if is_followed_back {
            self.redis_follows(&to_second).await;
        } else {
            let port = to_second.address().port().to_string();
            self.world.ask_redis(&["REPLICAOF", "127.0.0.1", &port]).await;
        }
        self.world.ask_redis(&["REPLICAOF", "NO", "ONE"]).await;
        self.lead_to_redis();
        drop(second);
    }

    /// The world's Redis follows the one behind this proxy, and has all that it has.
    async fn redis_follows(&self, primary: &Proxy) {
        self.world
            .ask_redis(&["REPLICAOF", "127.0.0.1", &primary.address().port().to_string()])
            .await;
        crate::world::wait_for("the replica follows", async || {
            let about: String = redis::from_redis_value(self.world.ask_redis(&["INFO", "replication"]).await).expect("a text");
            if about.contains("master_link_status:up") {
                Ok(())
            } else {
                Err("not yet".to_owned())
            }
        })
        .await;
    }

    /// From now on the servers' lines end at the world's Redis; those there are fall silent.
    fn lead_to_redis(&self) {
        for place in 0..self.fleet.len() {
            let line = self.fleet.redis_line(place);
            line.lead_to(Upstream::Unix(self.world.redis.socket()));
            line.silence();
        }
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
            PostgresFault::ClockSetBack => {
                // What was dated before is dated an hour ahead of a clock that was set back; and a server's own clock goes back.
                let dated_ahead = "set session_replication_role = replica;
                    update outbox set due_at = due_at + interval '1 hour', created_at = created_at + interval '1 hour',
                        leased_until = leased_until + interval '1 hour', debit_is_over_at = debit_is_over_at + interval '1 hour'
                        where state = 'open';
                    update bets set created_at = created_at + interval '1 hour' where state = 'PENDING'";
                self.world.change_database(dated_ahead).await;
                let place = dice.place(self.fleet.len());
                self.fleet.set_clock_back(place);
                self.fleet.start_at(&self.world, place, None).await;
            }
        }
        Report::count(&mut self.report.postgres_faults, format!("{fault:?}"));
    }

    pub async fn postgres_executes(&self, sql: &str) {
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
