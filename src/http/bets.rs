//! The player's history: past bets with everything that is needed to check them.

use actix_web::{get, web, web::Json};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{authentication::Caller, errors, problem::Problem, round::settlement_text};
use crate::play::{context::Context, history, refusal::Refusal, view::BetView};

/// Bets on a page when the client does not say.
const USUAL_LIMIT: u32 = 30;
const HIGHEST_LIMIT: u32 = 100;

/// Which part of the history.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// How many bets: 1 to 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100, default = 30)]
    limit: Option<String>,
    /// The `next` of the page before.
    before: Option<String>,
}

/// A page of the history, newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = BetPage)]
pub struct BetsAnswer {
    bets: Vec<BetAnswer>,
    /// Where the next page starts; null on the last one.
    next: Option<String>,
}

/// One bet.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Bet)]
pub struct BetAnswer {
    id: Uuid,
    round_id: Uuid,
    created_at: DateTime<Utc>,
    settled_at: Option<DateTime<Utc>>,
    /// PENDING, PLACED, PENDING_SETTLEMENT, WON, LOST, PENDING_CANCEL, CANCELLED, PENDING_VOID, VOIDED or REJECTED.
    status: String,
    /// "pending" or "settled" after the end.
    settlement: Option<&'static str>,
    #[schema(example = "10.00")]
    bet_amount: String,
    #[schema(example = "10.10")]
    win_amount: String,
    currency: String,
    difficulty: &'static str,
    #[schema(example = "1.01")]
    coeff: String,
    /// The last safe lane, or the lane that was hit; -1 for none.
    last_lane: i16,
    /// "win", "cashout", "hazard", "deadline", "void", "cancelled" or "refused".
    end_reason: Option<&'static str>,
    config_version: i32,
    config_hash: String,
    fairness: FairnessAnswer,
}

/// What a bet's outcome follows from.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BetFairness)]
pub struct FairnessAnswer {
    user_seed: String,
    /// Whether the player made the user seed for this bet.
    user_seed_fresh: bool,
    nonce: u64,
    hazard_epoch: u64,
    hazard_seed: String,
    anchor: String,
    hashed_server_seed: String,
    /// Null until the round has ended.
    server_seed: Option<String>,
    /// Null until the round has ended.
    collision_columns: Option<Vec<u8>>,
}

impl From<BetView> for BetAnswer {
    fn from(bet: BetView) -> Self {
        Self {
            settlement: bet.settlement.map(settlement_text),
            bet_amount: bet.stake.format(bet.decimal_places),
            win_amount: bet.win_amount.format(bet.decimal_places),
            difficulty: bet.difficulty.as_str(),
            coeff: bet.coefficient.to_string(),
            end_reason: bet.end_reason.map(|reason| reason.as_str()),
            id: bet.id,
            round_id: bet.id,
            created_at: bet.created_at,
            settled_at: bet.settled_at,
            status: bet.status,
            currency: bet.currency,
            last_lane: bet.last_lane,
            config_version: bet.configuration_version,
            config_hash: bet.configuration_hash,
            fairness: FairnessAnswer {
                user_seed: bet.user_seed,
                user_seed_fresh: bet.user_seed_fresh,
                nonce: bet.nonce,
                hazard_epoch: bet.hazard_epoch,
                hazard_seed: bet.hazard_seed,
                anchor: bet.anchor,
                hashed_server_seed: bet.commitment,
                server_seed: bet.server_seed,
                collision_columns: bet.collision_columns,
            },
        }
    }
}

errors!(
    ListErrors,
    ValidationFailed,
    Unauthenticated,
    TokenExpired,
    RateLimited,
    InternalError,
    Unavailable
);
errors!(
    BetErrors,
    Unauthenticated,
    TokenExpired,
    NotFound,
    RateLimited,
    InternalError,
    Unavailable
);

/// Past bets, newest first.
#[utoipa::path(
    tag = "History", security(("sessionToken" = [])), operation_id = "listBets", params(Page),
    responses((status = 200, description = "A page of bets", body = BetsAnswer), ListErrors)
)]
#[get("/bets")]
pub async fn list(context: web::Data<Context>, caller: Caller, page: web::Query<Page>) -> Result<Json<BetsAnswer>, Problem> {
    let page = history::bets(&context, &caller.0, limit(page.limit.as_deref())?, page.before.as_deref()).await?;
    Ok(Json(BetsAnswer {
        bets: page.bets.into_iter().map(BetAnswer::from).collect(),
        next: page.next,
    }))
}

/// One bet with its proof.
#[utoipa::path(
    tag = "History", security(("sessionToken" = [])), operation_id = "getBet", params(("id" = Uuid, Path, description = "The bet's id")),
    responses((status = 200, description = "The bet", body = BetAnswer), BetErrors)
)]
#[get("/bets/{id}")]
pub async fn show(context: web::Data<Context>, caller: Caller, id: web::Path<String>) -> Result<Json<BetAnswer>, Problem> {
    let id = Uuid::try_parse(&id).map_err(|_| Refusal::NotFound { what: "the bet" })?;
    Ok(Json(history::bet(&context, &caller.0, id).await?.into()))
}

fn limit(text: Option<&str>) -> Result<u32, Problem> {
    let Some(text) = text else { return Ok(USUAL_LIMIT) };
    let limit = text.parse().ok().filter(|limit| (1..=HIGHEST_LIMIT).contains(limit));
    limit.ok_or_else(|| Problem::validation("limit", format!("a whole number from 1 to {HIGHEST_LIMIT}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_between_one_and_a_hundred() {
        assert_eq!(limit(None), Ok(30));
        assert_eq!(limit(Some("100")), Ok(100));
        for wrong in ["0", "101", "-1", "", "1.0", "ten", "4294967296"] {
            assert!(limit(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
