//! The one generator for both servers: so many connections, each of which asks as soon as it has its answer.
//!
//! A seat is one player at one server. The bare server has the same paths and answers, so what is asked, how it is read and what it
//! costs here is the same on both sides. A segment is one kind of action at one server for a short while.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use hyper::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::Failure;
use crate::answers::Round;
use crate::connection::{Connection, Question};
use crate::draws::Draws;
use crate::player::{Trouble, read};
use crate::recorder::{Measured, micros};
use crate::world::World;

/// How many lanes a player of a whole round crosses before cashing out.
const LANES_OF_A_ROUND: i16 = 3;

/// One player at one server.
pub struct Seat {
    pub user_id: String,
    pub token: String,
    pub draws: Draws,
    /// The open round, or the last one.
    pub round: Option<Round>,
    /// How many lanes are safe steps, looked up where the server keeps it.
    pub safe_lanes: i16,
}

impl Seat {
    pub fn is_open(&self) -> bool {
        self.round.as_ref().is_some_and(|round| !round.is_finished)
    }

    fn stands_on(&self) -> i16 {
        self.round.as_ref().map_or(-1, |round| round.line_number)
    }
}

/// A kind of action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A bet for every seat.
    Bet,
    /// Every safe lane of every seat's round, once.
    SafeSteps,
    /// The lane on which the seat stands, again and again.
    RepeatedSteps,
    /// The bare server's step with a commit, again and again.
    CommittedSteps,
    /// A cash-out of every seat that stands on a lane.
    CashOut,
    /// Steps until every open round that stands before the first lane has left it, or ended.
    LeaveTheStart,
    /// Bet, three steps, cash-out, again and again.
    WholeRounds,
}

impl Act {
    /// Whether it goes on for the time of the segment; the others end with the last seat.
    fn is_endless(self) -> bool {
        matches!(self, Self::RepeatedSteps | Self::CommittedSteps | Self::WholeRounds)
    }
}

/// What a segment measured.
pub struct Segment {
    /// Actions; whole rounds where they are played.
    pub count: u64,
    /// From its first request to its last answer.
    pub lasted: Duration,
    pub latencies_us: Histogram<u64>,
    pub errors: BTreeMap<String, u64>,
    /// What players were told of money, in the order of each player.
    pub told: Vec<Told>,
}

/// A confirmed bet or an end.
pub struct Told {
    pub what: &'static str,
    pub user_id: String,
    pub round: Round,
}

/// The seats that wait for their turn, and what came of the others.
struct Board {
    world: Arc<World>,
    act: Act,
    until: Instant,
    waiting: Mutex<Vec<Seat>>,
    done: Mutex<(Vec<Seat>, Measured, u64, Vec<Told>)>,
}

/// Runs a segment over all seats. `lasts` bounds the endless acts.
///
/// # Errors
/// When a connection's task panicked.
pub async fn run(
    world: &Arc<World>,
    server: SocketAddr,
    seats: &mut Vec<Seat>,
    act: Act,
    connections: usize,
    lasts: Duration,
) -> Result<Segment, Failure> {
    let mut waiting = std::mem::take(seats);
    waiting.reverse();
    let begun = Instant::now();
    let board = Arc::new(Board {
        world: Arc::clone(world),
        act,
        until: begun + lasts,
        waiting: Mutex::new(waiting),
        done: Mutex::new((Vec::new(), Measured::new(), 0, Vec::new())),
    });
    let mut workers = JoinSet::new();
    for _ in 0..connections {
        workers.spawn(work(Arc::clone(&board), Connection::new(server)));
    }
    let road = tokio::spawn({
        let world = Arc::clone(world);
        async move { world.watch_road().await }
    });
    while let Some(worker) = workers.join_next().await {
        worker?;
    }
    let lasted = begun.elapsed();
    road.abort();
    let board = Arc::into_inner(board).ok_or("a connection is still in use")?;
    let (done, measured, rounds, told) = board.done.into_inner()?;
    *seats = done;
    seats.extend(board.waiting.into_inner()?);
    Ok(Segment {
        count: if act == Act::WholeRounds {
            rounds
        } else {
            measured.latencies_us.len()
        },
        lasted,
        latencies_us: measured.latencies_us,
        errors: measured.errors,
        told,
    })
}

