//! What a player asks for with a bet, and everything of it that can be checked without asking anybody.

use crate::game::difficulty::Difficulty;
use crate::game::fairness::{Commitment, UserSeed};
use crate::game::money::Amount;
use crate::play::Refusal;
use crate::play::context::{Context, Player};

/// A bet as the player sent it.
#[derive(Clone, Debug)]
pub struct BetRequest {
    pub bet_amount: String,
    pub difficulty: String,
    pub currency: String,
    pub hazard_epoch: u64,
    pub user_seed: Option<String>,
    pub expected_commitment: Option<String>,
    pub configuration_version: Option<i32>,
    pub idempotency_key: Option<String>,
}

/// What a valid request asks for.
pub(super) struct Order {
    pub stake: Amount,
    pub decimal_places: u8,
    pub difficulty: Difficulty,
    pub max_lane: u8,
    pub user_seed: Option<UserSeed>,
    pub expected_commitment: Option<String>,
}

/// Everything that can be checked without asking anybody, before anything happens.
pub(super) fn validate(context: &Context, player: &Player, request: &BetRequest) -> Result<Order, Refusal> {
    if !context.settings.game.enabled {
        return Err(Refusal::GameDisabled);
    }
    let current = context.configuration.version;
    if request.configuration_version.is_some_and(|named| named != current) {
        return Err(Refusal::StaleConfig { current });
    }
    let game = &context.configuration.game;
    let difficulty: Difficulty = request.difficulty.parse().map_err(|_| Refusal::InvalidDifficulty)?;
    if request.currency != player.currency {
        return Err(Refusal::InvalidCurrency {
            detail: format!("this session plays in {}", player.currency),
        });
    }
    let rules = game.currency(&request.currency).ok_or_else(|| Refusal::InvalidCurrency {
        detail: "the game is not played in this currency".to_owned(),
    })?;
    let invalid_amount = |detail: String| Refusal::InvalidBetAmount { detail };
    let stake = Amount::parse(&request.bet_amount, rules.decimal_places).map_err(|error| invalid_amount(error.to_string()))?;
    rules.check_stake(stake, None).map_err(|error| invalid_amount(error.to_string()))?;
    let max_lane = game
        .paytable(difficulty)
        .max_lane(stake, rules.max_win)
        .ok_or_else(|| invalid_amount("the maximum win is below what the first lane would pay".to_owned()))?;
    let user_seed = request
        .user_seed
        .as_deref()
        .map(UserSeed::parse)
        .transpose()
        .map_err(|_| Refusal::InvalidUserSeed)?;
    let expected_commitment = request.expected_commitment.clone();
    if let Some(text) = &expected_commitment {
        Commitment::parse(text).map_err(|error| Refusal::ValidationFailed {
            field: "hashedServerSeed",
            detail: error.to_string(),
        })?;
    }
    Ok(Order {
        stake,
        decimal_places: rules.decimal_places,
        difficulty,
        max_lane,
        user_seed,
        expected_commitment,
    })
}
