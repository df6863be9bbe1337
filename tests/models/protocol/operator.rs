//! The operator of the model. It is idempotent by id, as the protocol asks; whether it remembers the cancel of a bet that it
//! never saw is a parameter, because not every operator does.

use super::state::{Account, Answer, Call, Request};

/// How an operator behaves where the protocol leaves it a choice or it may be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperatorHabits {
    /// A late debit of a cancelled id takes nothing.
    pub remembers_cancels: bool,
}

/// Applies a request. `accepts`: whether a debit that is new to the operator is taken or refused for lack of funds.
pub fn apply(habits: OperatorHabits, account: &mut Account, request: Request, accepts: bool) -> Answer {
    let is_debited = account.debits > 0;
    match request.call {
        Call::Bet if is_debited || account.is_barred => Answer::Applied,
        // A refusal of an id is final: a repeat of the same request is refused too.
        Call::Bet if account.is_refused || !accepts => {
            account.is_refused = true;
            Answer::Declined
        }
        Call::Bet => {
            account.debits += 1;
            Answer::Applied
        }
        Call::Cancel if !is_debited => {
            account.is_barred = habits.remembers_cancels;
            Answer::Applied
        }
        // A bet that has been settled or voided is not returned, and one that was returned is not returned again.
        Call::Cancel | Call::Void if account.endings > 0 => Answer::Applied,
        Call::Cancel | Call::Void => {
            account.endings += 1;
            account.refunds += 1;
            Answer::Applied
        }
        Call::Settle { .. } if !is_debited => Answer::Declined,
        Call::Settle { payout } => {
            // The id of the settle is what makes a repeat a repeat.
            if account.settled_attempts.insert(request.attempt) {
                account.endings += 1;
                account.settled_payout = Some(payout);
            }
            Answer::Applied
        }
    }
}
