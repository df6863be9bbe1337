//! What a configuration may say, and by which name each broken rule is refused.

use faircross::game::configuration::{ConfigurationError, GameConfiguration};
use faircross::game::currency::StakeError;
use faircross::game::difficulty::Difficulty;
use faircross::game::money::{Amount, Coefficient};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::amount;

/// The default document, with one place changed.
fn document_with(pointer: &str, value: Value) -> Vec<u8> {
    let mut document: Value = serde_json::from_slice(GameConfiguration::embedded_default().bytes()).unwrap();
    *document
        .pointer_mut(pointer)
        .unwrap_or_else(|| panic!("{pointer} is a place in the document")) = value;
    document.to_string().into_bytes()
}

fn currency(code: &str, places: u8, [min, max, step, default, win]: [&str; 5]) -> Value {
    json!({"code": code, "decimalPlaces": places, "minBetAmount": min, "maxBetAmount": max, "betStep": step,
           "defaultBetAmount": default, "maxWinAmount": win, "betPresets": [default]})
}

#[test]
fn the_default_is_what_the_rules_of_the_house_say() {
    let configuration = GameConfiguration::embedded_default();
    let shape = Difficulty::ALL.map(|difficulty| {
        let paytable = configuration.paytable(difficulty);
        (
            paytable.lanes(),
            paytable.hazards(),
            paytable.coefficients().last().unwrap().to_string(),
        )
    });
    let expected = [(30, 3, "23.24"), (25, 4, "2457.00"), (22, 5, "62162.09"), (18, 7, "3608855.25")];
    assert_eq!(shape, expected.map(|(lanes, hazards, last)| (lanes, hazards, last.to_owned())));
    let rules = configuration.currency("INR").unwrap();
    let stakes = [rules.min_bet, rules.max_bet, rules.bet_step, rules.default_bet, rules.max_win].map(|amount| amount.format(2));
    assert_eq!(stakes, ["1.00", "150.00", "0.01", "10.00", "20000.00"]);
    assert_eq!(
        (rules.presets.first(), rules.presets.last()),
        (Some(&amount(500)), Some(&amount(10_000)))
    );
    assert!(configuration.currency("EUR").is_none());
    assert_eq!(configuration.currencies().count(), 1);
    assert_eq!(
        GameConfiguration::parse(configuration.bytes()).unwrap().hash(),
        configuration.hash()
    );
}

#[test]
fn a_stake_keeps_to_the_limits() {
    let configuration = GameConfiguration::parse(&document_with("/currencies/0/betStep", json!("0.50"))).unwrap();
    let rules = configuration.currency("INR").unwrap();
    let limit = Some(amount(2_000));
    assert_eq!(rules.check_stake(amount(50), limit), Err(StakeError::BelowMinimum));
    assert_eq!(rules.check_stake(Amount::ZERO, None), Err(StakeError::BelowMinimum));
    assert_eq!(rules.check_stake(amount(15_050), limit), Err(StakeError::AboveMaximum));
    assert_eq!(rules.check_stake(amount(101), limit), Err(StakeError::NotAMultipleOfTheStep));
    assert_eq!(rules.check_stake(amount(2_050), limit), Err(StakeError::AbovePlayerLimit));
    assert_eq!(rules.check_stake(amount(2_000), limit), Ok(()));
    assert_eq!(rules.check_stake(amount(15_000), None), Ok(()));
}

