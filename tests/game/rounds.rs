//! Rounds as players play them, in any order, with the live state lost on the way.

use faircross::game::configuration::GameConfiguration;
use faircross::game::difficulty::Difficulty;
use faircross::game::fairness::collision_columns;
use faircross::game::money::Amount;
use faircross::game::round::{EndReason, Ended, Terms};
use faircross::game::walk::{Move, Open};
use proptest::prelude::*;

use super::amount;

#[derive(Clone, Copy, Debug)]
enum Request {
    Step(u8),
    NextStep,
    CashOut(Option<u8>),
    Deadline,
}

fn requests() -> impl Strategy<Value = Vec<Request>> {
    let request = prop_oneof![
        8 => Just(Request::NextStep),
        2 => (0_u8..32).prop_map(Request::Step),
        1 => prop::option::of(0_u8..32).prop_map(Request::CashOut),
        1 => Just(Request::Deadline),
    ];
    prop::collection::vec(request, 1..40)
}

fn perform(open: Open, request: Request) -> Move {
    match request {
        Request::Step(lane) => open.step(lane),
        Request::NextStep => {
            let next = u8::try_from(open.lane() + 1).unwrap();
            open.step(next)
        }
        Request::CashOut(lane) => open.cash_out(lane),
        Request::Deadline => open.deadline(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever a player asks for, in whichever order, and wherever the live state is lost on the way.
    #[test]
    fn no_sequence_of_moves_creates_money(
        difficulty in prop::sample::select(Difficulty::ALL.to_vec()),
        key in any::<[u8; 32]>(), is_road_free in any::<bool>(), stake in 100_u64..=15_000,
        requests in requests(), losses in prop::collection::vec(prop::bool::weighted(0.1), 40),
    ) {
        let configuration = GameConfiguration::embedded_default();
        let paytable = configuration.paytable(difficulty);
        let max_win = configuration.currency("INR").unwrap().max_win;
        let stake = amount(stake);
        let columns = if is_road_free { Vec::new() } else { collision_columns(&key, paytable.thresholds()) };
        let terms = Terms {
            stake,
            coefficients: paytable.coefficients().to_vec(),
            collision_columns: columns,
            max_lane: paytable.max_lane(stake, max_win).unwrap(),
        };
        let mut known_lane = -1;
        let mut open = Open::begin(terms.clone());
        for (request, is_lost) in requests.into_iter().zip(losses) {
            if is_lost {
                open = Open::restore(terms.clone(), known_lane).unwrap();
            }
            let before = open.clone();
            match perform(open, request) {
                Move::Standing(next) => {
                    prop_assert!(terms.winnings_at(next.lane()).is_ok(), "stands where nobody can stand: {}", next.lane());
                    open = next;
                }
                Move::Refused(same, _) => {
                    prop_assert_eq!(&same, &before);
                    open = same;
                }
                Move::Ended(ended) => {
                    check_end(&terms, &ended, max_win)?;
                    return Ok(());
                }
            }
            // The sweep persists progress now and then.
            if matches!(request, Request::NextStep) && key[0].is_multiple_of(2) {
                known_lane = open.lane();
            }
        }
    }

    #[test]
    fn every_end_that_is_allowed_pays_what_the_lane_pays(
        collisions in prop::collection::btree_set(0_u8..30, 0..6), max_lane in 0_u8..30, lane in -3_i16..40, stake in 100_u64..=15_000,
    ) {
        let configuration = GameConfiguration::embedded_default();
        let terms = Terms {
            stake: amount(stake),
            coefficients: configuration.paytable(Difficulty::Easy).coefficients().to_vec(),
            collision_columns: collisions.into_iter().collect(),
            max_lane,
        };
        let unlimited = amount((1 << 53) - 1);
        for reason in ["win", "cashout", "hazard", "deadline", "void", "cancelled", "refused"] {
            if let Ok(ended) = terms.end(EndReason::parse(reason).unwrap(), lane) {
                check_end(&terms, &ended, unlimited)?;
            }
        }
    }
}

fn check_end(terms: &Terms, ended: &Ended, max_win: Amount) -> Result<(), TestCaseError> {
    let first_collision = terms.collision_columns.iter().min().map_or(i16::MAX, |lane| i16::from(*lane));
    if ended.is_win() {
        prop_assert!((0..=i16::from(terms.max_lane)).contains(&ended.lane) && ended.lane < first_collision);
        let coefficient = terms.coefficients[usize::try_from(ended.lane).unwrap()];
        prop_assert_eq!(ended.coefficient, Some(coefficient));
        prop_assert_eq!(ended.payout.minor(), terms.stake.minor() * coefficient.hundredths() / 100);
        prop_assert!(ended.payout <= max_win);
        prop_assert_eq!(ended.payout, terms.winnings_at(ended.lane).unwrap());
        if ended.reason == EndReason::Win {
            prop_assert_eq!(ended.lane, i16::from(terms.max_lane));
        }
    } else {
        prop_assert_eq!((ended.payout, ended.coefficient), (Amount::ZERO, None));
    }
    if ended.reason == EndReason::Hazard {
        prop_assert_eq!(ended.lane, first_collision);
    }
    Ok(())
}
