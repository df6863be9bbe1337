//! The bet's state machine on a real PostgreSQL against a plain model of it. Two servers make random calls of the ledger in any
//! order, sensible ones and others; in between, leases run out and somebody makes statements that nobody should. Each
//! call must answer as the model does: move what it says, move nothing, or be refused by the constraint that is there
//! for it. After each the whole record of the player is compared: states, lanes, outbox rows and who holds them, nonces,
//! the seed pair, the audit, and that every transition in the history is one of the diagram.

mod calls;
mod model;
mod record;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};

use proptest::test_runner::{Config, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use serde_json::json;

use crate::world;
use calls::Call;
use faircross::game::bet_state::BetState;
use model::{Record, RowState, is_legal};
use record::RealRecord;

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("a runtime")
});
thread_local! {
    /// The database of the test that runs in this thread.
    static DATABASE_URL: RefCell<String> = const { RefCell::new(String::new()) };
}
/// How often each kind of answer was given.
static ANSWERS: Mutex<BTreeMap<&'static str, u32>> = Mutex::new(BTreeMap::new());

struct OnPostgres;

impl StateMachineTest for OnPostgres {
    type SystemUnderTest = RealRecord;
    type Reference = Record;

    fn init_test(_: &Record) -> RealRecord {
        static PLAYERS: AtomicU32 = AtomicU32::new(0);
        let url = DATABASE_URL.with_borrow(Clone::clone);
        RUNTIME.block_on(RealRecord::new(&url, PLAYERS.fetch_add(1, Ordering::Relaxed)))
    }

    fn apply(mut real: RealRecord, model: &Record, (server, call): (usize, Call)) -> RealRecord {
        *ANSWERS.lock().expect("a count").entry(model.reply.name()).or_default() += 1;
        RUNTIME.block_on(async {
            real.make(server, call, model).await;
            assert_eq!(real.snapshot().await, in_json(model), "{call:?}");
        });
        real
    }

    fn check_invariants(_: &RealRecord, model: &Record) {
        assert!(model.open_bets() <= 1, "one open bet");
        for bet in &model.bets {
            let before = std::iter::once(None).chain(bet.history.iter().copied().map(Some));
            assert!(before.zip(&bet.history).all(|(from, to)| is_legal(from, *to)), "{:?}", bet.history);
            let settlements = |row: &&model::Row| row.action != "cancelBet" && std::ptr::eq(&model.bets[row.bet], bet);
            let expected = usize::from(
                bet.history
                    .iter()
                    .any(|state| matches!(state, BetState::PendingSettlement | BetState::PendingVoid)),
            );
            assert_eq!(
                model.rows.iter().filter(settlements).count(),
                expected,
                "one settle or void for an end"
            );
            let cancels = |row: &&model::Row| row.action == "cancelBet" && std::ptr::eq(&model.bets[row.bet], bet);
            let is_cancelled = bet.history.contains(&BetState::PendingCancel);
            assert!(
                !is_cancelled || model.rows.iter().filter(cancels).count() >= 2,
                "a cancel goes out twice"
            );
        }
    }

    fn teardown(real: RealRecord, _: Record) {
        RUNTIME.block_on(real.close());
    }
}

/// The model in the words of [`RealRecord::snapshot`].
fn in_json(model: &Record) -> serde_json::Value {
    let bets: Vec<_> = model
        .bets
        .iter()
        .enumerate()
        .map(|(nonce, bet)| {
            let history: Vec<_> = bet.history.iter().map(|state| state.as_str()).collect();
            json!({ "state": bet.state.as_str(), "lane": bet.lane, "pays": bet.pays, "archived": bet.is_archived, "nonce": nonce, "history": history })
        })
        .collect();
    let rows: Vec<_> = model
        .rows
        .iter()
        .filter(|row| !row.is_gone)
        .map(|row| {
            let state = match row.state {
                RowState::Open => "open",
                RowState::Done => "done",
                RowState::NeedsHuman => "needs_human",
                RowState::Resolved => "resolved",
            };
            json!({ "bet": row.bet, "action": row.action, "state": state, "claim": row.claim.map(|claim| format!("claim-{claim}")) })
        })
        .collect();
    json!({ "bets": bets, "rows": rows, "audited": model.audited, "nonce": model.bets.len(), "open": model.open_bets() })
}

/// So many random histories on a database of their own, in which `damage` was done first.
fn hold_against_the_model(cases: u32, damage: Option<&str>) -> Result<(), String> {
    let (_, url) = world::new_database();
    if let Some(damage) = damage {
        RUNTIME.block_on(record::run_statement(&url, damage));
    }
    DATABASE_URL.set(url);
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: if damage.is_some() { 3 } else { 100 },
        ..Config::default()
    };
    let mut runner = TestRunner::new(config.clone());
    let run = || {
        let outcome = runner.run(&Record::sequential_strategy(1..60), |(initial, calls, seen)| {
            OnPostgres::test_sequential(config.clone(), initial, calls, seen);
            Ok(())
        });
        outcome.map_err(|error| error.to_string())
    };
    // Making a failing history smaller may itself panic when its time is over; the history has failed all the same.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
        .unwrap_or_else(|_| Err("a history failed; what differed is said above".to_owned()))
}

#[test]
fn the_record_and_its_model_agree_on_every_call() {
    let cases = std::env::var("STATE_CASES").map_or(64, |text| text.parse().expect("STATE_CASES is a number"));
    hold_against_the_model(cases, None).unwrap_or_else(|error| panic!("{error}"));
    let answers = ANSWERS.lock().expect("a count");
    println!("{cases} histories, {} calls: {answers:?}", answers.values().sum::<u32>());
}

#[test]
fn a_record_without_its_triggers_is_noticed() {
    assert!(hold_against_the_model(64, Some("drop trigger bets_update on bets")).is_err());
}

/// Each of the three refuses a second open bet.
const TWO_MAY_BE_OPEN: &str = "alter table bets disable trigger bets_one_open,
    drop constraint bets_nonce_unique, drop constraint bets_commitment_unique";

#[test]
fn a_record_that_takes_two_open_bets_is_noticed() {
    assert!(hold_against_the_model(64, Some(TWO_MAY_BE_OPEN)).is_err());
}
