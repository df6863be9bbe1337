//! One world under attack: a number of servers, a crowd of players, and one episode after another. After each episode the
//! players go home, everything is healed, all that is owed has to be settled in time, and the books, the audit and what
//! the players were told are held against each other.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt as _;
use serde_json::{Value, json};

use crate::dice::{Deck, Dice};
use crate::faults::{PostgresFault, RedisFault};
use crate::fleet::{Fleet, Postgres};
use crate::operator_faults::{self, NOISE_PER_MILLE, OperatorAccident};
use crate::players::{Crowd, Table};
use crate::proxy::{Proxy, Traffic, Upstream};
use crate::report::{self, Report, milliseconds};
use crate::world::{PATIENCE, Player, World, WorldOptions};

/// People, more than play at a time: one whose server died may have to wait for the end of a lock.
const PEOPLE: usize = 120;
/// An episode that takes longer (than this, its outage and as long again for the backlog) hangs.
const EPISODE_LIMIT: Duration = Duration::from_secs(150);
/// The same while the operator is what is tested: a third of all calls go wrong.
const LOUD_NOISE_PER_MILLE: u32 = 30;

/// What an episode does.
#[derive(Clone, Debug)]
pub enum Episode {
    /// A server is killed at each of these points in turn.
    Points(Vec<&'static str>),
    /// Servers are killed at random moments.
    RandomKills(u64),
    /// Servers are stopped for longer than any lease and go on.
    Stops(u64),
    Redis(Vec<RedisFault>),
    Postgres(Vec<PostgresFault>),
    /// A third of the operator's answers are wrong for so many seconds.
    Operator(u64),
    OperatorAccident(OperatorAccident),
    /// The operator cannot be reached for so many seconds.
    Outage(u64),
    /// PostgreSQL is put back to an older copy.
    Restore,
}

/// How a chapter's world is made.
#[derive(Clone, Debug)]
pub struct Setting {
    pub number: u64,
    pub servers: usize,
    pub locks: bool,
    /// Whether the last server's clock is an hour ahead.
    pub wrong_clock: bool,
    pub seats: usize,
}

pub struct Chapter {
    pub world: World,
    pub fleet: Fleet,
    pub table: Arc<Table>,
    pub postgres: Postgres,
    pub report: Report,
    pub operator_line: Proxy,
    pub setting: Setting,
}

/// Stores are given up as soon as in production, and what waits for an operator sooner.
pub fn in_earnest() -> WorldOptions {
    WorldOptions::hasty()
        .with("FAIRCROSS__REDIS__COMMAND_TIMEOUT_MS", 400)
        .with("FAIRCROSS__DATABASE__ACQUIRE_TIMEOUT_MS", 2_000)
        .with("FAIRCROSS__DATABASE__STATEMENT_TIMEOUT_MS", 5_000)
}

/// The players' client: it does not wait for a stopped server for longer than a person would.
pub fn impatient_client() -> reqwest::Client {
    client_within(Duration::from_secs(4))
}

fn client_within(limit: Duration) -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .timeout(limit)
        .build()
        .expect("a client")
}

impl Chapter {
    pub async fn begin(postgres: &Postgres, setting: Setting, report: Report) -> Self {
        let options = in_earnest()
            .with("FAIRCROSS__GAME__SESSION_TTL_S", 5)
            .with("FAIRCROSS__WALLET__BET_TIMEOUT_MS", 1_000)
            .with("FAIRCROSS__WALLET__CALL_TIMEOUT_MS", 1_000)
            .with("FAIRCROSS__WALLET__BREAKER_OPEN_MS", 500)
            .with("FAIRCROSS__REDIS__LOCKS", setting.locks);
        let database = format!("campaign_{}", setting.number);
        let world = world_in(postgres, &database, options).await;
        let operator = world
            .operator
            .url()
            .trim_start_matches("http://")
            .trim_end_matches("/callback")
            .to_owned();
        let operator_line = Proxy::start(Upstream::Tcp(operator.parse().expect("an address"))).await;
        let callback = format!("http://{}/callback", operator_line.address());
        world.add_agent("demo", "demo-cert", &callback, &[]).await;
        let mut offsets_ms = vec![0; setting.servers];
        if setting.wrong_clock {
            *offsets_ms.last_mut().expect("a server") = 3_600_000;
        }
        let fleet = Fleet::start(&world, postgres, &offsets_ms).await;
        let table = seat_people(&fleet, PEOPLE, 30, 0).await;
        Self {
            world,
            fleet,
            table,
            postgres: postgres.clone(),
            report,
            operator_line,
            setting,
        }
    }

