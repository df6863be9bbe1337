//! What every answer must be: the rules of the game as a player can hold the server to them.
//!
//! Each check is pure. The first broken rule is named with what was seen, and a run with a broken rule fails.

use faircross::game::claim::{Claim, ClaimedEnd, Published};
use faircross::game::configuration::GameConfiguration;
use faircross::game::difficulty::Difficulty;
use faircross::game::fairness::{Commitment, HazardSeed, Nonce, ServerSeed, UserSeed};
use faircross::game::hazards::{Anchor, Epoch};
use faircross::game::money::{Amount, Coefficient, payout};
use faircross::game::proof::verify;
use faircross::game::round::EndReason;

use crate::answers::{Bet, Round, Seeds};

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

type Checked = Result<(), Violation>;

/// What a bet asked for.
pub struct Asked<'a> {
    pub stake: &'a str,
    pub difficulty: Difficulty,
    pub hazard_epoch: u64,
    /// The commitment that was announced for this bet, where the player knows it.
    pub announced: Option<&'a str>,
    /// Whether it was asked for before, perhaps in another epoch.
    pub is_repeat: bool,
    /// The nonce of the player's bet before.
    pub last_nonce: Option<u64>,
}

/// A new round stands before the first lane and uses what was announced.
pub fn new_round(asked: &Asked<'_>, round: &Round, configuration: &GameConfiguration) -> Checked {
    expect(
        !round.is_finished && round.line_number == -1,
        "a new round stands before lane 0",
        round,
    )?;
    expect(
        round.end_reason.is_none() && round.collision_positions.is_none(),
        "an open round tells no end",
        round,
    )?;
    expect(
        round.difficulty == asked.difficulty.as_str(),
        "the difficulty is the one asked for",
        round,
    )?;
    let epoch_is_right = round.hazard_epoch == asked.hazard_epoch || (asked.is_repeat && round.hazard_epoch < asked.hazard_epoch);
    expect(epoch_is_right, "the epoch is the one that was named", round)?;
    let stake = amount(asked.stake, &round.currency, configuration)?;
    expect(
        amount(&round.bet_amount, &round.currency, configuration)? == stake,
        "the stake is the one asked for",
        round,
    )?;
    expect(
        asked.announced.is_none_or(|announced| announced == round.hashed_server_seed),
        "the commitment is the one that was announced",
        round,
    )?;
    expect(asked.last_nonce.is_none_or(|last| round.nonce > last), "nonces grow", round)?;
    expect(
        round.hashed_server_seed != round.next_hashed_server_seed,
        "a commitment is used once",
        round,
    )?;
    let rules = configuration
        .currency(&round.currency)
        .ok_or_else(|| Violation("the currency is unknown".to_owned()))?;
    let max_lane = configuration.paytable(asked.difficulty).max_lane(stake, rules.max_win);
    expect(
        max_lane == Some(round.max_lane),
        "maxLane is the last lane within the maximum win",
        round,
    )?;
    money(round, configuration)
}

/// A step crosses one lane, or ends the round on it.
pub fn step(before: &Round, lane: i16, after: &Round, configuration: &GameConfiguration) -> Checked {
    same_round(before, after)?;
    expect(after.line_number == lane, "a step answers for the lane that was stepped on", after)?;
    let max_lane = i16::from(before.max_lane);
    if after.is_finished {
        let reason = after.end_reason.as_deref().unwrap_or_default();
        let rule = match reason {
            "hazard" => !after.is_win && after.collision_positions == hit(lane),
            "win" => after.is_win && lane == max_lane && after.collision_positions.as_deref() == Some(&[]),
            _ => false,
        };
        expect(rule, "a step ends a round on a hazard or on the last lane", after)?;
    } else {
        expect(lane < max_lane, "the last lane ends the round", after)?;
        expect(
            after.end_reason.is_none() && after.collision_positions.is_none(),
            "an open round tells no end",
            after,
        )?;
    }
    money(after, configuration)
}

/// A cash-out ends the round where the player stands.
pub fn cash_out(before: &Round, after: &Round, configuration: &GameConfiguration) -> Checked {
    same_round(before, after)?;
    expect(after.is_finished && after.is_win, "a cash-out ends the round with a win", after)?;
    expect(
        after.end_reason.as_deref() == Some("cashout"),
        "a cash-out is the reason of its end",
        after,
    )?;
    expect(
        after.line_number == before.line_number,
        "a cash-out pays where the player stands",
        after,
    )?;
    expect(after.win_amount == before.win_amount, "a cash-out pays what was shown", after)?;
    expect(after.collision_positions.as_deref() == Some(&[]), "a cash-out hits nothing", after)?;
    money(after, configuration)
}

