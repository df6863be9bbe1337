//! The part of a proof that is about money: did the round end as its road allows, and was exactly that paid? Everything is
//! recomputed from the configuration, with the same rule that pays (`Terms::end`).

use super::claim::{Claim, ClaimedEnd};
use super::configuration::GameConfiguration;
use super::currency::CurrencyRules;
use super::finding::Finding;
use super::money::{Amount, Coefficient};
use super::round::{EndReason, Ended, Terms};

const STAKE: &str = "stake_is_allowed";
const END: &str = "end_follows_from_road";
const COEFFICIENT: &str = "coefficient_matches";
const PAYMENT: &str = "payout_matches";
/// The checks of this part, in their order.
pub(super) const NAMES: [&str; 4] = [STAKE, END, COEFFICIENT, PAYMENT];

/// What can be said of the claimed end, in the order in which one thing rests on the other.
pub(super) fn check(claim: &Claim, configuration: &GameConfiguration, columns: &[u8]) -> Vec<Finding> {
    let end = &claim.end;
    let (stake, finding) = stake(end, configuration);
    let mut findings = vec![finding];
    let ended = match (&stake, end.reason, end.last_lane) {
        (Some((stake, rules)), Some(reason), Some(lane)) => {
            let (ended, finding) = ended(claim, configuration, columns, (*stake, rules), reason, lane);
            findings.push(finding);
            ended
        }
        // Without a stake nobody knows the last playable lane, but a lane behind a hazard is wrong under every one.
        (None, Some(reason), Some(lane)) => {
            let unknown = || Finding::missing(END, "without an allowed stake the last playable lane is not known");
            findings.push(refuted(columns, configuration, claim, reason, lane).unwrap_or_else(unknown));
            None
        }
        _ => {
            findings.push(Finding::missing(END, "the claim does not have both endReason and lastLane"));
            None
        }
    };
    findings.push(coefficient(end, ended.as_ref()));
    findings.push(payment(end, ended.as_ref(), stake.map(|(_, rules)| rules)));
    findings
}

fn stake<'a>(end: &ClaimedEnd, configuration: &'a GameConfiguration) -> (Option<(Amount, &'a CurrencyRules)>, Finding) {
    let Some(currency) = end.currency.as_deref() else {
        return (None, Finding::missing(STAKE, "the claim does not have both betAmount and currency"));
    };
    let refused = |detail: String| (None, Finding::compared(STAKE, false, String::new, || detail));
    let Some(rules) = configuration.currency(currency) else {
        return refused("the configuration does not have the currency".to_owned());
    };
    let Some(text) = end.bet_amount.as_deref() else {
        return (None, Finding::missing(STAKE, "the claim does not have both betAmount and currency"));
    };
    let read = Amount::parse(text, rules.decimal_places).map_err(|error| error.to_string());
    let allowed = read.and_then(|stake| rules.check_stake(stake, None).map(|()| stake).map_err(|error| error.to_string()));
    match allowed {
        Err(reason) => refused(format!("betAmount {text}: {reason}")),
        Ok(stake) => {
            let right = || {
                format!(
                    "the configuration allows a stake of {} {}",
                    stake.format(rules.decimal_places),
                    rules.code
                )
            };
            (Some((stake, rules)), Finding::compared(STAKE, true, right, String::new))
        }
    }
}

/// The end as the road allows it, if it does.
fn ended(
    claim: &Claim,
    configuration: &GameConfiguration,
    columns: &[u8],
    (stake, rules): (Amount, &CurrencyRules),
    reason: EndReason,
    lane: i16,
) -> (Option<Ended>, Finding) {
    let paytable = configuration.paytable(claim.difficulty);
    let Some(max_lane) = paytable.max_lane(stake, rules.max_win) else {
        let wrong = || "under this stake the maximum win lies below what the first lane pays".to_owned();
        return (None, Finding::compared(END, false, String::new, wrong));
    };
    let terms = Terms {
        stake,
        coefficients: paytable.coefficients().to_vec(),
        collision_columns: columns.to_vec(),
        max_lane,
    };
    match terms.end(reason, lane) {
        Ok(ended) => {
            let right = || format!("the road allows the end \"{}\" on lane {lane}", reason.as_str());
            (Some(ended), Finding::compared(END, true, right, String::new))
        }
        Err(error) => {
            let wrong = || format!("the road does not allow the end \"{}\": {error}", reason.as_str());
            (None, Finding::compared(END, false, String::new, wrong))
        }
    }
}

/// An end that no stake makes possible.
fn refuted(columns: &[u8], configuration: &GameConfiguration, claim: &Claim, reason: EndReason, lane: i16) -> Option<Finding> {
    let paytable = configuration.paytable(claim.difficulty);
    let first = columns.iter().copied().min().map(i16::from);
    let can_stand = (0..i16::from(paytable.lanes())).contains(&lane) && first.is_none_or(|first| lane < first);
    let is_wrong = match reason {
        EndReason::Hazard => first != Some(lane),
        EndReason::Win | EndReason::Cashout | EndReason::Deadline => !can_stand,
        EndReason::Void => lane != -1 && !can_stand,
        EndReason::Cancelled | EndReason::Refused => lane != -1,
    };
    let wrong = || format!("no stake allows the end \"{}\" on lane {lane} of this road", reason.as_str());
    is_wrong.then(|| Finding::compared(END, false, String::new, wrong))
}

fn coefficient(end: &ClaimedEnd, ended: Option<&Ended>) -> Finding {
    let Some(claimed) = end.coefficient else {
        return Finding::missing(COEFFICIENT, "the claim has no coeff");
    };
    let Some(ended) = ended else {
        return Finding::missing(COEFFICIENT, "without a checked end no coefficient is due");
    };
    let due = ended.coefficient.unwrap_or(Coefficient::ZERO);
    Finding::compared(
        COEFFICIENT,
        claimed == due,
        || format!("the configuration gives the coefficient {due}"),
        || format!("the configuration gives the coefficient {due}, not {claimed}"),
    )
}

fn payment(end: &ClaimedEnd, ended: Option<&Ended>, rules: Option<&CurrencyRules>) -> Finding {
    let Some(claimed) = end.win_amount.as_deref() else {
        return Finding::missing(PAYMENT, "the claim has no winAmount");
    };
    let Some((ended, rules)) = ended.zip(rules) else {
        return Finding::missing(PAYMENT, "without a checked stake and end no payment is due");
    };
    let due = ended.payout.format(rules.decimal_places);
    let is_due = Amount::parse(claimed, rules.decimal_places) == Ok(ended.payout);
    Finding::compared(
        PAYMENT,
        is_due,
        || format!("exactly {due} is due"),
        || format!("{due} is due, not {claimed}"),
    )
}
