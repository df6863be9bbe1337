//! The load: careful players. They name the lane and the round, bet under a key, repeat whatever was not answered at the next
//! server, look back when they are told that a round is gone, and keep every answer. Some leave in the middle of a round.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::dice::Dice;
use crate::transcript::{Told, Transcript, minor};
use crate::world::{Answer, Player};

/// How long players who were called home may take to finish their round.
const WAY_HOME: Duration = Duration::from_secs(4);
/// Longer than a round of a campaign lives.
const STAYS_AWAY: Duration = Duration::from_secs(8);
/// How many of a hundred visits begin with a look at the balance.
const ASKS_FOR_BALANCE_PERCENT: u64 = 20;
/// More than anybody makes at one table.
const BETS_PER_VISIT: u64 = 1_000_000;
const EVERYWHERE: usize = usize::MAX;

/// Where the servers are at this moment.
pub struct Addresses {
    places: Mutex<Vec<Option<String>>>,
    only: AtomicUsize,
}

impl Addresses {
    pub fn new(places: usize) -> Self {
        Self {
            places: Mutex::new(vec![None; places]),
            only: AtomicUsize::new(EVERYWHERE),
        }
    }

    pub fn set(&self, place: usize, address: Option<String>) {
        self.places.lock().expect("not poisoned")[place] = address;
    }

    /// Sends everybody to one server, or everywhere again.
    pub fn send_all_to(&self, place: Option<usize>) {
        self.only.store(place.unwrap_or(EVERYWHERE), Ordering::Relaxed);
    }

    fn one_of(&self, dice: &mut Dice) -> Option<String> {
        let places = self.places.lock().expect("not poisoned");
        match self.only.load(Ordering::Relaxed) {
            EVERYWHERE => {
                let running: Vec<&String> = places.iter().flatten().collect();
                (!running.is_empty()).then(|| running[dice.place(running.len())].clone())
            }
            only => places.get(only).cloned().flatten(),
        }
    }
}

/// How the players feel; episodes change it.
#[derive(Default)]
pub struct Mood {
    pub leaves_percent: AtomicU64,
    pub changes_seed_percent: AtomicU64,
}

/// A person at the table.
struct Person {
    player: Player,
    bets: u64,
    /// A bet that is being worked on, to be asked for again under its key.
    unfinished: Option<(Value, String)>,
    /// The round that was left, and the lane on which it stood then: nobody careful takes less, also when Redis has forgotten it.
    left: Option<(String, i64)>,
    rests_until: Instant,
}

/// What all players share.
pub struct Table {
    pub addresses: Arc<Addresses>,
    pub transcript: Arc<Transcript>,
    pub mood: Mood,
    /// Between two steps, at most.
    pub thinks_at_most_ms: u64,
    people: Mutex<VecDeque<Person>>,
    called_home: AtomicBool,
    home_by: Mutex<Option<Instant>>,
}

/// A playing crowd.
pub struct Crowd {
    table: Arc<Table>,
    players: Vec<JoinHandle<()>>,
}

/// There was no answer in time.
struct OutOfTime;

impl Table {
    /// `visit` tells the tables at which the same people sit from each other: no key of theirs is used twice.
    pub fn new(addresses: Arc<Addresses>, players: Vec<Player>, thinks_at_most_ms: u64, visit: u64) -> Self {
        let now = crate::now();
        let people = players.into_iter().map(|player| Person {
            player,
            bets: visit * BETS_PER_VISIT,
            unfinished: None,
            left: None,
            rests_until: now,
        });
        Self {
            addresses,
            transcript: Arc::default(),
            mood: Mood::default(),
            thinks_at_most_ms,
            people: Mutex::new(people.collect()),
            called_home: AtomicBool::new(false),
            home_by: Mutex::new(None),
        }
    }

    /// Lets `seats` people play at a time until they are called home.
    pub fn play(self: &Arc<Self>, seats: usize, dice: &mut Dice) -> Crowd {
        self.called_home.store(false, Ordering::Relaxed);
        *self.home_by.lock().expect("not poisoned") = None;
        let players = (0..seats).map(|_| {
            let (table, dice) = (Arc::clone(self), dice.fork());
            tokio::spawn(async move { Seat { table, dice }.play().await })
        });
        Crowd {
            table: Arc::clone(self),
            players: players.collect(),
        }
    }

