//! Racing steps and cash-outs of one player, over HTTP and two servers, look as if they had happened one after the other: for
//! every history of requests and answers there is an order, in keeping with real time, in which the rules of the walk
//! alone give each of these answers. The rules are `game::walk`, on the road that the round turned out to have.

use std::cell::RefCell;

use faircross::chance::Chance;
use faircross::game::configuration::GameConfiguration;
use faircross::game::difficulty::Difficulty;
use faircross::game::money::Amount;
use faircross::game::round::{Ended, RoundError, Terms};
use faircross::game::walk::{Move, Open};
use serde_json::{Value, json};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

use crate::world::{Answer, Player, World, WorldOptions};

const CLIENTS: usize = 4;
const REQUESTS_EACH: usize = 4;
const STAKE: &str = "10.00";

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Request {
    Step(u8),
    CashOut(Option<u8>),
}

/// What it is told, as far as it depends on the order of events.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Standing { lane: i64 },
    Ended { reason: String, lane: i64, win_amount: String },
    Refused { code: String },
}

/// One player's round, one request after the other.
#[derive(Clone, Debug)]
enum Round {
    Open(Open),
    Ended(Ended),
}

impl SequentialSpec for Round {
    type Op = Request;
    type Ret = Told;

    fn invoke(&mut self, request: &Request) -> Told {
        let open = match self {
            Self::Open(open) => open.clone(),
            Self::Ended(ended) => return told_end(ended),
        };
        let is_before_the_road = open.lane() == -1 && matches!(request, Request::CashOut(_));
        let moved = match *request {
            Request::Step(lane) => open.step(lane),
            Request::CashOut(lane) => open.cash_out(lane),
        };
        match moved {
            Move::Standing(open) => {
                let lane = i64::from(open.lane());
                *self = Self::Open(open);
                Told::Standing { lane }
            }
            Move::Ended(ended) => {
                *self = Self::Ended(ended);
                told_end(&ended)
            }
            Move::Refused(_, RoundError::TooEarly) => refused("too_early_to_cash_out"),
            // Nothing can be cashed out before the first lane, whichever one is named: that is said first.
            Move::Refused(..) if is_before_the_road => refused("too_early_to_cash_out"),
            Move::Refused(..) => refused("invalid_step_sequence"),
        }
    }
}

fn told_end(ended: &Ended) -> Told {
    Told::Ended {
        reason: ended.reason.as_str().to_owned(),
        lane: i64::from(ended.lane),
        win_amount: ended.payout.format(2),
    }
}

fn refused(code: &str) -> Told {
    Told::Refused { code: code.to_owned() }
}

fn told(answer: &Answer) -> Told {
    let body = &answer.body;
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let lane = body["lineNumber"].as_i64().unwrap_or_default();
    match (answer.status, body["isFinished"].as_bool()) {
        (200, Some(true)) => Told::Ended {
            reason: text("endReason"),
            lane,
            win_amount: text("winAmount"),
        },
        (200, Some(false)) => Told::Standing { lane },
        _ => refused(answer.code()),
    }
}

/// A client began or has got its answer.
#[derive(Clone, Debug)]
enum Event {
    Asked(Request),
    Answered(Told),
}

type History = Vec<(usize, Event)>;

fn is_linearizable(terms: &Terms, history: &History) -> bool {
    let mut tester = LinearizabilityTester::new(Round::Open(Open::begin(terms.clone())));
    for (client, event) in history {
        let taken = match event {
            Event::Asked(request) => tester.on_invoke(*client, *request).map(drop),
            Event::Answered(told) => tester.on_return(*client, told.clone()).map(drop),
        };
        taken.expect("each client asks one thing at a time");
    }
    tester.is_consistent()
}

/// Four requests of one client: mostly the step that may be next, now and then a cash-out or another lane.
fn plan() -> Vec<Request> {
    let chance = Chance.bytes_32();
    (0_u8..)
        .zip(chance.chunks_exact(2))
        .take(REQUESTS_EACH)
        .map(|(lane, chance)| match chance[0] % 8 {
            0 => Request::CashOut(None),
            1 => Request::CashOut(Some(chance[1] % 3)),
            2 => Request::Step(chance[1] % 4),
            _ => Request::Step(lane.saturating_sub(chance[1] % 2)),
        })
        .collect()
}

async fn ask(player: &Player, request: Request) -> Told {
    let answer = match request {
        Request::Step(lane) => player.step(i64::from(lane)).await,
        Request::CashOut(lane) => player.insist("/api/game/cashout", json!({ "lineNumber": lane })).await,
    };
    told(&answer)
}