    /// One episode with everything that comes after it. `false`: the chapter cannot go on.
    pub async fn episode(&mut self, episode: &Episode, dice: &mut Dice) -> bool {
        let violations = self.report.violations.len();
        let started = crate::now();
        let limit = match episode {
            Episode::Outage(seconds) => EPISODE_LIMIT + 2 * Duration::from_secs(*seconds),
            _ => EPISODE_LIMIT,
        };
        let play = async {
            match episode {
                Episode::Restore => self.put_back_an_old_copy(dice).await,
                _ => self.play(episode, dice).await,
            }
        };
        let played = AssertUnwindSafe(tokio::time::timeout(limit, play)).catch_unwind().await;
        match played {
            Ok(Ok(())) => {}
            Ok(Err(_)) => self.note(episode, "hangs"),
            Err(panic) => self.note(episode, &said(panic.as_ref())),
        }
        self.report.episodes += 1;
        println!("  {:>4} s  {episode:?}", started.elapsed().as_secs());
        let sound = violations == self.report.violations.len();
        if !sound {
            self.keep_evidence().await;
        }
        sound
    }

    async fn play(&mut self, episode: &Episode, dice: &mut Dice) {
        let accident = match episode {
            Episode::OperatorAccident(accident) => Some(*accident),
            _ => None,
        };
        self.order(operator_faults::from_the_beginning(accident, dice)).await;
        self.mood(8, 2);
        let crowd = self.table.play(self.setting.seats, dice);
        pause(dice.between(300, 1_000)).await;
        self.attack(episode, dice).await;
        pause(dice.between(300, 1_000)).await;
        self.settle(episode, crowd).await;
    }

    async fn attack(&mut self, episode: &Episode, dice: &mut Dice) {
        match episode {
            Episode::Points(points) => {
                for point in points {
                    self.kill_at(point, dice).await;
                }
            }
            Episode::RandomKills(times) => {
                for _ in 0..*times {
                    pause(dice.between(50, 900)).await;
                    let place = dice.place(self.fleet.len());
                    self.fleet.kill(place).await;
                    pause(dice.between(0, 300)).await;
                    self.fleet.start_at(&self.world, place, None).await;
                    self.report.kills += 1;
                    self.report.kills_at_random_moments += 1;
                }
            }
            Episode::Stops(times) => {
                for _ in 0..*times {
                    let place = dice.place(self.fleet.len());
                    self.fleet.signal(place, "STOP");
                    pause(dice.between(3_500, 4_500)).await;
                    self.fleet.signal(place, "CONT");
                    self.report.servers_stopped_and_continued += 1;
                    pause(500).await;
                }
            }
            Episode::Redis(list) => {
                for fault in list {
                    self.redis_fault(*fault, dice).await;
                    pause(dice.between(300, 1_500)).await;
                }
            }
            Episode::Postgres(list) => {
                for fault in list {
                    self.postgres_fault(*fault, dice).await;
                    pause(dice.between(300, 1_500)).await;
                }
            }
            Episode::Operator(seconds) => {
                self.order(operator_faults::noise(LOUD_NOISE_PER_MILLE, dice)).await;
                self.mood(30, 2);
                pause(seconds * 1_000).await;
            }
            Episode::Restore => unreachable!("it has a way of its own: nobody plays while it is put right"),
            Episode::OperatorAccident(accident) => self.operator_accident(*accident, dice).await,
            Episode::Outage(seconds) => {
                self.operator_line.set(Traffic::Cut);
                pause(seconds * 1_000).await;
                self.operator_line.set(Traffic::Flows);
                self.report.operator_outages += 1;
            }
        }
    }

