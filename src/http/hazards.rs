//! The public road: the hazards of the current epoch, and the chains from which every epoch's seed comes.

use actix_web::{HttpResponse, get, http::header, web};
use chrono::{DateTime, Datelike as _, NaiveDate, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{errors, problem::Problem};
use crate::{
    game::difficulty::Difficulty,
    play::{context::Context, hazards, refusal::Refusal},
};

/// The hazards that all players see for five seconds.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Hazards)]
pub struct HazardsAnswer {
    difficulty: &'static str,
    /// The columns, counted from 0. They decide nothing by themselves.
    hazards: Vec<u8>,
    epoch: u64,
    /// The epoch's link of the day's chain.
    hazard_seed: String,
    previous_epoch: u64,
    previous_hazard_seed: String,
    /// The anchor of the day's chain.
    anchor: String,
    #[schema(format = DateTime)]
    last_refresh: String,
    #[schema(format = DateTime)]
    next_refresh: String,
}

/// A day's chain.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HazardChain)]
pub struct ChainAnswer {
    date: NaiveDate,
    anchor: String,
    published_at: DateTime<Utc>,
    /// Link 17279, from which the whole day follows; only for past days.
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<String>,
}

errors!(HazardErrors, InvalidDifficulty, InternalError, Unavailable);
errors!(ChainErrors, ValidationFailed, NotFound, InternalError, Unavailable);

/// The visible hazards of the current epoch.
#[utoipa::path(
    tag = "Public", operation_id = "getHazards", params(("difficulty" = String, Path, description = "EASY, MEDIUM, HARD or DAREDEVIL")),
    responses((status = 200, description = "The current epoch; never cached", body = HazardsAnswer), HazardErrors)
)]
#[get("/{difficulty}")]
pub async fn current(context: web::Data<Context>, difficulty: web::Path<String>) -> Result<HttpResponse, Problem> {
    let difficulty: Difficulty = difficulty.parse().map_err(|_| Refusal::InvalidDifficulty)?;
    let view = hazards::current_hazards(&context, difficulty).await?;
    let record = view.record;
    let answer = HazardsAnswer {
        difficulty: record.difficulty.as_str(),
        hazards: record.hazards,
        epoch: record.epoch,
        hazard_seed: record.hazard_seed,
        previous_epoch: record.previous_epoch,
        previous_hazard_seed: record.previous_hazard_seed,
        anchor: view.anchor,
        last_refresh: record.last_refresh,
        next_refresh: record.next_refresh,
    };
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}

/// A day's anchor, and for past days the link from which the whole chain follows.
#[utoipa::path(
    tag = "Public", operation_id = "getHazardChain", params(("date" = String, Path, description = "A UTC day, such as 2026-11-20", format = Date)),
    responses((status = 200, description = "The chain", body = ChainAnswer), ChainErrors)
)]
#[get("/chain/{date}")]
pub async fn chain(context: web::Data<Context>, date: web::Path<String>) -> Result<HttpResponse, Problem> {
    let view = hazards::chain(&context, day(&date)?).await?;
    // A day that is over says the same for ever.
    let kept = if view.seed.is_some() {
        "public, max-age=31536000, immutable"
    } else {
        "no-store"
    };
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, kept)).json(ChainAnswer {
        date: view.date,
        anchor: view.anchor,
        published_at: view.published_at,
        seed: view.seed,
    }))
}

/// A day as yyyy-mm-dd and in no other spelling.
fn day(text: &str) -> Result<NaiveDate, Problem> {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    date.filter(|date| date.to_string() == text && (1970..=9999).contains(&date.year()))
        .ok_or_else(|| Problem::validation("date", "a day as yyyy-mm-dd"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_one_spelling() {
        assert_eq!(day("2026-11-20").map(|date| date.to_string()).as_deref(), Ok("2026-11-20"));
        for wrong in [
            "2026-2-3",
            "2026-02-30",
            "26-11-20",
            "+2026-11-20",
            " 2026-11-20",
            "2026-11-20T00:00",
            "today",
            "-0001-01-01x",
        ] {
            assert!(day(wrong).is_err(), "{wrong}");
        }
    }
}
