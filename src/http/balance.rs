//! The player's balance, asked at the casino that holds it.

use actix_web::{get, web, web::Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::{authentication::Caller, errors, problem::Problem};
use crate::play::{balance::balance as ask_balance, context::Context};

/// What the player has.
#[derive(Serialize, ToSchema)]
#[schema(as = Balance)]
pub struct BalanceAnswer {
    #[schema(example = "INR")]
    currency: String,
    /// An exact decimal text.
    #[schema(example = "995.50")]
    balance: String,
}

errors!(
    BalanceErrors,
    InvalidCurrency,
    Unauthenticated,
    TokenExpired,
    RateLimited,
    InternalError,
    AgentRejected,
    Unavailable,
    GameDisabled
);

/// The balance at the casino.
#[utoipa::path(
    tag = "Session", security(("sessionToken" = [])),
    responses((status = 200, description = "The balance", body = BalanceAnswer), BalanceErrors)
)]
#[get("/balance")]
pub async fn balance(context: web::Data<Context>, caller: Caller) -> Result<Json<BalanceAnswer>, Problem> {
    let balance = ask_balance(&context, &caller.0).await?;
    Ok(Json(BalanceAnswer {
        currency: balance.currency,
        balance: balance.balance,
    }))
}