/// A round that was found again is where it was left.
pub fn found_again(left: &Round, found: &Round, configuration: &GameConfiguration) -> Checked {
    same_round(left, found)?;
    expect(
        found.is_finished || found.line_number == left.line_number,
        "a reconnection finds the round where it was left",
        found,
    )?;
    money(found, configuration)
}

/// An end is final.
pub fn same_end(first: &Round, again: &Round) -> Checked {
    same_round(first, again)?;
    let end = |round: &Round| {
        (
            round.is_finished,
            round.is_win,
            round.end_reason.clone(),
            round.line_number,
            round.win_amount.clone(),
            round.collision_positions.clone(),
        )
    };
    expect(end(first) == end(again), "an end is final", again)
}

/// Changing the user seed changes nothing else.
pub fn changed_seeds(user_seed: &str, announced: Option<&String>, last_nonce: Option<u64>, seeds: &Seeds) -> Checked {
    let agrees = seeds.user_seed == user_seed
        && announced.is_none_or(|announced| *announced == seeds.hashed_server_seed)
        && seeds.hashed_server_seed != seeds.next_hashed_server_seed
        && last_nonce.is_none_or(|last| seeds.nonce > last);
    if agrees {
        Ok(())
    } else {
        Err(Violation(format!(
            "a new user seed leaves the commitments as announced ({announced:?}): {seeds:?}"
        )))
    }
}

/// The history tells of an ended round what the player was told.
pub fn history(told: &Round, bet: &Bet) -> Checked {
    let agrees = bet.id == told.bet_id
        && bet.round_id == told.round_id
        && bet.bet_amount == told.bet_amount
        && bet.win_amount == told.win_amount
        && bet.coeff == told.coeff
        && bet.difficulty == told.difficulty
        && bet.last_lane == told.line_number
        && bet.end_reason == told.end_reason;
    expect(
        agrees,
        &format!("the history agrees with what the player was told, not {bet:?}"),
        told,
    )
}

/// Everything recomputed: the seed is the one that was committed to before the bet, and the road is the one that was walked.
/// `link_is_known`: this epoch's link was followed up to this anchor before, which is thousands of hashes for all bets of an epoch.
pub fn proof(told: &Round, user_seed: Option<&str>, bet: &Bet, configuration: &GameConfiguration, link_is_known: bool) -> Checked {
    history(told, bet)?;
    let fairness = &bet.fairness;
    expect(
        fairness.hashed_server_seed == told.hashed_server_seed,
        "the commitment is the one shown with the bet",
        told,
    )?;
    expect(
        fairness.nonce == told.nonce && fairness.hazard_epoch == told.hazard_epoch,
        "nonce and epoch are the bet's",
        told,
    )?;
    if let Some(seed) = user_seed {
        expect(
            fairness.user_seed == seed && fairness.user_seed_fresh,
            "the user seed is the one the player made",
            told,
        )?;
    }
    let mut claim = claim(bet).ok_or_else(|| Violation(format!("the proof of bet {} cannot be read: {fairness:?}", bet.id)))?;
    claim.anchor = claim.anchor.filter(|_| !link_is_known);
    let proof = verify(&claim, configuration);
    if let Some(mismatch) = proof.first_mismatch() {
        return Err(Violation(format!("bet {}: {}: {}", bet.id, mismatch.name, mismatch.detail)));
    }
    let first_collision = proof.collision_columns.iter().flatten().min().map(|column| i16::from(*column));
    let agrees = match told.end_reason.as_deref() {
        Some("hazard") => first_collision == Some(told.line_number),
        _ => first_collision.is_none_or(|column| column > told.line_number),
    };
    expect(
        agrees,
        &format!("the round ended as its road says: first collision {first_collision:?}"),
        told,
    )
}

fn claim(bet: &Bet) -> Option<Claim> {
    let fairness = &bet.fairness;
    Some(Claim {
        server_seed: ServerSeed::parse(fairness.server_seed.as_deref()?).ok()?,
        user_seed: UserSeed::parse(&fairness.user_seed).ok()?,
        nonce: Nonce::new(fairness.nonce).ok()?,
        hazard_seed: HazardSeed::parse(&fairness.hazard_seed).ok()?,
        difficulty: bet.difficulty.parse().ok()?,
        hashed_server_seed: Some(Commitment::parse(&fairness.hashed_server_seed).ok()?),
        hazard_epoch: Some(Epoch::new(fairness.hazard_epoch).ok()?),
        anchor: Some(Anchor::parse(&fairness.anchor).ok()?),
        published: Published::Unknown,
        collision_columns: Some(fairness.collision_columns.clone()?),
        config_hash: Some(bet.config_hash.clone()),
        end: ClaimedEnd {
            bet_amount: Some(bet.bet_amount.clone()),
            currency: None,
            last_lane: Some(bet.last_lane),
            reason: bet.end_reason.as_deref().map(EndReason::parse).transpose().ok()?,
            win_amount: Some(bet.win_amount.clone()),
            coefficient: Some(Coefficient::parse(&bet.coeff).ok()?),
        },
        user_seed_fresh: None,
        recorded_fresh: None,
    })
}

