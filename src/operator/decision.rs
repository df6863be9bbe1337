//! What a transaction does to a bet: one pure table of (action, state), nothing else.

use std::collections::BTreeSet;

use super::amount::Amount4;
use super::book::{Bet, BetState, Delivery, Player, PlayerStatus};
use super::message::{CallbackAction, Transaction};

/// What a delivery does to its bet and its player.
pub(super) struct Decision {
    pub status: &'static str,
    pub change: Option<Change>,
    pub violation: Option<&'static str>,
}

/// The bet's next state and what is added to the balance.
pub(super) struct Change {
    pub state: BetState,
    pub credit: Amount4,
    pub debit: Amount4,
}

/// What a first delivery does. Unknown bets are 1017, cancelled ones 1043, other wrong states 1025.
pub(super) fn decide(delivery: &Delivery, bet: Option<&Bet>, player: &Player, currencies: &BTreeSet<String>) -> Decision {
    let transaction = &delivery.transaction;
    let Some(bet) = bet else {
        return match delivery.action {
            CallbackAction::Bet => first_bet(transaction, player, currencies),
            CallbackAction::CancelBet => done(BetState::CancelledBeforeBet, None, None),
            _ => refused("1017"),
        };
    };
    if bet.user_id != transaction.user_id || bet.round_id != transaction.round_id {
        return violated("1036", "another_player_or_round");
    }
    let amount_differs = transaction.bet_amount.is_some() && bet.bet_amount.is_some() && transaction.bet_amount != bet.bet_amount;
    if amount_differs {
        return violated("1036", "another_bet_amount");
    }
    if let Some(field) = bet.debit.as_ref().and_then(|debit| transaction.contradiction(debit)) {
        return violated("1036", another(field));
    }
    match (delivery.action, bet.state) {
        (CallbackAction::Bet, BetState::Cancelled | BetState::CancelledBeforeBet) => refused("1043"),
        (CallbackAction::Bet, _) => first_bet(transaction, player, currencies),
        (CallbackAction::CancelBet, BetState::Bet) => done(BetState::Cancelled, bet.bet_amount, None),
        (CallbackAction::CancelBet, BetState::Refused | BetState::CancelledBeforeBet) => done(BetState::CancelledBeforeBet, None, None),
        (CallbackAction::Settle, BetState::Bet) => done(BetState::Settled, transaction.win_amount, None),
        (CallbackAction::VoidBet, BetState::Bet) => done(BetState::Voided, bet.bet_amount, None),
        (CallbackAction::VoidSettle, BetState::Settled) => done(BetState::Voided, bet.bet_amount, bet.win_amount),
        (CallbackAction::Unsettle, BetState::Settled) => done(BetState::Bet, None, bet.win_amount),
        (_, BetState::Refused) => violated("1017", "of_a_refused_bet"),
        (_, BetState::Cancelled | BetState::CancelledBeforeBet) => violated("1043", "of_a_cancelled_bet"),
        (_, BetState::Settled) => violated("1025", "of_a_settled_bet"),
        (_, BetState::Voided) => violated("1025", "of_a_voided_bet"),
        (_, BetState::Bet) => violated("1025", "of_an_open_bet"),
    }
}

/// The violation of a message that says another thing of a bet than its debit did.
fn another(field: &'static str) -> &'static str {
    match field {
        "platform" => "another_platform",
        "gameType" => "another_game_type",
        "gameCode" => "another_game_code",
        "gameName" => "another_game_name",
        "betType" => "another_bet_type",
        _ => "another_time",
    }
}

fn first_bet(transaction: &Transaction, player: &Player, currencies: &BTreeSet<String>) -> Decision {
    if !transaction.currency.as_ref().is_some_and(|currency| currencies.contains(currency)) {
        return refused("1004");
    }
    match player.status {
        PlayerStatus::Active => {}
        PlayerStatus::Suspended => return refused("1014"),
        PlayerStatus::Locked => return refused("1013"),
        PlayerStatus::Closed => return refused("1015"),
    }
    match transaction.bet_amount {
        Some(stake) if stake <= player.balance => done(BetState::Bet, None, Some(stake)),
        _ => refused("1018"),
    }
}

fn done(state: BetState, credit: Option<Amount4>, debit: Option<Amount4>) -> Decision {
    let change = Change {
        state,
        credit: credit.unwrap_or_default(),
        debit: debit.unwrap_or_default(),
    };
    Decision {
        status: "0000",
        change: Some(change),
        violation: None,
    }
}

fn refused(status: &'static str) -> Decision {
    Decision {
        status,
        change: None,
        violation: None,
    }
}

fn violated(status: &'static str, kind: &'static str) -> Decision {
    Decision {
        status,
        change: None,
        violation: Some(kind),
    }
}
