//! How a bet that is open in the restored record is closed. It is never played on: its player may have seen more of its road than the
//! record knows, and its seed as well. The operator's word comes first, because money has moved by it; then an end that was decided
//! before; else the stake goes back.

use rust_decimal::Decimal;

use crate::audit::{LedgerBet, LedgerState};
use crate::game::bet_state::BetState;
use crate::game::money::Coefficient;
use crate::game::round::{EndReason, Ended, Terms};
use crate::ledger::history::BetRow;
use crate::live::Session;

/// How a bet is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nobody knows what the operator took: it is cancelled, as every such bet is; `told`: the operator has cancelled it.
    Cancelled { told: bool },
    /// It ended so; `told`: the operator knows and has paid.
    Ended { ended: Ended, told: bool },
    /// The stake goes back.
    Voided(Void),
}

/// What the operator knows of a void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Void {
    Owed,
    /// It has given the stake back.
    Told,
    /// It has settled the bet with an amount that the bet's road does not pay: people decide.
    Contradicted,
    /// The bet has ended, as the operator or its session says, but how it ended cannot be computed from its terms: people decide.
    Unreadable,
}

/// Decides. `terms` are those of the bet, where they can be had; `is_covered`: a ledger speaks for its agent.
pub fn decide(bet: &BetRow, terms: Option<&Terms>, is_covered: bool, entry: Option<&LedgerBet>, session: Option<&Session>) -> Ending {
    let is_pending = bet.state == BetState::Pending;
    match entry.map(|entry| (entry.state, entry)) {
        Some((LedgerState::Settled, entry)) => match terms.map(|terms| end_that_pays(bet, terms, entry.won())) {
            Some(Some(ended)) => Ending::Ended { ended, told: true },
            Some(None) => Ending::Voided(Void::Contradicted),
            None => Ending::Voided(Void::Unreadable),
        },
        Some((LedgerState::Voided, _)) => Ending::Voided(Void::Told),
        Some((LedgerState::Cancelled | LedgerState::CancelledBeforeBet, _)) if is_pending => Ending::Cancelled { told: true },
        Some((LedgerState::Cancelled | LedgerState::CancelledBeforeBet, _)) => Ending::Voided(Void::Told),
        Some((LedgerState::Refused, _)) if is_pending => Ending::Cancelled { told: false },
        None if is_pending && is_covered => Ending::Cancelled { told: false },
        _ => match session.filter(|session| session.sequence == bet.sequence && session.round_id == bet.bet_id.to_string()) {
            Some(session) => as_decided(terms, session),
            None if is_pending => Ending::Cancelled { told: false },
            None => Ending::Voided(Void::Owed),
        },
    }
}

/// As the session of the bet has ended.
fn as_decided(terms: Option<&Terms>, session: &Session) -> Ending {
    if session.end == Some(EndReason::Void) {
        return Ending::Voided(Void::Owed);
    }
    let ended = session.end.and_then(|reason| terms?.end(reason, session.current_step).ok());
    ended.map_or(Ending::Voided(Void::Unreadable), |ended| Ending::Ended { ended, told: false })
}

/// The end on the bet's road that pays what the operator has paid.
fn end_that_pays(bet: &BetRow, terms: &Terms, paid: Decimal) -> Option<Ended> {
    let places = u32::try_from(bet.decimal_places).ok()?;
    if paid.is_zero() {
        return terms.end(EndReason::Hazard, i16::from(terms.first_collision()?)).ok();
    }
    (0..=i16::from(terms.max_lane)).find_map(|lane| {
        let reason = if lane == i16::from(terms.max_lane) {
            EndReason::Win
        } else {
            EndReason::Cashout
        };
        terms
            .end(reason, lane)
            .ok()
            .filter(|ended| Decimal::new(ended.payout.as_i64(), places) == paid)
    })
}

/// The coefficient of an end, as it is stored.
pub fn hundredths(ended: &Ended) -> i64 {
    i64::try_from(ended.coefficient.map_or(0, Coefficient::hundredths)).unwrap_or(i64::MAX)
}