/// One connection: takes one seat after another.
async fn work(board: Arc<Board>, connection: Connection) {
    let mut worker = Worker {
        connection,
        measured: Measured::new(),
        rounds: 0,
        told: Vec::new(),
    };
    let mut done = Vec::new();
    loop {
        let next = board.waiting.lock().expect("nobody panicked while waiting").pop();
        let Some(mut seat) = next else { break };
        worker.take(&board, &mut seat).await;
        done.push(seat);
        if board.act.is_endless() && Instant::now() >= board.until {
            break;
        }
    }
    let mut all = board.done.lock().expect("nobody panicked while noting");
    all.0.append(&mut done);
    all.1
        .latencies_us
        .add(&worker.measured.latencies_us)
        .expect("the bounds are the same");
    for (code, count) in worker.measured.errors {
        *all.1.errors.entry(code).or_default() += count;
    }
    all.2 += worker.rounds;
    all.3.append(&mut worker.told);
}

struct Worker {
    connection: Connection,
    measured: Measured,
    rounds: u64,
    told: Vec<Told>,
}

impl Worker {
    async fn take(&mut self, board: &Board, seat: &mut Seat) {
        match board.act {
            Act::Bet if !seat.is_open() => self.bet(&board.world, seat).await,
            Act::Bet => {}
            Act::CashOut if seat.is_open() && seat.stands_on() >= 0 => self.cash_out(seat).await,
            Act::CashOut => {}
            Act::SafeSteps => {
                while seat.is_open() && seat.stands_on() + 1 < seat.safe_lanes {
                    let lane = seat.stands_on() + 1;
                    if self.step(seat, "/api/game/step", lane).await.is_none() {
                        break;
                    }
                }
            }
            Act::LeaveTheStart if seat.is_open() && seat.stands_on() < 0 => {
                self.step(seat, "/api/game/step", 0).await;
            }
            Act::LeaveTheStart => {}
            // A seat without a round, whose bet failed, has nothing to repeat.
            Act::RepeatedSteps | Act::CommittedSteps => {
                let path = match board.act {
                    Act::CommittedSteps => "/api/game/committed-step",
                    _ => "/api/game/step",
                };
                while seat.is_open() && seat.stands_on() >= 0 && Instant::now() < board.until {
                    self.step(seat, path, seat.stands_on()).await;
                }
            }
            Act::WholeRounds => {
                while Instant::now() < board.until {
                    self.whole_round(&board.world, seat).await;
                }
            }
        }
    }

    async fn whole_round(&mut self, world: &World, seat: &mut Seat) {
        if !seat.is_open() {
            self.bet(world, seat).await;
        }
        let was_open = seat.is_open();
        while seat.is_open() {
            let lane = seat.stands_on() + 1;
            if lane < LANES_OF_A_ROUND {
                if self.step(seat, "/api/game/step", lane).await.is_none() {
                    return;
                }
            } else {
                self.cash_out(seat).await;
                break;
            }
        }
        self.rounds += u64::from(was_open && !seat.is_open());
    }

    async fn bet(&mut self, world: &World, seat: &mut Seat) {
        let token = seat.draws.token();
        let body = json!({
            "betAmount": "10.00",
            "difficulty": "EASY",
            "currency": world.operator.currency,
            "hazardEpoch": world.epoch(),
            "userSeed": token,
        });
        let question = Question {
            idempotency_key: Some(&token),
            ..Question::send(Method::POST, "/api/game/bet", Some(&seat.token), &body)
        };
        if let Some(round) = self.ask(question).await {
            self.told("bet", seat, &round);
            seat.round = Some(round);
        }
    }

    async fn step(&mut self, seat: &mut Seat, path: &str, lane: i16) -> Option<()> {
        let round_id = &seat.round.as_ref()?.round_id;
        let body = json!({ "lineNumber": lane, "roundId": round_id });
        let round = self.ask(Question::send(Method::POST, path, Some(&seat.token), &body)).await?;
        if round.is_finished {
            self.told("end", seat, &round);
        }
        seat.round = Some(round);
        Some(())
    }

    async fn cash_out(&mut self, seat: &mut Seat) {
        let Some(standing) = &seat.round else { return };
        let body = json!({ "lineNumber": standing.line_number, "roundId": standing.round_id });
        let question = Question::send(Method::POST, "/api/game/cashout", Some(&seat.token), &body);
        if let Some(round) = self.ask(question).await {
            self.told("end", seat, &round);
            seat.round = Some(round);
        }
    }

    async fn ask(&mut self, question: Question<'_>) -> Option<Round> {
        let begun = Instant::now();
        let answer: Result<Round, Trouble> = read(self.connection.ask(question).await);
        self.measured.latencies_us.saturating_record(micros(begun.elapsed()));
        answer
            .map_err(|trouble| *self.measured.errors.entry(trouble.code).or_default() += 1)
            .ok()
    }

    fn told(&mut self, what: &'static str, seat: &Seat, round: &Round) {
        self.told.push(Told {
            what,
            user_id: seat.user_id.clone(),
            round: round.clone(),
        });
    }
}
