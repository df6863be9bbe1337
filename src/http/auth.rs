//! The exchange of a launch link's one-time token for a session token.

use actix_web::{post, web, web::Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{body::Body, errors, problem::Problem, tokens::Tokens};
use crate::play::{accounts::sign_in, context::Context};

/// What the launch link carried. The field names are those of existing clients.
#[derive(Deserialize, ToSchema)]
pub struct AuthBody {
    /// The link's `authToken`; it works once.
    auth_token: String,
    /// The link's `operatorId`.
    operator: String,
    /// The link's `currency`.
    #[schema(example = "INR")]
    currency: String,
    /// The link's `gameMode`.
    #[serde(rename = "game_mode")]
    #[schema(example = "chicken-road-two")]
    _game_mode: Option<String>,
}

/// The session token, twice, because clients look in either place.
#[derive(Serialize, ToSchema)]
#[schema(as = Authenticated)]
pub struct AuthAnswer {
    success: bool,
    result: String,
    data: String,
}

errors!(
    AuthErrors,
    ValidationFailed,
    InvalidCurrency,
    Unauthenticated,
    RequestTimeout,
    PayloadTooLarge,
    UnsupportedMediaType,
    InternalError,
    Unavailable
);

/// Exchanges the one-time token of a launch link for a session token.
#[utoipa::path(
    tag = "Session", request_body = AuthBody,
    responses((status = 200, description = "The player is signed in", body = AuthAnswer), AuthErrors)
)]
#[post("/api/auth")]
pub async fn auth(Body(link): Body<AuthBody>, tokens: Tokens, context: web::Data<Context>) -> Result<Json<AuthAnswer>, Problem> {
    let player = sign_in(&context, &link.auth_token, &link.operator, &link.currency).await?;
    let token = tokens.issue(&player);
    Ok(Json(AuthAnswer {
        success: true,
        result: token.clone(),
        data: token,
    }))
}
