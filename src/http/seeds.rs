//! The seeds that the player's next bet will use. Server seeds are shown as commitments alone.

use actix_web::{get, put, web, web::Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{authentication::Caller, body::Body, errors, problem::Problem};
use crate::play::{context::Context, seeds, view::SeedsView};

/// A user seed of the player's own.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeedBody {
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_.-]+$")]
    user_seed: String,
}

/// The pair in force.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Seeds)]
pub struct SeedsAnswer {
    user_seed: String,
    hashed_server_seed: String,
    next_hashed_server_seed: String,
    /// The number of the next bet.
    nonce: u64,
}

impl From<SeedsView> for SeedsAnswer {
    fn from(seeds: SeedsView) -> Self {
        Self {
            user_seed: seeds.user_seed,
            hashed_server_seed: seeds.commitment,
            next_hashed_server_seed: seeds.next_commitment,
            nonce: seeds.nonce,
        }
    }
}

errors!(SeedsErrors, Unauthenticated, TokenExpired, RateLimited, InternalError, Unavailable);
errors!(
    ChangeErrors,
    ValidationFailed,
    InvalidUserSeed,
    Unauthenticated,
    TokenExpired,
    RequestTimeout,
    ActiveSessionExists,
    PayloadTooLarge,
    UnsupportedMediaType,
    RateLimited,
    InternalError,
    Unavailable
);

/// The seeds of the next bet.
#[utoipa::path(
    tag = "Fairness", security(("sessionToken" = [])), operation_id = "getSeeds",
    responses((status = 200, description = "The seeds", body = SeedsAnswer), SeedsErrors)
)]
#[get("/seeds")]
pub async fn show(context: web::Data<Context>, caller: Caller) -> Result<Json<SeedsAnswer>, Problem> {
    Ok(Json(seeds::seeds(&context, &caller.0).await?.into()))
}

/// Changes the user seed, between rounds.
#[utoipa::path(
    tag = "Fairness", security(("sessionToken" = [])), operation_id = "changeUserSeed", request_body = SeedBody,
    responses((status = 200, description = "The seeds with the new user seed", body = SeedsAnswer), ChangeErrors)
)]
#[put("/seeds")]
pub async fn change(caller: Caller, Body(change): Body<SeedBody>, context: web::Data<Context>) -> Result<Json<SeedsAnswer>, Problem> {
    Ok(Json(seeds::change_user_seed(&context, &caller.0, &change.user_seed).await?.into()))
}
