//! The player's balance, which the operator holds: asked of it, and shared for a second by all who ask for the same player.

use std::sync::Arc;

use rust_decimal::Decimal;

use crate::game::player::PlayerId;
use crate::ledger::calls;
use crate::play::admission::admit;
use crate::play::context::{Context, Player, call_timeout, endpoint};
use crate::play::deliver::record_of;
use crate::play::kept_answers::CHANGING_FOR;
use crate::play::place_bet::unwritable;
use crate::play::view::Balance;
use crate::play::{Refusal, accounts};
use crate::wallet::message::get_balance_message;
use crate::wallet::status::is_definite_refusal;
use crate::wallet::{Action, Attempt, Outcome};

/// The balance, as the operator tells it now or told it within the last second: a page that asks several times at once, or
/// several pages, are one call.
///
/// # Errors
/// The gate's refusals, [`Refusal::AgentRejected`] with the operator's status, or [`Refusal::Unavailable`].
pub async fn balance(context: &Arc<Context>, player: &Player) -> Result<Balance, Refusal> {
    admit(context, player).await?;
    let (shared, asked) = (Arc::clone(context), player.clone());
    let asking = async move { ask(&shared, &asked).await };
    let answer = context
        .kept
        .balances
        .of(&player.id)
        .get(&context.tasks, context.clock, asking, |_| CHANGING_FOR)
        .await;
    answer.unwrap_or(Err(Refusal::Unavailable))
}

/// Forgets what was told of a player's balance: a bet or an end has changed it.
pub fn forget(context: &Context, player: &PlayerId) {
    context.kept.balances.forget(player);
}

/// Asks the operator, and audits the call.
async fn ask(context: &Context, player: &Player) -> Result<Balance, Refusal> {
    let agent = context
        .agent(&player.id.agent_id)
        .await
        .map_err(unwritable)?
        .ok_or(Refusal::Unauthenticated)?;
    let endpoint = endpoint(&agent).ok_or(Refusal::GameDisabled)?;
    let places = accounts::decimal_places(context, &agent, &player.currency).map_err(|_| Refusal::InvalidCurrency {
        detail: "the game is no longer played in this currency".to_owned(),
    })?;
    let message = get_balance_message(player.id.user_id.as_str());
    let call = context
        .wallet
        .send(
            &endpoint,
            Action::GetBalance,
            &message,
            Attempt::first(call_timeout(&context.settings)),
        )
        .await;
    let record = record_of(agent.agent_id.as_str(), Action::GetBalance.as_str(), &message, &call);
    if let Err(error) = context
        .ledger
        .run(async |connection| calls::record(connection, &record).await)
        .await
    {
        tracing::warn!(%error, "a balance enquiry could not be audited");
    }
    match call.outcome {
        Outcome::Applied {
            balance: Some(balance), ..
        } => Ok(Balance {
            currency: player.currency.clone(),
            balance: in_currency(&balance, places),
        }),
        Outcome::Declined { status } => Err(Refusal::AgentRejected { status }),
        // Only what an operator answers on purpose is passed on.
        Outcome::Unknown { status: Some(status), .. } if is_definite_refusal(&status) => Err(Refusal::AgentRejected { status }),
        Outcome::Applied { balance: None, .. } | Outcome::Unknown { .. } => Err(Refusal::Unavailable),
    }
}

/// A balance as a player is shown it: with the currency's decimals. What an operator keeps beyond them cannot be staked and is
/// left out.
pub(super) fn in_currency(balance: &Decimal, decimal_places: u8) -> String {
    let mut shown = balance.trunc_with_scale(u32::from(decimal_places));
    shown.rescale(u32::from(decimal_places));
    shown.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_balance_is_shown_with_the_currencys_decimals_and_never_more_than_there_is() {
        for (balance, shown) in [
            ("501", "501.00"),
            ("501.0", "501.00"),
            ("0.999", "0.99"),
            ("-0.5", "-0.50"),
            ("12.3456", "12.34"),
        ] {
            assert_eq!(in_currency(&balance.parse().expect("a decimal"), 2), shown);
        }
        assert_eq!(in_currency(&"77.9".parse().expect("a decimal"), 0), "77");
    }
}
