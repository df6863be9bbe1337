//! The scripts against the rules: whatever a player tries, a session in Redis and `game::round` agree on every answer.

use faircross::game::money::{Amount, Coefficient};
use faircross::game::round::{RoundError, Terms};
use faircross::game::walk::{Move as ModelMove, Open};
use faircross::live::{Move, NamedRound, NewSession, Session};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::World;

#[derive(Clone, Copy, Debug)]
enum Action {
    Step(u8),
    CashOut(Option<u8>),
    Deadline,
}

#[derive(Clone, Debug)]
struct Story {
    first_collision: Option<u8>,
    max_lane: u8,
    /// Whether the moves name the round as one that the caller knows, so that usual steps take the short way.
    is_known: bool,
    /// The lane at which the session is rebuilt, if it was lost.
    restored_at: Option<i16>,
    actions: Vec<Action>,
}

fn story() -> impl Strategy<Value = Story> {
    let action = prop_oneof![
        6 => (0..9_u8).prop_map(Action::Step),
        2 => prop::option::of(0..9_u8).prop_map(Action::CashOut),
        1 => Just(Action::Deadline),
    ];
    // The moves of an eager player first, so that stories get somewhere, then whatever comes to mind.
    let eager = (0..8_u8).prop_map(|lanes| (0..lanes).map(Action::Step).collect::<Vec<_>>());
    (
        any::<bool>(),
        prop::option::of(0..9_u8),
        0..8_u8,
        prop::option::of(-1..8_i16),
        eager,
        prop::collection::vec(action, 0..10),
    )
        .prop_map(|(is_known, first_collision, max_lane, restored_at, mut actions, more)| {
            actions.extend(more);
            let highest = first_collision.map_or(i16::from(max_lane), |lane| i16::from(lane).min(i16::from(max_lane))) - 1;
            Story {
                is_known,
                first_collision,
                max_lane,
                restored_at: restored_at.map(|lane| lane.min(highest)),
                actions,
            }
        })
}

fn terms(story: &Story) -> Terms {
    let coefficients = (0..9)
        .map(|lane| Coefficient::from_hundredths(101 + lane).expect("a coefficient"))
        .collect();
    Terms {
        stake: Amount::from_minor(1_000).expect("an amount"),
        coefficients,
        collision_columns: story.first_collision.into_iter().collect(),
        max_lane: story.max_lane,
    }
}

/// What the model says of one action, in the words of the scripts.
fn expected(open: Open, action: Action, story: &Story) -> (Result<Open, ModelMove>, &'static str) {
    let before_the_first_lane = open.lane() == -1 && story.restored_at != Some(-1);
    let outcome = match action {
        Action::Step(lane) => open.step(lane),
        Action::CashOut(lane) => open.cash_out(lane),
        Action::Deadline => open.deadline(),
    };
    match outcome {
        ModelMove::Standing(open) => (Ok(open), "standing"),
        ModelMove::Refused(open, RoundError::TooEarly) => (Ok(open), "too early"),
        // Nothing can be cashed out before the first lane, whichever one is named: the scripts say that first.
        ModelMove::Refused(open, _) if before_the_first_lane && matches!(action, Action::CashOut(_)) => (Ok(open), "too early"),
        ModelMove::Refused(open, _) => (Ok(open), "out of sequence"),
        ended @ ModelMove::Ended(_) => (Err(ended), "ended"),
    }
}

async fn actual(world: &World, outcome: Move) -> (Session, &'static str) {
    match outcome {
        Move::Safe { lane } => {
            let session = world.live.session_of(&world.player).await.expect("Redis runs");
            let session = session.expect("the session is there");
            assert_eq!(session.current_step, i16::from(lane), "what was answered is what stands in Redis");
            (session, "standing")
        }
        Move::Standing(session) => (session, "standing"),
        Move::TooEarly(session) => (session, "too early"),
        Move::OutOfSequence(session) => (session, "out of sequence"),
        Move::Ended(session) => (session, "ended"),
        other => panic!("{other:?}"),
    }
}

async fn play(world: &World, sequence: i64, story: &Story) -> Result<(), TestCaseError> {
    let new = world.round(sequence, story.first_collision, story.max_lane);
    let mut model = match story.restored_at {
        None => Ok(Open::begin(terms(story))),
        Some(lane) => Ok(Open::restore(terms(story), lane).expect("a lane to stand on")),
    };
    world
        .open(NewSession {
            current_step: story.restored_at.unwrap_or(-1),
            restored: story.restored_at.is_some(),
            ..new
        })
        .await;
    let round = NamedRound {
        round_id: Some("round-1"),
        is_known: story.is_known,
    };
    for action in &story.actions {
        let (session, answer) = match *action {
            Action::Step(lane) => {
                let outcome = world.live.step(world.caller(), lane, round).await;
                actual(world, outcome.expect("Redis runs")).await
            }
            Action::CashOut(lane) => {
                let outcome = world.live.cash_out(world.caller(), lane, round).await;
                actual(world, outcome.expect("Redis runs")).await
            }
            Action::Deadline => {
                let ended = world.live.end_at_deadline(&world.player, sequence).await.expect("Redis runs");
                (ended.expect("the session is there"), "ended")
            }
        };
        let (next, expected) = match model {
            Ok(open) => expected(open, *action, story),
            ended @ Err(_) => (ended, "ended"),
        };
        prop_assert_eq!(answer, expected, "{:?}", action);
        match &next {
            Ok(open) => {
                prop_assert_eq!(session.current_step, open.lane());
                prop_assert!(session.is_active && session.end.is_none());
            }
            Err(ModelMove::Ended(ended)) => {
                prop_assert_eq!(
                    (session.current_step, session.end, session.is_win),
                    (ended.lane, Some(ended.reason), ended.is_win())
                );
                prop_assert!(!session.is_active);
            }
            Err(other) => panic!("{other:?}"),
        }
        model = next;
    }
    Ok(())
}

#[test]
fn scripts_and_rules_agree_on_every_move() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let world = runtime.block_on(World::new());
    let sequence = std::cell::Cell::new(0_i64);
    let mut runner = TestRunner::new(Config {
        cases: 400,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(&story(), |story| {
        sequence.set(sequence.get() + 1);
        runtime.block_on(play(&world, sequence.get(), &story))
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}