    /// Kills one server at a point and proves that it was there.
    async fn kill_at(&mut self, point: &'static str, dice: &mut Dice) {
        let place = dice.place(self.fleet.len());
        let reached = match point {
            "K3" => self.kill_while_operator_holds(place, "bet", "PENDING", "bet").await,
            "K12" => {
                self.kill_while_operator_holds(place, "settle", "PENDING_SETTLEMENT", "settled")
                    .await
            }
            "K15" => {
                self.kill_while_operator_holds(place, "cancelBet", "PENDING_CANCEL", "cancelled")
                    .await
            }
            _ => {
                let faults = match point {
                    "K14" => json!({ "settle": { "kind": "refuse", "status": "9998", "probability": 0.5 } }),
                    "K16" => json!({ "bet": { "kind": "drop_after", "probability": 0.5 } }),
                    _ => operator_faults::noise(NOISE_PER_MILLE, dice),
                };
                self.order(faults).await;
                self.mood(if point == "K18" { 60 } else { 8 }, if point == "K19" { 50 } else { 2 });
                // Not always at the first time that it is passed.
                let passed = if matches!(point, "K14" | "K16" | "K17" | "K18") {
                    0
                } else {
                    dice.below(4)
                };
                let armed = if passed == 0 {
                    format!("{point}=1*return(kill)")
                } else {
                    format!("{point}={passed}*off->1*return(kill)")
                };
                self.fleet.start_at(&self.world, place, Some(&armed)).await;
                self.fleet.was_killed_at(place, point, Duration::from_secs(15)).await
            }
        };
        self.order(operator_faults::noise(NOISE_PER_MILLE, dice)).await;
        self.mood(8, 2);
        pause(dice.between(0, 300)).await;
        self.fleet.start_at(&self.world, place, None).await;
        if reached {
            self.report.kills += 1;
            self.proven(point);
        } else {
            Report::count(&mut self.report.points_missed, point);
        }
    }

    fn proven(&mut self, point: &str) {
        let column = if self.setting.locks {
            self.setting.servers.to_string()
        } else {
            "locks off".to_owned()
        };
        Report::count(self.report.points.entry(point.to_owned()).or_default(), column);
    }

    /// The operator applies a call and holds back its answer; with that proven by its ledger and our record, the only server
    /// that plays is killed. The others are stopped meanwhile, so that it was this one that called.
    async fn kill_while_operator_holds(&mut self, place: usize, action: &str, our_state: &str, their_state: &str) -> bool {
        self.fleet.addresses.send_all_to(Some(place));
        let others: Vec<usize> = (0..self.fleet.len()).filter(|other| *other != place).collect();
        others.iter().for_each(|other| self.fleet.signal(*other, "STOP"));
        // Calls that were under way end first.
        pause(1_200).await;
        let mut orders = json!({ "bet": [], "cancelBet": [], "settle": [], "voidBet": [] });
        orders[action] = json!({ "kind": "delay_after", "delayMs": 900 });
        if action == "cancelBet" {
            orders["bet"] = json!({ "kind": "drop_after", "probability": 0.5 });
        }
        self.order(orders).await;
        let mut held = Vec::new();
        for _ in 0..100 {
            pause(50).await;
            held = self.held_by_operator(our_state, their_state).await;
            if !held.is_empty() {
                break;
            }
        }
        self.fleet.kill(place).await;
        let is_proven = self.is_one_in(&held, our_state).await;
        others.iter().for_each(|other| self.fleet.signal(*other, "CONT"));
        self.fleet.addresses.send_all_to(None);
        is_proven
    }

    /// The bets that are in these states with us and with the operator.
    async fn held_by_operator(&self, our_state: &str, their_state: &str) -> Vec<String> {
        let ours = self.ids_in(our_state).await;
        if ours.is_empty() {
            return ours;
        }
        let ledger = self.world.operator.ledger().await;
        let theirs = ledger["bets"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|bet| bet["state"] == their_state);
        theirs
            .filter_map(|bet| bet["platformTxId"].as_str())
            .filter(|id| ours.iter().any(|our_id| our_id == id))
            .map(ToOwned::to_owned)
            .collect()
    }

    /// Whether one of these bets is still in this state.
    async fn is_one_in(&self, ids: &[String], state: &str) -> bool {
        let now = self.ids_in(state).await;
        ids.iter().any(|id| now.contains(id))
    }

    async fn ids_in(&self, state: &str) -> Vec<String> {
        let sql = format!("select string_agg(bet_id::text, ' ') from bets where state = '{state}'");
        let ids = self.world.ask_database(&sql).await;
        ids.split_whitespace().map(ToOwned::to_owned).collect()
    }

    /// What an outage left has as long to be delivered as it took to pile up.
    async fn drain_backlog(&mut self, limit: Duration) {
        let owed = "select count(*) from outbox where state = 'open'";
        let (started, backlog) = (crate::now(), self.world.ask_database(owed).await);
        while self.world.ask_database(owed).await != "0" && started.elapsed() < limit {
            pause(500).await;
        }
        let calls = backlog.parse().unwrap_or_default();
        self.report.backlogs.push((calls, milliseconds(started.elapsed())));
    }

