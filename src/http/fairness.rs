//! Checking a round over HTTP, and the configurations under which rounds were played.

use actix_web::{HttpRequest, HttpResponse, get, http::header, post, web, web::Json};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{body::Body, errors, problem::Problem};
use crate::{
    game::{claim::RawClaim, proof::Proof, round::EndReason},
    play::{context::Context, fairness, refusal::Refusal},
};

/// A stored version never changes, so that it may be kept for ever.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// An integer from 0 to 2^53 - 1, or its decimal text without leading zeros.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what RawClaim reads")]
enum IntegerOrText {
    Integer(u64),
    Text(String),
}

/// What is claimed of a round, as the document describes it.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Claim)]
#[expect(dead_code, reason = "describes the body that RawClaim reads")]
struct ClaimDescription {
    /// The revealed server seed, 64 lower-case hex characters.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    server_seed: String,
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_.-]+$")]
    user_seed: String,
    /// An integer, or its decimal text.
    nonce: IntegerOrText,
    #[schema(pattern = "^[0-9a-f]{64}$")]
    hazard_seed: String,
    #[schema(example = "EASY")]
    difficulty: String,
    /// The commitment that was shown before the bet.
    hashed_server_seed: Option<String>,
    /// The epoch that the bet named: an integer, or its decimal text.
    hazard_epoch: Option<IntegerOrText>,
    /// The anchor of the epoch's day.
    anchor: Option<String>,
    /// Whether the player made the user seed for this bet. Checked against the record.
    user_seed_fresh: Option<bool>,
    /// The lanes that were shown as collisions, in ascending order.
    collision_columns: Option<Vec<u8>>,
    /// The configuration of the round; without it the one with this configHash. Where the claim has neither, the road is that of the
    /// current one, and what rests on the configuration is not checked.
    config_version: Option<i32>,
    /// The SHA-256 of that configuration's bytes.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    config_hash: Option<String>,
    #[schema(example = "10.00")]
    bet_amount: Option<String>,
    #[schema(example = "INR")]
    currency: Option<String>,
    /// The last safe lane, or the lane that was hit; -1 for none.
    #[schema(minimum = -1, maximum = 63)]
    last_lane: Option<i16>,
    end_reason: Option<EndReason>,
    #[schema(example = "10.10")]
    win_amount: Option<String>,
    #[schema(example = "1.01")]
    coeff: Option<String>,
}

errors!(ConfigurationErrors, NotFound, InternalError, Unavailable);
errors!(
    VerifyErrors,
    ValidationFailed,
    InvalidDifficulty,
    InvalidUserSeed,
    NotFound,
    RequestTimeout,
    PayloadTooLarge,
    UnsupportedMediaType,
    InternalError,
    Unavailable
);

/// The stored bytes of a configuration; their SHA-256 is a bet's configHash.
#[utoipa::path(
    tag = "Fairness", operation_id = "getConfiguration", params(("version" = i32, Path, description = "A bet's configVersion")),
    responses((status = 200, description = "The bytes as they are stored; the entity tag is their SHA-256", content_type = "application/json", body = serde_json::Value),
        (status = 304, description = "The caller has them already (If-None-Match)"), ConfigurationErrors)
)]
#[get("/config/{version}")]
pub async fn configuration(request: HttpRequest, context: web::Data<Context>, version: web::Path<String>) -> Result<HttpResponse, Problem> {
    const NOT_FOUND: Refusal = Refusal::NotFound { what: "the configuration" };
    let version = version.parse().map_err(|_| NOT_FOUND)?;
    let configuration = fairness::configuration(&context, version).await?;
    let tag = format!("\"{}\"", configuration.game.hash());
    let is_known = request
        .headers()
        .get(header::IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut answer = if is_known {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    answer
        .insert_header((header::CACHE_CONTROL, FOR_EVER))
        .insert_header((header::ETAG, tag));
    if is_known {
        return Ok(answer.finish());
    }
    Ok(answer.content_type("application/json").body(configuration.game.bytes().to_vec()))
}

/// Recomputes a round. The verdict is `valid`, `invalid` (the first check that is not ok names what does not match) or `incomplete`
/// (nothing is wrong, and `unchecked` lists what could not be checked). A field that is not one of a claim's is refused by name.
#[utoipa::path(
    tag = "Fairness", operation_id = "verify", request_body = ClaimDescription,
    responses((status = 200, description = "What follows from the claim", body = Proof), VerifyErrors)
)]
#[post("/verify")]
pub async fn verify(Body(claim): Body<RawClaim>, context: web::Data<Context>) -> Result<Json<Proof>, Problem> {
    Ok(Json(fairness::verify(&context, &claim).await?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::body::parse;

    #[test]
    fn a_nonce_may_be_a_number_or_a_text() {
        for nonce in ["7", "\"7\""] {
            let claim: RawClaim = parse(format!(r#"{{"nonce":{nonce},"configVersion":2}}"#).as_bytes()).expect("a claim");
            assert_eq!((claim.nonce.as_deref(), claim.config_version), (Some("7"), Some(2)));
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (claim, name) in [
            (r#"{"configVersion":"two"}"#, "configVersion"),
            (r#"{"userSeed":1e2}"#, "userSeed"),
            (r#"{"nonce":1e2}"#, "nonce"),
            (r#"{"collisionColumns":[1.5]}"#, "collisionColumns"),
            (r#"{"roundKey":"ab"}"#, "roundKey"),
            (r#"{"nonce":1,"nonce":1}"#, "nonce"),
        ] {
            let error = parse::<RawClaim>(claim.as_bytes()).err().expect("refused").to_string();
            assert!(error.starts_with("validation_failed") && error.contains(name), "{claim}: {error}");
        }
    }
}
