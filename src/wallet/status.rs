//! The operators' statuses in one table: what each proves. A status that is not listed proves nothing.

use super::Action;

/// Done.
pub const SUCCESS: &str = "0000";

/// "Already cancelled": what a cancel asks for.
pub const ALREADY_CANCELLED: &str = "1043";

/// "Already applied": success when the message was a repeat.
pub const ALREADY_APPLIED: [&str; 2] = ["1016", "1038"];

/// Answers to a bet that say that no money moved, with what they mean.
pub const DEFINITE_REFUSALS: [(&str, &str); 13] = [
    ("1018", "not enough balance"),
    ("1002", "no such account"),
    ("1013", "account locked"),
    ("1014", "account suspended"),
    ("1015", "account closed"),
    ("1004", "currency not accepted"),
    ("1010", "amount not accepted"),
    ("1026", "outside the bet limit"),
    ("1027", "certificate not accepted"),
    ("1029", "IP address not accepted"),
    ("1033", "game not accepted"),
    ("1035", "agent not accepted"),
    ("1036", "parameters not accepted"),
];

/// Answers to a settle, cancel or void that say that the operator knows no such bet. A settle or void then needs a person; a cancel is
/// done by it once the debit can no longer be on its way.
pub const NO_SUCH_BET: [&str; 3] = ["1017", "1039", "1044"];

/// What a readable status proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The operator did it.
    Applied,
    /// It took nothing and never will for this message.
    Declined,
    /// Nothing is proven.
    Unproven,
}

/// What `status` in the answer to `action` proves; `repeat` when the same message may have arrived before.
///
/// A bet is never repeated, so "already applied" is never the answer to one that proves a debit of ours: whose bet it was
/// the operator does not say. It counts as unproven and is cancelled, which returns the stake if it was taken.
pub fn meaning(action: Action, status: &str, repeat: bool) -> Meaning {
    let is_done_before = repeat && action != Action::Bet && is_already_applied(status);
    if status == SUCCESS || is_done_before || (action == Action::CancelBet && status == ALREADY_CANCELLED) {
        Meaning::Applied
    } else if action == Action::Bet && is_definite_refusal(status) {
        Meaning::Declined
    } else {
        Meaning::Unproven
    }
}

/// Whether a bet answered so took no money.
pub fn is_definite_refusal(status: &str) -> bool {
    DEFINITE_REFUSALS.iter().any(|(listed, _)| *listed == status)
}

/// Whether the operator says that it has applied the message before.
pub fn is_already_applied(status: &str) -> bool {
    ALREADY_APPLIED.contains(&status)
}

/// Whether the operator says that it knows no such bet.
pub fn is_no_such_bet(status: &str) -> bool {
    NO_SUCH_BET.contains(&status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bet_is_declined() {
        for (status, _) in DEFINITE_REFUSALS {
            assert_eq!(meaning(Action::Bet, status, false), Meaning::Declined);
            for action in [Action::GetBalance, Action::CancelBet, Action::Settle, Action::VoidBet] {
                assert_eq!(meaning(action, status, true), Meaning::Unproven, "{status}");
            }
        }
    }

    #[test]
    fn already_applied_is_success_only_on_a_repeat_and_never_for_a_bet() {
        for status in ALREADY_APPLIED {
            assert_eq!(meaning(Action::Settle, status, true), Meaning::Applied);
            assert_eq!(meaning(Action::Settle, status, false), Meaning::Unproven);
            assert_eq!(meaning(Action::Bet, status, false), Meaning::Unproven);
            assert_eq!(meaning(Action::Bet, status, true), Meaning::Unproven);
        }
    }

    #[test]
    fn already_cancelled_is_the_success_of_a_cancel_alone() {
        for action in Action::ALL {
            let expected = if action == Action::CancelBet {
                Meaning::Applied
            } else {
                Meaning::Unproven
            };
            assert_eq!(meaning(action, ALREADY_CANCELLED, false), expected, "{action:?}");
        }
    }

    #[test]
    fn what_is_not_listed_proves_nothing() {
        for status in [
            "9998", "9999", "1028", "1040", "1041", "1042", "1045", "1046", "1017", "", "0", "00000", "0000 ", "7777",
        ] {
            for action in Action::ALL {
                assert_eq!(meaning(action, status, true), Meaning::Unproven, "{status}");
            }
        }
    }
}