    /// Ends an episode: everybody goes home, everything is healed, and what is left is compared.
    pub async fn settle(&mut self, episode: &Episode, crowd: Crowd) {
        let went = crowd.go_home().await;
        if let Err(hang) = went {
            self.note(episode, &hang);
        }
        self.operator_line.set(Traffic::Flows);
        self.fleet.heal(&self.world).await;
        self.order(json!({})).await;
        self.world.operator.clear_faults().await;
        if let Episode::Outage(seconds) = episode {
            self.drain_backlog(Duration::from_secs(*seconds)).await;
        }
        let started = crate::now();
        let checked = AssertUnwindSafe(self.world.check_books()).catch_unwind().await;
        let settling_ms = milliseconds(started.elapsed());
        self.report.slowest_settling_ms = self.report.slowest_settling_ms.max(settling_ms);
        self.report.checks_of_the_books += 1;
        // Each check says what it finds, whatever the others found: planted bugs are told apart by it.
        if let Err(panic) = checked {
            self.note(episode, &format!("the books: {}", said(panic.as_ref())));
        }
        let comparison = self.table.transcript.compare(&self.world).await;
        for violation in comparison.violations {
            self.note(episode, &format!("what players were told: {violation}"));
        }
        self.report.audits += 1;
        if let Err(violated) = audit(&self.world, &self.table).await {
            self.note(episode, &violated);
        }
    }

    /// Orders faults from the operator, after counting those that have happened.
    pub async fn order(&mut self, faults: Value) {
        let address = self.world.operator.url().replace("/callback", "/faults");
        let before = self
            .world
            .http
            .get(address)
            .send()
            .await
            .expect("it answers")
            .json()
            .await
            .expect("JSON");
        operator_faults::harvest(&before, &mut self.report.operator_faults);
        self.world.operator.order(faults).await;
    }

    fn mood(&self, leaves_percent: u64, changes_seed_percent: u64) {
        self.table.mood.leaves_percent.store(leaves_percent, Ordering::Relaxed);
        self.table.mood.changes_seed_percent.store(changes_seed_percent, Ordering::Relaxed);
    }

    pub fn note(&mut self, episode: &Episode, what: &str) {
        let Setting {
            number, servers, locks, ..
        } = self.setting;
        self.report
            .violation(format!("chapter {number} ({servers} servers, locks {locks}), {episode:?}: {what}"));
    }

    /// The last episode: the clean-up is killed in the middle of a batch, again and again, and archives every bet once.
    pub async fn clean_up(&mut self, times: u64, dice: &mut Dice) {
        let played = AssertUnwindSafe(tokio::time::timeout(EPISODE_LIMIT, self.archive(times, dice)))
            .catch_unwind()
            .await;
        let episode = Episode::Points(vec!["K20"]);
        match played {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(text))) => self.note(&episode, &text),
            Ok(Err(_)) => self.note(&episode, "hangs"),
            Err(panic) => self.note(&episode, &said(panic.as_ref())),
        }
        self.report.episodes += 1;
    }

    async fn archive(&mut self, times: u64, dice: &mut Dice) -> Result<(), String> {
        let age = "set session_replication_role = replica; update bets set ended_at = ended_at - interval '500 days'";
        let mut connection = self.world.connection().await;
        sqlx::raw_sql(age)
            .execute(&mut connection)
            .await
            .map_err(|error| error.to_string())?;
        drop(connection);
        let all = self.world.ask_database("select count(*) from bets").await;
        for _ in 0..times {
            let place = dice.place(self.fleet.len());
            let armed = "K20=1*return(kill)";
            self.fleet.start_cleaning(&self.world, place, Some(armed)).await;
            if self.fleet.was_killed_at(place, "K20", Duration::from_secs(15)).await {
                self.report.kills += 1;
                self.proven("K20");
            } else {
                Report::count(&mut self.report.points_missed, "K20");
            }
            // The dead server's lock would end by itself after five minutes.
            self.world.ask_redis(&["DEL", "bet-cleanup-lock", "bet-cleanup-last-run"]).await;
            self.fleet.start_at(&self.world, place, None).await;
        }
        self.fleet.start_cleaning(&self.world, 0, None).await;
        let started = crate::now();
        while self.world.ask_database("select count(*) from bets").await != "0" {
            if started.elapsed() > Duration::from_secs(60) {
                return Err("the clean-up does not end".to_owned());
            }
            pause(100).await;
        }
        let archived = self
            .world
            .ask_database("select count(distinct bet_id) || ' ' || count(*) from bets_archive")
            .await;
        if archived == format!("{all} {all}") {
            Ok(())
        } else {
            Err(format!("of {all} bets the archive has {archived} (distinct, all)"))
        }
    }

    /// Counts what the chapter's world came to.
    pub async fn tally(&mut self) {
        let comparison = self.table.transcript.compare(&self.world).await;
        self.report.bets += comparison.bets;
        if !self.setting.locks {
            self.report.bets_with_locks_off += comparison.bets;
        }
        for (reason, count) in comparison.ended_by {
            *self.report.rounds_ended_by.entry(reason).or_default() += count;
        }
        self.report.chapters += 1;
        self.tally_table().await;
    }

    /// Counts what was told at the table, before the chapter ends or everybody sits down at another one.
    pub async fn tally_table(&mut self) {
        let comparison = self.table.transcript.compare(&self.world).await;
        self.report.answers_compared += comparison.compared;
        self.report.unconfirmed_but_placed += comparison.unconfirmed_but_placed;
        self.report.ended_below_what_was_shown_after_redis_lost_writes += comparison.below_what_was_shown;
        let transcript = &self.table.transcript;
        self.report.repeats += transcript.repeats.load(Ordering::Relaxed);
        self.report.walked_back_after_redis_lost_writes += transcript.walked_back.load(Ordering::Relaxed);
    }

    /// After a violation: what the servers said, and what both sides wrote of every call.
    async fn keep_evidence(&self) {
        let kept = report::directory().join(format!("{}-chapter-{}", self.report.seed, self.setting.number));
        let copied = std::fs::create_dir_all(&kept).and_then(|()| std::fs::read_dir(self.world.directory.path()));
        for entry in copied.into_iter().flatten().filter_map(Result::ok) {
            let _ = std::fs::copy(entry.path(), kept.join(entry.file_name()));
        }
        for table in ["bets", "outbox", "wallet_audit"] {
            let rows = self
                .world
                .ask_database(&format!(
                    "select coalesce(string_agg(to_jsonb({table})::text, E'\\n'), '') from {table}"
                ))
                .await;
            let _ = std::fs::write(kept.join(format!("{table}.jsonl")), rows);
        }
        let ledger = self.world.operator.ledger().await;
        let _ = std::fs::write(kept.join("operator.json"), ledger.to_string());
        eprintln!("  the servers' logs and the books are in {}", kept.display());
    }
}

