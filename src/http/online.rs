//! How many players are here. The numbers are real or absent.

use std::collections::BTreeMap;

use actix_web::{get, web, web::Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::{errors, problem::Problem};
use crate::play::{context::Context, lobby};

/// The numbers, wrapped as existing clients expect.
#[derive(Serialize, ToSchema)]
#[schema(as = Online)]
pub struct OnlineAnswer {
    result: OnlineCounts,
}

/// Players with a recent request.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OnlineCounts {
    total: u64,
    game_mode: BTreeMap<String, u64>,
}

errors!(OnlineErrors, InternalError, Unavailable);

/// Players who are here now.
#[utoipa::path(
    tag = "Public",
    responses((status = 200, description = "The numbers", body = OnlineAnswer), OnlineErrors)
)]
#[get("/api/online-counter/v1/data")]
pub async fn online(context: web::Data<Context>) -> Result<Json<OnlineAnswer>, Problem> {
    let online = lobby::online(&context).await?;
    Ok(Json(OnlineAnswer {
        result: OnlineCounts {
            total: online.total,
            game_mode: online.game_mode,
        },
    }))
}