/// Four clients of one player at once, on both servers.
async fn race(clients: &[Player]) -> History {
    let history = RefCell::new(History::new());
    let racing = (0..CLIENTS).zip(clients.iter().cycle()).map(async |(client, player)| {
        for request in plan() {
            history.borrow_mut().push((client, Event::Asked(request)));
            let told = ask(player, request).await;
            history.borrow_mut().push((client, Event::Answered(told)));
        }
    });
    futures::future::join_all(racing).await;
    history.into_inner()
}

/// The end of the round, so that its road is told.
async fn finish(player: &Player) {
    for lane in 0.. {
        let cashed_out = player.cash_out().await;
        if cashed_out.status == 200 {
            return;
        }
        player.step(lane).await.ok();
    }
}

fn terms(bet: &Value, past: &Value) -> Terms {
    let configuration = GameConfiguration::embedded_default();
    let columns = past["fairness"]["collisionColumns"].as_array().expect("the road is told");
    Terms {
        stake: Amount::parse(STAKE, 2).expect("an amount"),
        coefficients: configuration.paytable(Difficulty::Daredevil).coefficients().to_vec(),
        collision_columns: columns
            .iter()
            .map(|lane| u8::try_from(lane.as_u64().expect("a lane")).expect("a lane"))
            .collect(),
        max_lane: u8::try_from(bet["maxLane"].as_u64().expect("a lane")).expect("a lane"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_steps_and_cash_outs_have_an_order() {
    let rounds: usize = std::env::var("LINEAR_ROUNDS").map_or(40, |text| text.parse().expect("LINEAR_ROUNDS is a number"));
    let world = World::new(WorldOptions::default()).await;
    let (one, other) = (world.start_server().await, world.start_server().await);
    let player = world.player(&one).await;
    let clients = [player.clone(), player.at(&other)];
    let mut ends = std::collections::BTreeMap::<String, usize>::new();
    for _ in 0..rounds {
        let bet = player.bet(STAKE, "DAREDEVIL").await.ok();
        let history = race(&clients).await;
        finish(&player).await;
        let past = player.history(bet["betId"].as_str().expect("an id")).await;
        *ends.entry(past["endReason"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        let terms = terms(&bet, &past);
        assert!(is_linearizable(&terms, &history), "{terms:?}: {history:#?}");
    }
    println!(
        "{rounds} histories of {} requests each; the rounds ended by {ends:?}",
        CLIENTS * REQUESTS_EACH
    );
    world.close().await;
}

#[test]
fn a_history_that_has_no_order_is_noticed() {
    let configuration = GameConfiguration::embedded_default();
    let terms = Terms {
        stake: Amount::parse(STAKE, 2).expect("an amount"),
        coefficients: configuration.paytable(Difficulty::Easy).coefficients().to_vec(),
        collision_columns: vec![2],
        max_lane: 20,
    };
    let step = |lane| Event::Asked(Request::Step(lane));
    let standing = |lane| Event::Answered(Told::Standing { lane });
    let cash_out = || Event::Asked(Request::CashOut(None));
    let cashed_out = |lane, amount: &str| {
        Event::Answered(Told::Ended {
            reason: "cashout".to_owned(),
            lane,
            win_amount: amount.to_owned(),
        })
    };

    let good = vec![(0, step(0)), (1, cash_out()), (0, standing(0)), (1, cashed_out(0, "10.10"))];
    assert!(is_linearizable(&terms, &good));
    let too_early = vec![
        (0, step(0)),
        (0, standing(0)),
        (1, cash_out()),
        (1, Event::Answered(refused("too_early_to_cash_out"))),
    ];
    assert!(!is_linearizable(&terms, &too_early), "the step had been answered before");
    let paid_twice = vec![
        (0, step(0)),
        (0, standing(0)),
        (1, cash_out()),
        (0, step(1)),
        (0, standing(1)),
        (1, cashed_out(0, "10.10")),
        (0, cash_out()),
        (0, cashed_out(1, "10.30")),
    ];
    assert!(!is_linearizable(&terms, &paid_twice), "one round, two ends");
    let wrong_amount = vec![(0, step(0)), (0, standing(0)), (1, cash_out()), (1, cashed_out(0, "10.11"))];
    assert!(!is_linearizable(&terms, &wrong_amount));
    let on_a_hazard = vec![
        (0, step(0)),
        (0, standing(0)),
        (0, step(1)),
        (0, standing(1)),
        (0, step(2)),
        (0, standing(2)),
    ];
    assert!(!is_linearizable(&terms, &on_a_hazard));
}
