//! How amounts are read, written and paid.

use faircross::game::configuration::GameConfiguration;
use faircross::game::difficulty::Difficulty;
use faircross::game::fairness::{HazardSeed, Nonce, ServerSeed, UserSeed};
use faircross::game::hazards::Epoch;
use faircross::game::money::{Amount, Coefficient, payout};
use proptest::prelude::*;

use super::amount;

proptest! {
    #[test]
    fn an_amount_is_read_as_it_is_written(minor in 0..=(1_u64 << 53) - 1, places in 0_u8..=8) {
        let amount = amount(minor);
        prop_assert_eq!(Amount::parse(&amount.format(places), places), Ok(amount));
    }

    #[test]
    fn only_plain_decimals_are_numbers(text in r"[0-9.eE+\- NaInf_,٠-٩]{0,12}") {
        let is_plain = text.split_once('.').map_or(digits(&text), |(whole, fraction)| digits(whole) && digits(fraction) && fraction.len() <= 2);
        let whole = text.split('.').next().unwrap_or("");
        let is_canonical = whole == "0" || !whole.starts_with('0');
        prop_assert_eq!(Amount::parse(&text, 2).is_ok(), is_plain && is_canonical, "{}", text);
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in any::<String>(), places in any::<u8>()) {
        let _ = (Amount::parse(&text, places), Coefficient::parse(&text), Nonce::parse(&text), UserSeed::parse(&text));
        let _ = (ServerSeed::parse(&text).is_ok(), HazardSeed::parse(&text), text.parse::<Epoch>(), text.parse::<Difficulty>());
        let _ = GameConfiguration::parse(text.as_bytes()).is_ok();
    }

    #[test]
    fn a_payout_is_the_floor_of_the_product(stake in 0_u64..=1 << 30, coefficient in 0_u64..=1 << 20) {
        let paid = payout(amount(stake), Coefficient::from_hundredths(coefficient).unwrap()).unwrap().minor();
        prop_assert!(paid * 100 <= stake * coefficient && stake * coefficient < (paid + 1) * 100);
    }
}

/// Drawn numbers may miss the few hundred stakes that binary fractions pay wrongly.
#[test]
fn every_stake_of_the_built_in_game_is_paid_exactly() {
    let game = GameConfiguration::embedded_default();
    for difficulty in Difficulty::ALL {
        for coefficient in game.paytable(difficulty).coefficients() {
            for stake in 1..=15_000 {
                let paid = payout(amount(stake), *coefficient).unwrap().minor();
                assert_eq!(paid, stake * coefficient.hundredths() / 100, "{stake} at {coefficient}");
            }
        }
    }
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