    fn is_over(&self) -> bool {
        self.home_by
            .lock()
            .expect("not poisoned")
            .is_some_and(|home_by| crate::now() > home_by)
    }
}

impl Crowd {
    /// Calls everybody home. `Err`: somebody hangs.
    pub async fn go_home(self) -> Result<(), String> {
        *self.table.home_by.lock().expect("not poisoned") = Some(crate::now() + WAY_HOME);
        self.table.called_home.store(true, Ordering::Relaxed);
        for player in self.players {
            match tokio::time::timeout(Duration::from_secs(30), player).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(format!("a player fell over: {error}")),
                Err(_) => return Err("a player was left without an answer for 30 s".to_owned()),
            }
        }
        Ok(())
    }
}

struct Seat {
    table: Arc<Table>,
    dice: Dice,
}

/// A round as its player knows it.
struct Round {
    bet_id: String,
    round_id: String,
    lane: i64,
}

impl Seat {
    async fn play(mut self) {
        while !self.table.called_home.load(Ordering::Relaxed) {
            let next = {
                let mut people = self.table.people.lock().expect("not poisoned");
                let rested = people.iter().position(|person| person.rests_until <= crate::now());
                rested.and_then(|place| people.remove(place))
            };
            let Some(mut person) = next else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let _ = self.visit(&mut person).await;
            self.table.people.lock().expect("not poisoned").push_back(person);
        }
    }

    async fn visit(&mut self, person: &mut Person) -> Result<(), OutOfTime> {
        if self.dice.percent(self.table.mood.changes_seed_percent.load(Ordering::Relaxed)) {
            let seed = format!("{}.changed.{}", person.player.user_id, self.dice.below(1_000_000));
            let answer = self
                .ask(&person.player, |player| {
                    player.request(Method::PUT, "/api/game/seeds").json(&json!({ "userSeed": seed }))
                })
                .await?;
            if answer.status != 200 {
                self.expect(&answer, &[(409, "active_session_exists")], "a change of the seed");
            }
        }
        let player = person.player.clone();
        if self.dice.percent(ASKS_FOR_BALANCE_PERCENT) {
            self.ask_for_balance(&player).await;
        }
        if let Some(round) = self.bet(person).await? {
            let bet_id = round.bet_id.clone();
            let stood_on = person.left.take().filter(|(left, _)| *left == bet_id).map_or(-1, |(_, lane)| lane);
            person.left = self
                .play_out(&player, round, stood_on)
                .await?
                .map(|lane| (bet_id, lane.max(stood_on)));
            // Some come back to their round, some stay away until it has ended without them.
            if person.left.is_some() && self.dice.percent(50) {
                person.rests_until = crate::now() + STAYS_AWAY;
            }
        }
        Ok(())
    }

    /// Sends a request until it is answered by something else than "not now".
    async fn ask(&mut self, player: &Player, request: impl Fn(&Player) -> RequestBuilder) -> Result<Answer, OutOfTime> {
        loop {
            if let Some(address) = self.table.addresses.one_of(&mut self.dice) {
                let player = player.at_address(&address);
                match player.try_send(request(&player)).await {
                    Ok(answer) if ![408, 429, 503].contains(&answer.status) => return Ok(answer),
                    Ok(_) | Err(_) => {}
                }
                self.table.transcript.repeats.fetch_add(1, Ordering::Relaxed);
            }
            if self.table.is_over() {
                return Err(OutOfTime);
            }
            tokio::time::sleep(Duration::from_millis(self.dice.between(20, 80))).await;
        }
    }

    /// Once: nobody waits with a bet until the operator can be asked.
    async fn ask_for_balance(&mut self, player: &Player) {
        let Some(address) = self.table.addresses.one_of(&mut self.dice) else {
            return;
        };
        let player = player.at_address(&address);
        if let Ok(answer) = player.try_send(player.request(Method::GET, "/api/game/balance")).await
            && ![200, 408, 429, 503].contains(&answer.status)
        {
            self.expect(&answer, &[], "the balance");
        }
    }

    fn expect(&self, answer: &Answer, expected: &[(u16, &str)], what: &str) {
        if !expected.contains(&(answer.status, answer.code())) {
            let text = format!("{what} was answered {} {}", answer.status, answer.body);
            self.table.transcript.unexpected(text);
        }
    }