#[test]
fn a_broken_rule_is_refused_by_name() {
    let easy = |field: &str| format!("/difficulties/EASY/{field}");
    let money = |field: &str| format!("/currencies/0/{field}");
    let cases: Vec<(String, Value, &str)> = vec![
        ("/rtp".into(), json!("1.0"), "rtp:"),
        ("/rtp".into(), json!("0.000"), "rtp:"),
        ("/rtp".into(), json!(0.955), "expected a string"),
        ("/worstLaneReturnFloor".into(), json!("94%"), "worstLaneReturnFloor:"),
        (
            "/worstLaneReturnFloor".into(),
            json!("0.95"),
            "EASY: a stake of 1.02 returns too little on lane 9",
        ),
        (easy("survivalLaw"), json!("luck"), "EASY: the survival law \"luck\" is unknown"),
        (easy("survivalLaw"), json!("columns_without_replacement"), "EASY: the law"),
        (easy("coefficients"), json!([]), "1 to 64 lanes, not 0"),
        (easy("coefficients"), json!(vec!["1.01"; 100]), "1 to 64 lanes, not 65"),
        (
            easy("coefficients/0"),
            json!("0.95"),
            "EASY: the first coefficient, 0.95, does not exceed the RTP",
        ),
        (easy("coefficients/4"), json!("1.10"), "lane 4 does not pay more"),
        (
            easy("coefficients/4"),
            json!("1e3"),
            "EASY: coefficient of lane 4: not a plain decimal",
        ),
        (
            easy("coefficients/4"),
            json!("1.155"),
            "EASY: coefficient of lane 4: more than 2 decimal places",
        ),
        (
            easy("coefficients/29"),
            json!("90071992547409.92"),
            "EASY: coefficient of lane 29: larger than 2^53 - 1",
        ),
        (
            easy("hazards"),
            json!(30),
            "EASY: 30 visible hazards do not leave a lane free among 30",
        ),
        ("/currencies".into(), json!([]), "there is no currency"),
        (money("code"), json!("inr"), "a currency code is"),
        (money("decimalPlaces"), json!(5), "at most 4 decimal places"),
        (money("minBetAmount"), json!("0.00"), "minBetAmount must not be zero"),
        (money("minBetAmount"), json!("11.00"), "the limits must satisfy"),
        (money("maxBetAmount"), json!("9.00"), "the limits must satisfy"),
        (money("maxBetAmount"), json!("150.001"), "maxBetAmount: more than 2 decimal places"),
        (money("betStep"), json!("0.00"), "betStep must not be zero"),
        (money("betStep"), json!("0.30"), "minBetAmount is not a multiple of betStep"),
        (money("betPresets"), json!(["0.50"]), "the preset 0.50 lies outside the limits"),
        (money("betPresets"), json!(["200.00"]), "the preset 200.00 lies outside the limits"),
        (money("betPresets"), json!(["5.00", "5.00"]), "presets must strictly increase"),
        (money("maxWinAmount"), json!("1.00"), "the smallest stake cannot reach lane 0"),
        // Without decimals a stake of 1 pays 1 on every lane below 2.00: rounding eats the return.
        (
            "/currencies/0".into(),
            currency("JPY", 0, ["1", "150", "1", "10", "20000"]),
            "JPY, EASY: a stake of 1 returns too little on lane 1",
        ),
    ];
    for (pointer, value, expected) in cases {
        let error = GameConfiguration::parse(&document_with(&pointer, value)).unwrap_err().to_string();
        assert!(error.contains(expected), "{pointer}: {error}");
    }
}

#[test]
fn currencies_fields_and_difficulties_are_unique_and_known() {
    let inr = currency("INR", 2, ["1.00", "150.00", "0.01", "10.00", "20000.00"]);
    let twice = document_with("/currencies", json!([inr, inr]));
    assert!(matches!(
        GameConfiguration::parse(&twice),
        Err(ConfigurationError::DuplicateCurrency { .. })
    ));
    let text = String::from_utf8(GameConfiguration::embedded_default().bytes().to_vec()).unwrap();
    for broken in [
        text.replace("\"EASY\"", "\"SIMPLE\""),
        text.replace("\"MEDIUM\"", "\"EASY\""),
        text.replacen("\"rtp\"", "\"rpt\": \"0.5\", \"rtp\"", 1),
        text.replacen("\"rtp\"", "\"rtp\": \"0.5\", \"rtp\"", 1),
        format!("{text}{{}}"),
    ] {
        assert!(matches!(
            GameConfiguration::parse(broken.as_bytes()),
            Err(ConfigurationError::Malformed(_))
        ));
    }
}

