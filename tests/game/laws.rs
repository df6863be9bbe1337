//! The survival laws, checked by cross multiplication: no number here is rounded.

use faircross::game::configuration::GameConfiguration;
use faircross::game::difficulty::Difficulty;
use faircross::game::fairness::collision_columns;
use faircross::game::money::Coefficient;
use faircross::game::paytable::Paytable;
use faircross::game::ratio::Ratio;
use proptest::prelude::*;

/// `threshold <= 2^64 * part / whole < threshold + 1`, in numbers small enough for 128 bits.
fn is_floor_of(threshold: u64, part: u128, whole: u128) -> bool {
    let scaled = part << 64;
    u128::from(threshold) * whole <= scaled && scaled < (u128::from(threshold) + 1) * whole
}

#[test]
fn every_lane_of_the_default_returns_exactly_the_rtp() {
    let configuration = GameConfiguration::embedded_default();
    let rtp = configuration.rtp();
    for difficulty in Difficulty::ALL {
        let paytable = configuration.paytable(difficulty);
        for lane in 0..paytable.lanes() {
            let (survival, coefficient) = (paytable.survival(lane).unwrap(), paytable.coefficient(lane).unwrap());
            let returned = survival.numerator() * u128::from(coefficient.hundredths()) * rtp.denominator();
            assert_eq!(returned, rtp.numerator() * survival.denominator() * 100, "{difficulty} lane {lane}");
        }
    }
}

proptest! {
    #[test]
    fn thresholds_are_the_floor_of_the_first_law(steps in prop::collection::vec(1_u64..5_000_000, 1..64), rtp_thousandths in 1_u128..1_000) {
        let rtp = Ratio::new(rtp_thousandths, 1_000).unwrap();
        let ladder = steps.iter().scan(100, |height, step| { *height += step; Some(*height) });
        let coefficients: Vec<Coefficient> = ladder.map(|hundredths| Coefficient::from_hundredths(hundredths).unwrap()).collect();
        let paytable = Paytable::from_coefficients(rtp, coefficients.clone(), 0).unwrap();
        let mut before = rtp_thousandths * 100;
        for (threshold, coefficient) in paytable.thresholds().iter().zip(&coefficients) {
            let here = u128::from(coefficient.hundredths()) * 1_000;
            prop_assert!(is_floor_of(*threshold, here - before, here));
            before = here;
        }
    }

    #[test]
    fn thresholds_are_the_floor_of_the_second_law(columns in 2_u64..=40, share in 0_u64..100) {
        let hazards = 1 + share * (columns / 2) / 100;
        prop_assume!(hazards < columns - hazards);
        let Ok(paytable) = Paytable::from_columns(Ratio::new(98, 100).unwrap(), columns, hazards) else {
            // Narrow steps can vanish when a coefficient is cut off after two decimals; such a paytable is refused.
            return Ok(());
        };
        let mut survival = (1_u128, 1_u128);
        for (lane, threshold) in (0_u8..).zip(paytable.thresholds()) {
            let left = u128::from(columns) - u128::from(lane);
            prop_assert!(is_floor_of(*threshold, hazards.into(), left));
            let exact = Ratio::new(survival.0 * (left - u128::from(hazards)), survival.1 * left).unwrap();
            survival = (exact.numerator(), exact.denominator());
            let stated = paytable.survival(lane).unwrap();
            prop_assert_eq!((stated.numerator(), stated.denominator()), survival);
            // coefficient <= rtp / survival < coefficient + 0.01
            let hundredths = u128::from(paytable.coefficient(lane).unwrap().hundredths());
            prop_assert!(hundredths * survival.0 <= 98 * survival.1 && 98 * survival.1 < (hundredths + 1) * survival.0);
        }
    }

    #[test]
    fn a_column_is_hit_if_and_only_if_its_word_is_below_the_threshold(key in any::<[u8; 32]>()) {
        prop_assert_eq!(collision_columns(&key, &[0; 64]), Vec::<u8>::new());
        // Each lane consumes its own word, so one lane's threshold changes no other lane.
        let half = [1_u64 << 63; 30];
        let all = collision_columns(&key, &half);
        for lanes in 0..30 {
            let expected: Vec<u8> = all.iter().copied().filter(|column| usize::from(*column) < lanes).collect();
            prop_assert_eq!(collision_columns(&key, &half[..lanes]), expected);
        }
    }
}