    /// Bets until the answer says what became of it. `None`: there is no round for now.
    async fn bet(&mut self, person: &mut Person) -> Result<Option<Round>, OutOfTime> {
        let (mut body, key) = person.unfinished.take().unwrap_or_else(|| self.new_bet(person));
        let player = person.player.clone();
        for attempt in 0_u32.. {
            let difficulty = body["difficulty"].as_str().unwrap_or_default().to_owned();
            let road = self
                .ask(&player, |player| player.request(Method::GET, &format!("/api/hazards/{difficulty}")))
                .await;
            body["hazardEpoch"] = road.map_err(|_| keep(person, &body, &key))?.body["epoch"].clone();
            let answer = self
                .ask(&player, |player| {
                    player
                        .request(Method::POST, "/api/game/bet")
                        .header("Idempotency-Key", &key)
                        .json(&body)
                })
                .await
                .map_err(|_| keep(person, &body, &key))?;
            let user_id = player.user_id.clone();
            match (answer.status, answer.code()) {
                (200, _) => return Ok(self.note_round(&answer.body, Some(key), true)),
                (402, "insufficient_funds") | (502, "agent_rejected") => {
                    self.table.transcript.told(Told::Declined { user_id, key });
                    return Ok(None);
                }
                (504, "bet_unconfirmed") => {
                    self.table.transcript.told(Told::Unconfirmed { user_id, key });
                    return Ok(None);
                }
                (409, "active_session_exists") => return self.open_round(&player).await,
                (409, "stale_hazard_epoch" | "stale_commitment") if attempt < 20 => {}
                (409, "bet_in_progress") => {
                    let seconds = answer.retry_after.as_deref().and_then(|text| text.parse().ok()).unwrap_or(1);
                    person.rests_until = crate::now() + Duration::from_secs(seconds);
                    keep(person, &body, &key);
                    return Ok(None);
                }
                _ => {
                    self.expect(&answer, &[], "a bet");
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    fn new_bet(&mut self, person: &mut Person) -> (Value, String) {
        person.bets += 1;
        let difficulty = ["EASY", "EASY", "MEDIUM", "HARD", "DAREDEVIL"][self.dice.place(5)];
        let stake = ["1.00", "1.37", "2.50", "9.99"][self.dice.place(4)];
        let key = format!("{}-{}", person.player.user_id, person.bets);
        let body = json!({ "betAmount": stake, "difficulty": difficulty, "currency": "INR", "userSeed": format!("seed.{key}") });
        (body, key)
    }

    /// Keeps an answer with a round and returns the round if it is open.
    fn note_round(&self, body: &Value, key: Option<String>, was_placed: bool) -> Option<Round> {
        self.table.transcript.answered(body);
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let (bet_id, lane, win_minor) = (text("betId"), body["lineNumber"].as_i64().unwrap_or(-2), minor(&body["winAmount"]));
        if was_placed {
            self.table.transcript.told(Told::Placed {
                bet_id: bet_id.clone(),
                key,
                round: body.clone(),
            });
        }
        if body["isFinished"] == true {
            self.table.transcript.told(Told::Ended {
                bet_id,
                reason: text("endReason"),
                lane,
                win_minor,
                stake_minor: minor(&body["betAmount"]),
            });
            return None;
        }
        if lane >= 0 {
            self.table.transcript.told(Told::Standing {
                bet_id: bet_id.clone(),
                lane,
                win_minor,
            });
        }
        Some(Round {
            bet_id,
            round_id: text("roundId"),
            lane,
        })
    }

    async fn open_round(&mut self, player: &Player) -> Result<Option<Round>, OutOfTime> {
        let answer = self.ask(player, |player| player.request(Method::GET, "/api/game/session")).await?;
        if answer.status == 200 {
            return Ok(self.note_round(&answer.body, None, true));
        }
        // It ended a moment ago, or its debit is still under way.
        self.expect(&answer, &[(404, "no_active_session"), (409, "bet_in_progress")], "the open round");
        Ok(None)
    }

    /// Plays to a lane of the player's choice, `stood_on` at least. Returns the lane on which the player left in the middle of the round.
    async fn play_out(&mut self, player: &Player, mut round: Round, stood_on: i64) -> Result<Option<i64>, OutOfTime> {
        let target = i64::try_from(self.dice.below(4)).expect("a lane").max(stood_on);
        let leaves = self.dice.percent(self.table.mood.leaves_percent.load(Ordering::Relaxed));
        for _ in 0..60 {
            let thinks_ms = self.dice.below(self.table.thinks_at_most_ms + 1);
            tokio::time::sleep(Duration::from_millis(thinks_ms)).await;
            if leaves && round.lane >= target - 1 {
                return Ok(Some(round.lane));
            }
            if self.dice.percent(5) {
                self.look_for_seed(player, &round).await?;
            }
            let answers = if round.lane < target {
                let body = json!({ "lineNumber": round.lane + 1, "roundId": round.round_id });
                vec![self.step_or_cash_out(player, "/api/game/step", &body).await?]
            } else {
                self.cash_out(player, &round).await?
            };
            let mut goes_on = None;
            for answer in answers {
                goes_on = match (answer.status, answer.code()) {
                    (200, _) => self.note_round(&answer.body, None, false),
                    // Redis went back to an earlier moment, or lost the round: the record and the road are still there.
                    (409, "invalid_step_sequence" | "too_early_to_cash_out") => {
                        self.table.transcript.walked_back.fetch_add(1, Ordering::Relaxed);
                        self.open_round(player).await?
                    }
                    (404, "no_active_session") | (409, "round_mismatch") => self.look_back(player, &round).await?,
                    _ => {
                        self.expect(&answer, &[], "a move");
                        None
                    }
                };
            }
            match goes_on {
                Some(next) if next.bet_id == round.bet_id => round.lane = next.lane,
                _ => return Ok(None),
            }
        }
        self.table
            .transcript
            .unexpected(format!("the round {} did not end in 60 moves", round.bet_id));
        Ok(None)
    }

    /// Looks whether history gives away the road of a round that is still open.
    async fn look_for_seed(&mut self, player: &Player, round: &Round) -> Result<(), OutOfTime> {
        let path = format!("/api/game/bets/{}", round.bet_id);
        let bet = self.ask(player, |player| player.request(Method::GET, &path)).await?.body;
        let fairness = &bet["fairness"];
        if bet["endReason"].is_null() && !(fairness["serverSeed"].is_null() && fairness["collisionColumns"].is_null()) {
            let text = format!("the seed of the open round {} is shown", round.bet_id);
            self.table.transcript.unexpected(text);
        }
        Ok(())
    }

    async fn step_or_cash_out(&mut self, player: &Player, path: &str, body: &Value) -> Result<Answer, OutOfTime> {
        self.ask(player, |player| player.request(Method::POST, path).json(body)).await
    }

    /// Cashes out where the player was told to stand; now and then twice at once.
    async fn cash_out(&mut self, player: &Player, round: &Round) -> Result<Vec<Answer>, OutOfTime> {
        let body = json!({ "lineNumber": round.lane, "roundId": round.round_id });
        if !self.dice.percent(10) {
            return Ok(vec![self.step_or_cash_out(player, "/api/game/cashout", &body).await?]);
        }
        let mut other = Seat {
            table: Arc::clone(&self.table),
            dice: self.dice.fork(),
        };
        let (one, two) = tokio::join!(
            self.step_or_cash_out(player, "/api/game/cashout", &body),
            other.step_or_cash_out(player, "/api/game/cashout", &body)
        );
        Ok(vec![one?, two?])
    }

    /// The history of a round that is said to be gone. `Some`: it is still open.
    async fn look_back(&mut self, player: &Player, round: &Round) -> Result<Option<Round>, OutOfTime> {
        let path = format!("/api/game/bets/{}", round.bet_id);
        let answer = self.ask(player, |player| player.request(Method::GET, &path)).await?;
        if answer.status != 200 {
            self.expect(&answer, &[], "the history of a bet that was placed");
            return Ok(None);
        }
        let bet = &answer.body;
        let Some(reason) = bet["endReason"].as_str() else {
            return Ok(Some(Round {
                bet_id: round.bet_id.clone(),
                round_id: round.round_id.clone(),
                lane: round.lane,
            }));
        };
        self.table.transcript.told(Told::Ended {
            bet_id: round.bet_id.clone(),
            reason: reason.to_owned(),
            lane: bet["lastLane"].as_i64().unwrap_or(-2),
            win_minor: minor(&bet["winAmount"]),
            stake_minor: minor(&bet["betAmount"]),
        });
        Ok(None)
    }
}

fn keep(person: &mut Person, body: &Value, key: &str) -> OutOfTime {
    person.unfinished = Some((body.clone(), key.to_owned()));
    OutOfTime
}