/// A world over a new database of the campaign's own PostgreSQL.
pub async fn world_in(postgres: &Postgres, database: &str, options: WorldOptions) -> World {
    let name = database.to_owned();
    let url = postgres
        .with(move |cluster| cluster.create_database(&name, Some("campaign_template")).expect("a database"))
        .await;
    World::over(database.to_owned(), url, options).await
}

/// `faircross audit` over all three books, the players' answers and the servers' logs. `Err`: what does not hold.
pub async fn audit(world: &World, table: &Table) -> Result<(), String> {
    let file = world.directory.path().join("transcript.jsonl");
    table.transcript.write(&file);
    let (ledger, file) = (world.operator.ledger_url(), file.display().to_string());
    let mut arguments = vec![
        "audit",
        "--operator-ledger",
        &ledger,
        "--agent-id",
        "demo",
        "--settled",
        "--json",
        "--transcripts",
        &file,
    ];
    let logs: Vec<String> = std::fs::read_dir(world.directory.path())
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path().display().to_string())
        .filter(|path| path.ends_with(".log"))
        .collect();
    logs.iter().for_each(|log| arguments.extend(["--search", log]));
    let (status, text) = world.command(&arguments).await;
    if status == 0 {
        Ok(())
    } else {
        Err(format!("the audit: {}", violated_checks(&text)))
    }
}

/// The checks that do not hold, without the ones that do.
fn violated_checks(text: &str) -> String {
    let Ok(report) = serde_json::from_str::<Value>(text) else {
        return text.to_owned();
    };
    let checks = report["checks"].as_array().into_iter().flatten();
    let violated: Vec<String> = checks.filter(|check| check["violations"] != 0).map(Value::to_string).collect();
    violated.join("; ")
}

/// Signs people in and gives them a table, for the first time (`visit` 0) or again.
pub async fn seat_people(fleet: &Fleet, people: usize, thinks_at_most_ms: u64, visit: u64) -> Arc<Table> {
    let (patient, http) = (client_within(PATIENCE), impatient_client());
    let mut players = Vec::new();
    for number in 0..people {
        let server = fleet.server(number % fleet.len());
        let mut player = Player::sign_in(&patient, server, "demo", "demo-cert", &format!("player{number}")).await;
        player.http = http.clone();
        players.push(player);
    }
    Arc::new(Table::new(Arc::clone(&fleet.addresses), players, thinks_at_most_ms, visit))
}

/// The points in random order, all but those that have a way of their own.
pub fn points_deck() -> Deck<&'static str> {
    Deck::new(&report::POINTS[..19])
}

pub async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic".to_owned())
}
