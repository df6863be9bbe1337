//! What closing a bet writes into the record: the way to its end, and the call that goes with it.

use chrono::{DateTime, Utc};

use super::endings::{Void, hundredths};
use crate::game::bet_state::BetState;
use crate::game::round::Ended;
use crate::ledger::closings::{Closing, OwedCall};
use crate::ledger::history::BetRow;
use crate::wallet::message::{BetFacts, SettleFacts, cancel_message, settle_message, void_message};

/// A cancel, at once and once more when the debit can no longer be on its way; `told`: the operator has cancelled it.
pub fn cancelled(bet: &BetRow, facts: &BetFacts<'_>, told: bool, second_after_bet_s: i64) -> Closing {
    let message = cancel_message(facts);
    let calls = if told {
        vec![call("cancelBet", message, "done")]
    } else {
        let first = OwedCall {
            debit_is_over_after_bet_s: Some(second_after_bet_s),
            ..call("cancelBet", message, "open")
        };
        let second = OwedCall {
            seconds_after_bet: Some(second_after_bet_s),
            ..first.clone()
        };
        vec![first, second]
    };
    Closing {
        place_first: false,
        state: "PENDING_CANCEL",
        end_reason: "cancelled",
        final_state: told.then_some("CANCELLED"),
        decision: if told { "cancelled as closed there" } else { "cancelled" },
        calls,
        ..unpaid(bet)
    }
}

/// An end that was decided; `told`: the operator has settled it. What was sent then is lost, so the row keeps what would be sent now.
pub fn ended(bet: &BetRow, facts: BetFacts<'_>, ended: &Ended, told: bool, now: DateTime<Utc>) -> Closing {
    let message = settle_message(&SettleFacts {
        bet: facts,
        payout: ended.payout,
        settled_at: now,
    });
    Closing {
        state: "PENDING_SETTLEMENT",
        end_reason: ended.reason.as_str(),
        last_lane: ended.lane,
        coefficient_hundredths: hundredths(ended),
        payout_minor: ended.payout.as_i64(),
        final_state: told.then_some(if ended.is_win() { "WON" } else { "LOST" }),
        decision: if told { "ended as settled there" } else { "ended as its session" },
        calls: vec![call("settle", message, if told { "done" } else { "open" })],
        ..unpaid(bet)
    }
}

/// The stake goes back, or has gone back.
pub fn voided(bet: &BetRow, facts: &BetFacts<'_>, void: Void, now: DateTime<Utc>) -> Closing {
    let (state, decision) = match void {
        Void::Owed => ("open", "voided"),
        Void::Told => ("done", "voided as closed there"),
        Void::Contradicted | Void::Unreadable => ("needs_human", "left to people"),
    };
    Closing {
        final_state: (void == Void::Told).then_some("VOIDED"),
        decision,
        calls: vec![call("voidBet", void_message(facts, now), state)],
        ..unpaid(bet)
    }
}

/// A void on the lane that the record knows.
fn unpaid(bet: &BetRow) -> Closing {
    Closing {
        sequence: bet.sequence,
        place_first: bet.state == BetState::Pending,
        state: "PENDING_VOID",
        end_reason: "void",
        last_lane: bet.last_lane,
        coefficient_hundredths: 0,
        payout_minor: 0,
        final_state: None,
        decision: "voided",
        operator_state: None,
        calls: Vec::new(),
    }
}

fn call(action: &'static str, message: String, state: &'static str) -> OwedCall {
    OwedCall {
        action,
        message,
        state,
        seconds_after_bet: None,
        debit_is_over_after_bet_s: None,
    }
}
