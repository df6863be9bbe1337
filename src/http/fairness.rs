//! Checking a round over HTTP, and the configurations under which rounds were played.

use actix_web::{HttpResponse, get, http::header, post, web, web::Json};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{body::Body, errors, problem::Problem};
use crate::{
    game::{claim::RawClaim, proof::Proof},
    play::{context::Context, fairness, refusal::Refusal},
};

/// A stored version never changes, so that it may be kept for ever.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// A claim and the configuration under which it is to be checked.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyBody {
    #[serde(flatten)]
    claim: RawClaim,
    config_version: Option<i32>,
}

/// What is claimed of a round, as the document describes it.
#[derive(ToSchema)]
#[schema(as = Claim, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the body that RawClaim reads")]
struct ClaimDescription {
    /// The revealed server seed, 64 lower-case hex characters.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    server_seed: String,
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_.-]+$")]
    user_seed: String,
    /// An integer, or its decimal text.
    nonce: u64,
    #[schema(pattern = "^[0-9a-f]{64}$")]
    hazard_seed: String,
    #[schema(example = "EASY")]
    difficulty: String,
    /// The commitment that was shown before the bet.
    hashed_server_seed: Option<String>,
    /// The epoch that the bet named.
    hazard_epoch: Option<u64>,
    /// The anchor of the epoch's day.
    anchor: Option<String>,
    /// The configuration of the round; without it the current one.
    config_version: Option<i32>,
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
    responses((status = 200, description = "The bytes as they are stored", content_type = "application/json", body = serde_json::Value), ConfigurationErrors)
)]
#[get("/config/{version}")]
pub async fn configuration(context: web::Data<Context>, version: web::Path<String>) -> Result<HttpResponse, Problem> {
    const NOT_FOUND: Refusal = Refusal::NotFound { what: "the configuration" };
    let version = version.parse().map_err(|_| NOT_FOUND)?;
    let bytes = fairness::configuration_bytes(&context, version).await?;
    Ok(HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((header::CACHE_CONTROL, FOR_EVER))
        .body(bytes))
}

/// Recomputes a round and names the first thing that does not match.
#[utoipa::path(
    tag = "Fairness", operation_id = "verify", request_body = ClaimDescription,
    responses((status = 200, description = "What follows from the claim", body = Proof), VerifyErrors)
)]
#[post("/verify")]
pub async fn verify(Body(body): Body<VerifyBody>, context: web::Data<Context>) -> Result<Json<Proof>, Problem> {
    Ok(Json(fairness::verify(&context, &body.claim, body.config_version).await?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::body::parse;

    #[test]
    fn a_nonce_may_be_a_number_or_a_text() {
        for nonce in ["7", "\"7\""] {
            let body: VerifyBody = parse(format!(r#"{{"nonce":{nonce},"configVersion":2,"other":[]}}"#).as_bytes()).expect("a claim");
            assert_eq!((body.claim.nonce.as_deref(), body.config_version), (Some("7"), Some(2)));
        }
    }

    #[test]
    fn a_wrong_version_is_named() {
        let error = parse::<VerifyBody>(br#"{"configVersion":"two"}"#)
            .err()
            .expect("refused")
            .to_string();
        assert!(error.contains("configVersion"), "{error}");
    }
}
