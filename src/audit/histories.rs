//! The way of each bet through its states: only legal steps, none missing, nothing waiting for longer than it may, and for
//! each end the one call that it owes the operator.

use super::report::Check;
use super::walk::BetInFull;
use super::{Limits, Scope};
use crate::game::bet_state::BetState;

/// Every step that a bet may take.
const LEGAL: [(&str, &str); 9] = [
    ("PENDING", "PLACED"),
    ("PENDING", "REJECTED"),
    ("PENDING", "PENDING_CANCEL"),
    ("PENDING_CANCEL", "CANCELLED"),
    ("PLACED", "PENDING_SETTLEMENT"),
    ("PENDING_SETTLEMENT", "WON"),
    ("PENDING_SETTLEMENT", "LOST"),
    ("PLACED", "PENDING_VOID"),
    ("PENDING_VOID", "VOIDED"),
];

/// The checks on a bet's history.
pub struct HistoryChecks<'a> {
    limits: &'a Limits,
    scope: &'a Scope,
    histories: Check,
    pending: Check,
    owed: Check,
}

impl<'a> HistoryChecks<'a> {
    pub fn new(limits: &'a Limits, scope: &'a Scope) -> Self {
        let pending = if scope.settled {
            "every bet has come to its end"
        } else {
            "nothing is pending beyond its age, and what is due is being done"
        };
        Self {
            limits,
            scope,
            histories: Check::new("histories_legal", "the history of each bet is whole, and every step in it is legal"),
            pending: Check::new("nothing_pending", pending),
            owed: Check::new(
                "calls_owed",
                "each bet has exactly the calls that its state owes the operator, each in one wording",
            ),
        }
    }

    /// Looks at one bet.
    pub fn bet(&mut self, bet: &BetInFull) {
        self.histories.look();
        if let Some(wrong) = history_fault(bet) {
            self.histories.violate(bet, wrong);
        }
        self.pending.look();
        if let Some(wrong) = self.overdue(bet) {
            self.pending.violate(bet, wrong);
        }
        self.owed.look();
        if let Some(wrong) = owed_fault(bet) {
            self.owed.violate(bet, wrong);
        }
    }

    /// The checks.
    pub fn finish(self) -> Vec<Check> {
        vec![self.histories, self.pending, self.owed]
    }

    fn overdue(&self, bet: &BetInFull) -> Option<String> {
        let row = &bet.row;
        if self.scope.settled && !row.state.is_final() {
            return Some(format!("is {} after {} s", row.state.as_str(), row.age_s));
        }
        if row.state == BetState::Pending && row.age_s > self.limits.pending_s {
            return Some(format!(
                "is PENDING for {} s, at most {} are allowed",
                row.age_s, self.limits.pending_s
            ));
        }
        if row.state == BetState::Placed && row.past_deadline_s > self.limits.overdue_s {
            return Some(format!("is PLACED {} s after its deadline", row.past_deadline_s));
        }
        bet.calls
            .iter()
            .find(|call| call.state == "open" && call.overdue_s > self.limits.overdue_s)
            .map(|call| {
                format!(
                    "its {} (outbox row {}) is due for {} s",
                    call.action, call.outbox_id, call.overdue_s
                )
            })
    }
}

/// The history must lead from PENDING to the row's state by legal steps, each with its time, in the order of time.
fn history_fault(bet: &BetInFull) -> Option<String> {
    let (row, states) = (&bet.row, &bet.row.history_states);
    if states.len() != row.history_times.len() {
        return Some(format!(
            "its history has {} states and {} times",
            states.len(),
            row.history_times.len()
        ));
    }
    if !row.history_times.is_sorted() {
        return Some("its history goes back in time".to_owned());
    }
    let first = states.first().map_or("nothing", String::as_str);
    if first != "PENDING" {
        return Some(format!("its history begins with {first}"));
    }
    for (from, to) in states.iter().zip(states.iter().skip(1)) {
        if !LEGAL.contains(&(from, to)) {
            return Some(format!("its history goes from {from} to {to}"));
        }
    }
    let (state, last) = (row.state.as_str(), states.last().map_or("nothing", String::as_str));
    (state != last).then(|| format!("is {state}, and its history ends with {last}"))
}

/// What the state of a bet says about its rows in the outbox.
fn owed_fault(bet: &BetInFull) -> Option<String> {
    let count = |action: &str, states: &[&str]| bet.calls_of(action).filter(|call| states.contains(&call.state.as_str())).count();
    let (ends, cancels) = (
        bet.calls_of("settle").count() + bet.calls_of("voidBet").count(),
        bet.calls_of("cancelBet").count(),
    );
    const UNDONE: &[&str] = &["open", "needs_human"];
    const DONE: &[&str] = &["done", "resolved"];
    let first_cancel = bet.calls_of("cancelBet").next().map(|call| &call.message);
    if bet.calls_of("cancelBet").any(|call| Some(&call.message) != first_cancel) {
        return Some("its cancels are worded differently".to_owned());
    }
    let is_right = match bet.row.state {
        BetState::Pending | BetState::Placed | BetState::Rejected => ends + cancels == 0,
        BetState::PendingSettlement => ends == 1 && cancels == 0 && count("settle", UNDONE) == 1,
        BetState::Won | BetState::Lost => ends == 1 && cancels == 0 && count("settle", DONE) == 1,
        BetState::PendingVoid => ends == 1 && cancels == 0 && count("voidBet", UNDONE) == 1,
        BetState::Voided => ends == 1 && cancels == 0 && count("voidBet", DONE) == 1,
        BetState::PendingCancel => ends == 0 && count("cancelBet", UNDONE) >= 1,
        BetState::Cancelled => ends == 0 && count("cancelBet", DONE) >= 1,
    };
    (!is_right).then(|| {
        let rows: Vec<String> = bet.calls.iter().map(|call| format!("{} {}", call.action, call.state)).collect();
        format!(
            "is {}, and its calls are: {}",
            bet.row.state.as_str(),
            if rows.is_empty() { "none".to_owned() } else { rows.join(", ") }
        )
    })
}