#[test]
fn the_other_survival_law_can_be_configured() {
    let road = json!({"survivalLaw": "columns_without_replacement", "columns": 25, "hazards": 3});
    let configuration = GameConfiguration::parse(&document_with("/difficulties/HARD", road)).unwrap();
    let paytable = configuration.paytable(Difficulty::Hard);
    assert_eq!((paytable.lanes(), paytable.hazards()), (22, 3));
    // 0.955 * C(25, 3) = 2196.50
    assert_eq!(paytable.coefficients().last().unwrap().to_string(), "2196.50");
}

/// The default with one lane for every difficulty and one currency. Many lanes would hide a rare worst stake behind another one.
fn one_lane_document(coefficient: u64, floor: &str, [min, max, step, win]: [u64; 4]) -> Vec<u8> {
    let [min, max, step, win] = [min, max, step, win].map(|minor| amount(minor).format(2));
    let coefficient = Coefficient::from_hundredths(coefficient).unwrap().to_string();
    let road = json!({"survivalLaw": "rtp_over_coefficient", "hazards": 0, "coefficients": [coefficient]});
    json!({
        "rtp": "0.955", "worstLaneReturnFloor": floor,
        "difficulties": {"EASY": road, "MEDIUM": road, "HARD": road, "DAREDEVIL": road},
        "currencies": [currency("XTS", 2, [&min, &max, &step, &min, &win])],
    })
    .to_string()
    .into_bytes()
}

#[test]
fn the_worst_stake_may_be_the_hundredth() {
    // At 1.01 a stake of s minor units loses s mod 100 hundredths: 1.99 loses most, 0.99 of a minor unit.
    let is_accepted = |max: u64| GameConfiguration::parse(&one_lane_document(101, "0.9503", [100, max, 1, 1_000])).is_ok();
    assert!(is_accepted(198));
    assert!(!is_accepted(199));
    assert!(!is_accepted(300));
}

#[test]
fn a_return_must_exceed_the_floor() {
    // At 1.00 nothing is rounded, so the return is the RTP itself.
    let is_accepted = |floor: &str| GameConfiguration::parse(&one_lane_document(100, floor, [100, 500, 1, 1_000])).is_ok();
    assert!(is_accepted("0.954999"));
    assert!(!is_accepted("0.955"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// The check of a hundred stakes stands for the whole one: the worst return, computed over every allowed stake, is accepted as long
    /// as the floor lies below it, and refused with the floor one millionth higher.
    #[test]
    fn the_cheap_check_of_returns_equals_the_whole_one(
        coefficient in 96_u64..400, step in 1_u64..40, first in 1_u64..120, count in 0_u64..400, win in 0_u64..20_000,
    ) {
        let (min, max) = (first * step, (first + count) * step);
        let max_win = min * 4 + win;
        let accepts = |floor_millionths: u128| {
            let floor = format!("0.{floor_millionths:06}");
            GameConfiguration::parse(&one_lane_document(coefficient, &floor, [min, max, step, max_win])).is_ok()
        };
        let (returned, staked) = worst_return((first..=first + count).map(|number| number * step), coefficient, max_win);
        prop_assume!(returned > 0);
        // The largest number of millionths that lies strictly below the worst return.
        let below = (returned * 1_000_000).div_ceil(staked) - 1;
        prop_assert!(accepts(below), "a floor of {below} millionths");
        prop_assert!(!accepts(below + 1), "a floor of {} millionths", below + 1);
    }
}

/// The smallest `payout * survival / stake` of all stakes that can play the one lane, as a fraction.
fn worst_return(stakes: impl Iterator<Item = u64>, coefficient: u64, max_win: u64) -> (u128, u128) {
    let (coefficient, max_win) = (u128::from(coefficient), u128::from(max_win));
    let mut worst = (1_u128, 1_u128);
    for stake in stakes.map(u128::from).filter(|stake| stake * coefficient <= max_win * 100) {
        // Survival is 0.955 / (coefficient / 100), which is 95.5 / coefficient.
        let (returned, staked) = (stake * coefficient / 100 * 955, stake * coefficient * 10);
        if returned * worst.1 < worst.0 * staked {
            worst = (returned, staked);
        }
    }
    worst
}
