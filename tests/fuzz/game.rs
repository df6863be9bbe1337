//! What the core reads: amounts, claims and configurations.

use faircross::game::claim::RawClaim;
use faircross::game::configuration::GameConfiguration;
use faircross::game::difficulty::Difficulty;
use faircross::game::money::{Amount, Coefficient, MOST_DECIMAL_PLACES};
use faircross::game::proof::{Verdict, verify};
use faircross::http::platform::limits;
use serde_json::Value;

/// An accepted amount is exactly what was written, in each currency, and is written back to itself.
pub fn amounts(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let mut is_taken = false;
    for places in 0..=MOST_DECIMAL_PLACES {
        if let Ok(amount) = Amount::parse(text, places) {
            is_taken = true;
            let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
            let digits = format!("{whole}{fraction:0<width$}", width = usize::from(places));
            assert_eq!(digits.parse(), Ok(amount.minor()), "{text:?} with {places} places");
            assert_eq!(Amount::parse(&amount.format(places), places), Ok(amount));
            let limit = limits::in_minor_units(text, places);
            assert_eq!(
                limit.ok(),
                Some(amount).filter(|amount| *amount > Amount::ZERO),
                "a limit is the same amount"
            );
        }
    }
    if let Ok(coefficient) = Coefficient::parse(text) {
        assert_eq!(Coefficient::parse(&coefficient.to_string()), Ok(coefficient));
    }
    is_taken
}

/// A claim that can be read can be verified; the error of one that cannot names the field and repeats no seed.
pub fn claims(input: &[u8]) -> bool {
    let Ok(raw) = serde_json::from_slice::<RawClaim>(input) else {
        return false;
    };
    match raw.parse() {
        Ok(claim) => {
            let proof = verify(&claim, &GameConfiguration::embedded_default());
            let is_wrong = proof.first_mismatch().is_some();
            assert_eq!(proof.verdict == Verdict::Invalid, is_wrong);
            assert_eq!(proof.valid, !is_wrong && proof.unchecked.is_empty());
            true
        }
        Err(error) => {
            let seeds = [&raw.server_seed, &raw.hazard_seed]
                .into_iter()
                .flatten()
                .filter(|seed| seed.len() > 20);
            assert!(seeds.into_iter().all(|seed| !error.to_string().contains(seed.as_str())), "{error}");
            false
        }
    }
}

/// A configuration that is accepted keeps its bytes and the rules of the game.
pub fn configurations(input: &[u8]) -> bool {
    let Ok(game) = GameConfiguration::parse(input) else { return false };
    assert_eq!(game.bytes(), input);
    assert!(serde_json::from_slice::<Value>(input).is_ok());
    for difficulty in Difficulty::ALL {
        let table = game.paytable(difficulty);
        assert!(
            table.coefficients().is_sorted_by(|one, next| one < next),
            "{difficulty}: coefficients increase"
        );
        assert_eq!(table.thresholds().len(), table.coefficients().len());
        for rules in game.currencies() {
            assert!(rules.min_bet > Amount::ZERO && rules.min_bet <= rules.max_bet, "{}", rules.code);
            assert!(
                table.max_lane(rules.min_bet, rules.max_win).is_some(),
                "{}: the smallest stake can be played",
                rules.code
            );
        }
    }
    true
}
