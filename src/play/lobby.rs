//! What a client needs before the first bet: the game's configuration for the player's currency, and who else is there.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::game::currency::CurrencyRules;
use crate::play::Refusal;
use crate::play::admission::{admit, unreachable};
use crate::play::context::{Configuration, Context, Player};
use crate::play::kept_answers::CHANGING_FOR;
use crate::play::place_bet::unwritable;
use crate::play::view::OnlineCount;

/// A user counts as online for so long after the last request, in milliseconds.
const ONLINE_FOR_MS: u64 = 5 * 60 * 1_000;

/// The configuration under which a bet of this moment would be placed.
pub struct GameConfigView {
    pub configuration: Arc<Configuration>,
    pub rules: CurrencyRules,
    pub game_code: String,
}

/// The configuration for the player's currency.
///
/// # Errors
/// The gate's refusals, or [`Refusal::InvalidCurrency`] when the game is not played in it.
pub async fn game_config(context: &Context, player: &Player) -> Result<GameConfigView, Refusal> {
    admit(context, player).await?;
    let rules = context
        .configuration
        .game
        .currency(&player.currency)
        .ok_or_else(|| Refusal::InvalidCurrency {
            detail: "the game is not played in this currency".to_owned(),
        })?
        .clone();
    // A limit that the operator set for this player is the largest stake that a bet of theirs can have.
    let limit = context
        .ledger
        .run_for(&player.id, async |connection| {
            crate::ledger::players::bet_limit(connection, &player.id).await
        })
        .await
        .map_err(unwritable)?
        .flatten();
    Ok(GameConfigView {
        configuration: Arc::clone(&context.configuration),
        rules: with_limit(rules, limit),
        game_code: context.payload.game_code.clone(),
    })
}

fn with_limit(mut rules: CurrencyRules, limit_minor: Option<i64>) -> CurrencyRules {
    let limit = limit_minor
        .and_then(|minor| u64::try_from(minor).ok())
        .and_then(|minor| crate::game::money::Amount::from_minor(minor).ok());
    if let Some(limit) = limit {
        rules.max_bet = rules.max_bet.min(limit);
        rules.presets.retain(|preset| *preset <= limit);
        rules.default_bet = rules.default_bet.min(limit);
    }
    rules
}

/// The users online at all agents, counted once a second at most.
///
/// # Errors
/// [`Refusal::Unavailable`] when Redis cannot be used.
pub async fn online(context: &Arc<Context>) -> Result<OnlineCount, Refusal> {
    let shared = Arc::clone(context);
    let counting = async move { count_online(&shared).await };
    let counted = context
        .kept
        .online
        .get(&context.tasks, context.clock, counting, |_| CHANGING_FOR)
        .await;
    counted.unwrap_or(Err(Refusal::Unavailable))
}

async fn count_online(context: &Context) -> Result<OnlineCount, Refusal> {
    let since = context.clock.now_unix_ms().saturating_sub(ONLINE_FOR_MS);
    let mut total: u64 = 0;
    for agent in context.agent_ids() {
        total = total.saturating_add(context.live.count_users(&agent, since).await.map_err(unreachable)?);
    }
    Ok(OnlineCount {
        total,
        game_mode: BTreeMap::from([(context.payload.game_code.clone(), total)]),
    })
}

/// Tells Redis who was heard of since the last call, and forgets those who were not for a long time. A job calls this.
///
/// # Errors
/// When Redis cannot be used; what was noted is then lost, which only delays a count.
pub async fn write_activity(context: &Context) -> Result<(), crate::live::LiveError> {
    let noted = context.take_activity();
    for (agent, users) in noted {
        let users: Vec<_> = users.into_iter().collect();
        context.live.touch_users(&agent, &users).await?;
        let before = context.clock.now_unix_ms().saturating_sub(24 * 3_600 * 1_000);
        context.live.forget_idle_users(&agent, before).await?;
    }
    Ok(())
}
