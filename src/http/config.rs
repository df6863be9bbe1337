//! What a client needs to draw the game: limits, presets and the roads of each difficulty.

use std::collections::BTreeMap;

use actix_web::{get, web, web::Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::{authentication::Caller, errors, problem::Problem};
use crate::{
    game::{difficulty::Difficulty, paytable::Paytable},
    play::{context::Context, lobby},
};

/// The game in the session's currency.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GameConfig)]
pub struct ConfigAnswer {
    #[schema(example = "chicken-road-two")]
    game_code: String,
    #[schema(example = "0.955")]
    rtp: String,
    currency: String,
    #[schema(example = "1.00")]
    min_bet_amount: String,
    max_bet_amount: String,
    max_win_amount: String,
    default_bet_amount: String,
    bet_presets: Vec<String>,
    decimal_places: u8,
    config_version: i32,
    difficulties: BTreeMap<&'static str, RoadAnswer>,
}

/// One difficulty.
#[derive(Serialize, ToSchema)]
#[schema(as = Road)]
pub struct RoadAnswer {
    lanes: u8,
    /// What each lane pays per unit of stake.
    coefficients: Vec<String>,
    /// A lane is a collision column when its word of the keystream is below its threshold. Texts, because they exceed 2^53.
    thresholds: Vec<String>,
    /// How many visible hazards there are in an epoch.
    hazards: u8,
}

impl From<&Paytable> for RoadAnswer {
    fn from(paytable: &Paytable) -> Self {
        Self {
            lanes: paytable.lanes(),
            coefficients: paytable.coefficients().iter().map(ToString::to_string).collect(),
            thresholds: paytable.thresholds().iter().map(ToString::to_string).collect(),
            hazards: paytable.hazards(),
        }
    }
}

errors!(
    ConfigErrors,
    InvalidCurrency,
    Unauthenticated,
    TokenExpired,
    RateLimited,
    InternalError,
    Unavailable
);

/// The game's limits and roads.
#[utoipa::path(
    tag = "Session", security(("sessionToken" = [])), operation_id = "getGameConfig",
    responses((status = 200, description = "The configuration in force", body = ConfigAnswer), ConfigErrors)
)]
#[get("/config")]
pub async fn config(context: web::Data<Context>, caller: Caller) -> Result<Json<ConfigAnswer>, Problem> {
    let view = lobby::game_config(&context, &caller.0).await?;
    let game = &view.configuration.game;
    let rules = &view.rules;
    let amount = |amount: crate::game::money::Amount| amount.format(rules.decimal_places);
    let roads = Difficulty::ALL
        .into_iter()
        .map(|difficulty| (difficulty.as_str(), game.paytable(difficulty).into()));
    Ok(Json(ConfigAnswer {
        game_code: view.game_code,
        rtp: game.rtp_text().to_owned(),
        currency: rules.code.clone(),
        min_bet_amount: amount(rules.min_bet),
        max_bet_amount: amount(rules.max_bet),
        max_win_amount: amount(rules.max_win),
        default_bet_amount: amount(rules.default_bet),
        bet_presets: rules.presets.iter().map(|preset| amount(*preset)).collect(),
        decimal_places: rules.decimal_places,
        config_version: view.configuration.version,
        difficulties: roads.collect(),
    }))
}
