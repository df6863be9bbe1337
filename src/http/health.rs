//! Whether this server lives and whether it should be sent players: for people, load balancers and supervisors.

use std::sync::Arc;

use actix_web::{HttpResponse, get, http::StatusCode, web};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::live::LiveError;
use crate::play::{context::Context, health};

/// The state of the server and of what it needs.
#[derive(Serialize, ToSchema)]
#[schema(as = Health)]
pub struct HealthAnswer {
    /// "ok", "degraded" (ready, but no new rounds), "unavailable" or "draining".
    status: &'static str,
    timestamp: DateTime<Utc>,
    checks: Checks,
}

/// "ok" or "unreachable" for each store. Of Redis also "full" (open rounds go on), "writes_stopped", "replica", "forbidden" (the user lacks
/// a permission), "cluster_not_supported" or "too_old"; the log says more.
#[derive(Serialize, ToSchema)]
#[schema(as = HealthChecks)]
pub struct Checks {
    redis: &'static str,
    postgres: &'static str,
}

/// The process answers.
#[derive(Serialize, ToSchema)]
#[schema(as = Liveness)]
pub struct LivenessAnswer {
    status: &'static str,
    timestamp: DateTime<Utc>,
}

/// Everything that is checked.
#[utoipa::path(
    tag = "Operations", operation_id = "health",
    responses((status = 200, description = "All is well", body = HealthAnswer), (status = 503, description = "Something is missing", body = HealthAnswer))
)]
#[get("/health")]
pub async fn all(context: web::Data<Context>) -> HttpResponse {
    checked(&context).await
}

/// Whether the process answers at all. It does not look at the stores: restarting a server does not mend them.
#[utoipa::path(
    tag = "Operations", operation_id = "liveness",
    responses((status = 200, description = "The process answers", body = LivenessAnswer))
)]
#[get("/health/live")]
pub async fn live(context: web::Data<Context>) -> HttpResponse {
    HttpResponse::Ok().json(LivenessAnswer {
        status: "ok",
        timestamp: context.clock.now(),
    })
}

/// Whether players should be sent here: both stores answer and the server is not draining.
#[utoipa::path(
    tag = "Operations", operation_id = "readiness",
    responses((status = 200, description = "Ready", body = HealthAnswer), (status = 503, description = "Not ready", body = HealthAnswer))
)]
#[get("/health/ready")]
pub async fn ready(context: web::Data<Context>) -> HttpResponse {
    checked(&context).await
}

async fn checked(context: &Arc<Context>) -> HttpResponse {
    let health = health::health(context).await;
    let (code, status) = match (health.is_ready(), health.draining) {
        (true, _) if health.redis.is_err() => (StatusCode::OK, "degraded"),
        (true, _) => (StatusCode::OK, "ok"),
        (false, true) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    let redis = match &health.redis {
        Ok(()) => "ok",
        Err(LiveError::Full) => "full",
        Err(LiveError::Unfit(unfit)) => unfit.as_str(),
        Err(LiveError::Unreachable(_) | LiveError::Unreadable { .. }) => "unreachable",
    };
    HttpResponse::build(code).json(HealthAnswer {
        status,
        timestamp: context.clock.now(),
        checks: Checks {
            redis,
            postgres: if health.postgres { "ok" } else { "unreachable" },
        },
    })
}