/// What stays the same over a round.
fn same_round(before: &Round, after: &Round) -> Checked {
    let same = before.round_id == after.round_id
        && before.bet_id == after.bet_id
        && before.bet_amount == after.bet_amount
        && before.max_lane == after.max_lane
        && before.nonce == after.nonce
        && before.hashed_server_seed == after.hashed_server_seed
        && before.config_version == after.config_version;
    expect(same, &format!("the answer is about the round {before:?}"), after)
}

/// winAmount is floor(stake * coeff), and the coefficient is the lane's.
fn money(round: &Round, configuration: &GameConfiguration) -> Checked {
    let coefficient = Coefficient::parse(&round.coeff).map_err(|_| Violation(format!("coeff cannot be read: {round:?}")))?;
    let stake = amount(&round.bet_amount, &round.currency, configuration)?;
    let win = amount(&round.win_amount, &round.currency, configuration)?;
    expect(
        payout(stake, coefficient).ok() == Some(win),
        "winAmount is floor(betAmount * coeff)",
        round,
    )?;
    let difficulty: Difficulty = round
        .difficulty
        .parse()
        .map_err(|_| Violation(format!("unknown difficulty: {round:?}")))?;
    let pays = round.line_number >= 0 && round.end_reason.as_deref() != Some("hazard");
    let lane = u8::try_from(round.line_number).ok().filter(|_| pays);
    let expected = match lane {
        Some(lane) => configuration.paytable(difficulty).coefficient(lane),
        None => Some(Coefficient::ZERO),
    };
    expect(expected == Some(coefficient), "coeff is the lane's", round)
}

fn amount(text: &str, currency: &str, configuration: &GameConfiguration) -> Result<Amount, Violation> {
    let rules = configuration.currency(currency);
    rules
        .and_then(|rules| Amount::parse(text, rules.decimal_places).ok())
        .ok_or_else(|| Violation(format!("\"{text}\" is no amount of {currency}")))
}

fn hit(lane: i16) -> Option<Vec<u8>> {
    u8::try_from(lane).ok().map(|lane| vec![lane])
}

fn expect(holds: bool, rule: &str, seen: &Round) -> Checked {
    if holds {
        Ok(())
    } else {
        Err(Violation(format!("{rule}: {seen:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round() -> Round {
        Round {
            round_id: "r".into(),
            bet_id: "b".into(),
            is_finished: false,
            is_win: false,
            end_reason: None,
            line_number: -1,
            coeff: "0.00".into(),
            win_amount: "0.00".into(),
            bet_amount: "10.00".into(),
            currency: "INR".into(),
            difficulty: "EASY".into(),
            max_lane: 29,
            hazard_epoch: 7,
            hashed_server_seed: "c".into(),
            next_hashed_server_seed: "n".into(),
            nonce: 3,
            config_version: 1,
            collision_positions: None,
        }
    }

    fn on_lane_0() -> Round {
        let configuration = GameConfiguration::embedded_default();
        let coefficient = configuration.paytable(Difficulty::Easy).coefficient(0).expect("a lane");
        let stake = Amount::parse("10.00", 2).expect("an amount");
        Round {
            line_number: 0,
            coeff: coefficient.to_string(),
            win_amount: payout(stake, coefficient).expect("an amount").format(2),
            ..round()
        }
    }

    #[test]
    fn a_safe_step_passes_and_a_wrong_one_is_named() {
        let configuration = GameConfiguration::embedded_default();
        assert_eq!(step(&round(), 0, &on_lane_0(), &configuration), Ok(()));
        let skipped = Round {
            line_number: 1,
            ..on_lane_0()
        };
        assert!(step(&round(), 0, &skipped, &configuration).is_err());
        let generous = Round {
            win_amount: "10.11".into(),
            ..on_lane_0()
        };
        let violation = step(&round(), 0, &generous, &configuration).expect_err("refused");
        assert!(violation.0.starts_with("winAmount is floor"), "{violation:?}");
    }

    #[test]
    fn a_hazard_names_the_lane_that_was_hit() {
        let configuration = GameConfiguration::embedded_default();
        let ended = Round {
            is_finished: true,
            end_reason: Some("hazard".into()),
            line_number: 0,
            collision_positions: Some(vec![0]),
            ..round()
        };
        assert_eq!(step(&round(), 0, &ended, &configuration), Ok(()));
        let elsewhere = Round {
            collision_positions: Some(vec![1]),
            ..ended.clone()
        };
        assert!(step(&round(), 0, &elsewhere, &configuration).is_err());
        assert!(same_end(&ended, &elsewhere).is_err());
    }
}
