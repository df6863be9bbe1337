//! The one table of errors: what a player's client is told when a request is refused. A refusal of the game becomes a code,
//! a code has a status, a name and a title, and the boundary renders it as RFC 9457 problem+json with the request's id.
//! The same table describes the errors in the API document, so the two cannot differ.

use std::{collections::BTreeMap, fmt};

use actix_web::{HttpResponse, ResponseError, http::StatusCode, http::header};
use serde::Serialize;
use utoipa::openapi::{Content, Header, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};

use crate::play::refusal::Refusal;

/// The media type of every error.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What went wrong, as clients tell errors apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    ValidationFailed,
    InvalidBetAmount,
    InvalidDifficulty,
    InvalidCurrency,
    InvalidUserSeed,
    Unauthenticated,
    TokenExpired,
    InsufficientFunds,
    AccountSuspended,
    Forbidden,
    NoActiveSession,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    ActiveSessionExists,
    InvalidStepSequence,
    StaleHazardEpoch,
    StaleCommitment,
    StaleConfig,
    RoundMismatch,
    BetInProgress,
    TooEarlyToCashOut,
    PayloadTooLarge,
    UnsupportedMediaType,
    IdempotencyKeyReused,
    RateLimited,
    InternalError,
    AgentRejected,
    Unavailable,
    RedisFull,
    GameDisabled,
    OperatorUnavailable,
    BetUnconfirmed,
}

impl Code {
    /// The table: status, name and title of each code.
    const fn row(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::ValidationFailed => (StatusCode::BAD_REQUEST, "validation_failed", "A field is missing or wrong"),
            Self::InvalidBetAmount => (StatusCode::BAD_REQUEST, "invalid_bet_amount", "The bet amount is not allowed"),
            Self::InvalidDifficulty => (StatusCode::BAD_REQUEST, "invalid_difficulty", "There is no such difficulty"),
            Self::InvalidCurrency => (StatusCode::BAD_REQUEST, "invalid_currency", "The currency is not the session's"),
            Self::InvalidUserSeed => (StatusCode::BAD_REQUEST, "invalid_user_seed", "The user seed is malformed"),
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated", "A valid session token is needed"),
            Self::TokenExpired => (StatusCode::UNAUTHORIZED, "token_expired", "The session token has expired"),
            Self::InsufficientFunds => (
                StatusCode::PAYMENT_REQUIRED,
                "insufficient_funds",
                "The balance does not cover the stake",
            ),
            Self::AccountSuspended => (StatusCode::FORBIDDEN, "account_suspended", "The account is suspended or locked"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "This is not allowed"),
            Self::NoActiveSession => (StatusCode::NOT_FOUND, "no_active_session", "There is no open round"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "There is nothing here"),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "The method is not allowed here",
            ),
            Self::RequestTimeout => (
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                "The request took too long to arrive",
            ),
            Self::ActiveSessionExists => (StatusCode::CONFLICT, "active_session_exists", "A round is already open"),
            Self::InvalidStepSequence => (StatusCode::CONFLICT, "invalid_step_sequence", "This is not the next lane"),
            Self::StaleHazardEpoch => (StatusCode::CONFLICT, "stale_hazard_epoch", "The hazard epoch is not in force"),
            Self::StaleCommitment => (StatusCode::CONFLICT, "stale_commitment", "Another server seed is in force"),
            Self::StaleConfig => (StatusCode::CONFLICT, "stale_config", "Another configuration is in force"),
            Self::RoundMismatch => (StatusCode::CONFLICT, "round_mismatch", "Another round is open"),
            Self::BetInProgress => (StatusCode::CONFLICT, "bet_in_progress", "A bet is being placed"),
            Self::TooEarlyToCashOut => (StatusCode::CONFLICT, "too_early_to_cash_out", "No lane has been crossed yet"),
            Self::PayloadTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", "The body is too large"),
            Self::UnsupportedMediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "The body must be JSON",
            ),
            Self::IdempotencyKeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "The Idempotency-Key was used for another bet",
            ),
            Self::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Too many requests"),
            Self::InternalError => (StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "Something went wrong here"),
            Self::AgentRejected => (StatusCode::BAD_GATEWAY, "agent_rejected", "The casino refused the bet"),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "The service is not available right now",
            ),
            Self::RedisFull => (
                StatusCode::SERVICE_UNAVAILABLE,
                "redis_full",
                "There is no room for new rounds right now",
            ),
            Self::GameDisabled => (StatusCode::SERVICE_UNAVAILABLE, "game_disabled", "The game is closed"),
            Self::OperatorUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "operator_unavailable",
                "The casino cannot be asked right now",
            ),
            Self::BetUnconfirmed => (StatusCode::GATEWAY_TIMEOUT, "bet_unconfirmed", "The casino did not confirm the bet"),
        }
    }

    pub const fn status(self) -> StatusCode {
        self.row().0
    }

    /// The code as it stands in answers, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        self.row().1
    }

    pub const fn title(self) -> &'static str {
        self.row().2
    }

    /// The wait to advise where the refusal itself knows none, in milliseconds.
    const fn usual_retry_after_ms(self) -> Option<u64> {
        match self {
            Self::BetInProgress | Self::RateLimited | Self::Unavailable | Self::OperatorUnavailable => Some(1_000),
            Self::RedisFull => Some(5_000),
            Self::GameDisabled => Some(30_000),
            _ => None,
        }
    }
}

/// The current epoch and its link, for a client that named another one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct CurrentEpoch {
    epoch: u64,
    hazard_seed: String,
}

/// One error on its way to the client. The boundary renders it, see [`Problem::render`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub code: Code,
    detail: String,
    retry_after_ms: Option<u64>,
    current_epoch: Option<CurrentEpoch>,
    current_config: Option<i32>,
    allowed_methods: Option<String>,
}

impl Problem {
    /// A code with what a client's developer should know, never what went wrong inside.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            retry_after_ms: code.usual_retry_after_ms(),
            current_epoch: None,
            current_config: None,
            allowed_methods: None,
        }
    }

    /// A field of the request that is missing or wrong.
    pub fn validation(field: &str, detail: impl fmt::Display) -> Self {
        Self::new(Code::ValidationFailed, format!("{field}: {detail}"))
    }

    /// 405 with the methods that the path does know.
    pub fn method_not_allowed(allowed: String) -> Self {
        Self {
            allowed_methods: Some(allowed.clone()),
            ..Self::new(Code::MethodNotAllowed, format!("allowed here: {allowed}"))
        }
    }

    /// The problem for an error status that the framework or a library answered with.
    pub fn of_status(status: StatusCode) -> Self {
        let code = match status {
            StatusCode::NOT_FOUND => Code::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
            StatusCode::PAYLOAD_TOO_LARGE => Code::PayloadTooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::UnsupportedMediaType,
            StatusCode::REQUEST_TIMEOUT => Code::RequestTimeout,
            status if status.is_client_error() => Code::ValidationFailed,
            _ => Code::InternalError,
        };
        Self::new(code, code.title())
    }

    /// The answer, with the id by which support finds the request in the logs.
    pub fn render(&self, request_id: &str) -> HttpResponse {
        let mut answer = HttpResponse::build(self.code.status());
        answer.content_type(PROBLEM_JSON);
        if let Some(wait_ms) = self.retry_after_ms {
            answer.insert_header((header::RETRY_AFTER, wait_ms.div_ceil(1_000).max(1)));
        }
        if let Some(allowed) = &self.allowed_methods {
            answer.insert_header((header::ALLOW, allowed.as_str()));
        }
        match self.code {
            Code::Unauthenticated => drop(answer.insert_header((header::WWW_AUTHENTICATE, "Bearer"))),
            Code::TokenExpired => drop(answer.insert_header((header::WWW_AUTHENTICATE, r#"Bearer error="invalid_token""#))),
            _ => {}
        }
        answer.json(self.document(request_id))
    }

    fn document<'a>(&'a self, request_id: &'a str) -> ProblemDocument<'a> {
        let current = self.current_epoch.as_ref();
        ProblemDocument {
            problem_type: format!("urn:faircross:problem:{}", self.code.as_str()),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: &self.detail,
            code: self.code.as_str(),
            request_id,
            epoch: current.map(|current| current.epoch),
            hazard_epoch: current.map(|current| current.epoch),
            hazard_seed: current.map(|current| current.hazard_seed.as_str()),
            config_version: self.current_config,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code.as_str(), self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal {
            Refusal::ValidationFailed { .. } => Code::ValidationFailed,
            Refusal::InvalidBetAmount { .. } => Code::InvalidBetAmount,
            Refusal::InvalidDifficulty => Code::InvalidDifficulty,
            Refusal::InvalidCurrency { .. } => Code::InvalidCurrency,
            Refusal::InvalidUserSeed => Code::InvalidUserSeed,
            Refusal::Unauthenticated => Code::Unauthenticated,
            Refusal::TokenExpired => Code::TokenExpired,
            Refusal::InsufficientFunds => Code::InsufficientFunds,
            Refusal::AccountSuspended => Code::AccountSuspended,
            Refusal::Forbidden { .. } => Code::Forbidden,
            Refusal::NoActiveSession => Code::NoActiveSession,
            Refusal::NotFound { .. } => Code::NotFound,
            Refusal::ActiveSessionExists => Code::ActiveSessionExists,
            Refusal::InvalidStepSequence { .. } => Code::InvalidStepSequence,
            Refusal::StaleHazardEpoch { .. } => Code::StaleHazardEpoch,
            Refusal::StaleConfig { .. } => Code::StaleConfig,
            Refusal::StaleCommitment => Code::StaleCommitment,
            Refusal::RoundMismatch => Code::RoundMismatch,
            Refusal::BetInProgress { .. } => Code::BetInProgress,
            Refusal::TooEarlyToCashOut => Code::TooEarlyToCashOut,
            Refusal::IdempotencyKeyReused => Code::IdempotencyKeyReused,
            Refusal::RateLimited { .. } => Code::RateLimited,
            Refusal::AgentRejected { .. } => Code::AgentRejected,
            Refusal::Unavailable => Code::Unavailable,
            Refusal::RedisFull => Code::RedisFull,
            Refusal::GameDisabled => Code::GameDisabled,
            Refusal::OperatorUnavailable { .. } => Code::OperatorUnavailable,
            Refusal::BetUnconfirmed => Code::BetUnconfirmed,
        };
        let mut problem = Self::new(code, refusal.to_string());
        match refusal {
            Refusal::BetInProgress { retry_after_ms }
            | Refusal::RateLimited { retry_after_ms }
            | Refusal::OperatorUnavailable { retry_after_ms } => {
                problem.retry_after_ms = Some(retry_after_ms);
            }
            Refusal::StaleConfig { current } => problem.current_config = Some(current),
            Refusal::StaleHazardEpoch { epoch, hazard_seed } => problem.current_epoch = Some(CurrentEpoch { epoch, hazard_seed }),
            _ => {}
        }
        problem
    }
}

/// The body of every error answer (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
#[serde(rename_all = "camelCase")]
pub struct ProblemDocument<'a> {
    /// Names the kind of problem; ends with the code.
    #[serde(rename = "type")]
    #[schema(example = "urn:faircross:problem:invalid_bet_amount")]
    problem_type: String,
    /// The same for every problem of this code.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What is wrong with this request.
    detail: &'a str,
    /// What clients tell errors apart by.
    #[schema(example = "invalid_bet_amount")]
    code: &'a str,
    /// As in the header `X-Request-Id`.
    request_id: &'a str,
    /// Only with stale_hazard_epoch: the epoch in force (the same as hazardEpoch).
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    /// Only with stale_hazard_epoch: the epoch in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    hazard_epoch: Option<u64>,
    /// Only with stale_hazard_epoch: that epoch's link.
    #[serde(skip_serializing_if = "Option::is_none")]
    hazard_seed: Option<&'a str>,
    /// Only with stale_config: the configuration in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    config_version: Option<i32>,
}

/// How the API document describes an endpoint's errors: each status once, with the codes that it may carry.
pub fn described(codes: &[Code]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<String, Vec<Code>> = BTreeMap::new();
    for code in codes {
        by_status.entry(code.status().as_str().to_owned()).or_default().push(*code);
    }
    by_status
        .into_iter()
        .map(|(status, codes)| (status, RefOr::T(described_response(&codes))))
        .collect()
}

fn described_response(codes: &[Code]) -> Response {
    let lines: Vec<String> = codes.iter().map(|code| format!("`{}`: {}.", code.as_str(), code.title())).collect();
    let content = Content::new(Some(RefOr::<utoipa::openapi::Schema>::Ref(Ref::from_schema_name("Problem"))));
    let mut response = ResponseBuilder::new().description(lines.join(" ")).content(PROBLEM_JSON, content);
    if codes.iter().any(|code| code.usual_retry_after_ms().is_some()) {
        let mut retry_after = Header::new(u64::schema());
        retry_after.description = Some("Seconds to wait before the request is worth repeating.".to_owned());
        response = response.header("Retry-After", retry_after);
    }
    response.build()
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;

    use super::*;

    async fn rendered(problem: Problem) -> (HttpResponse<()>, serde_json::Value) {
        let (head, body) = problem.render("request-1").into_parts();
        let bytes = to_bytes(body).await.expect("a body in memory");
        (head, serde_json::from_slice(&bytes).expect("JSON"))
    }

    #[actix_web::test]
    async fn a_refusal_becomes_a_problem_document() {
        let (head, body) = rendered(Refusal::InvalidDifficulty.into()).await;
        assert_eq!(head.status(), 400);
        assert_eq!(head.headers().get("content-type").expect("set"), PROBLEM_JSON);
        assert!(head.headers().get("retry-after").is_none());
        assert_eq!(
            body,
            serde_json::json!({
                "type": "urn:faircross:problem:invalid_difficulty", "title": "There is no such difficulty", "status": 400,
                "detail": "difficulty: one of EASY, MEDIUM, HARD, DAREDEVIL", "code": "invalid_difficulty", "requestId": "request-1",
            })
        );
    }

    #[actix_web::test]
    async fn a_wait_is_rounded_up_to_whole_seconds() {
        let wait = |retry_after_ms| async move {
            let (head, _) = rendered(Refusal::RateLimited { retry_after_ms }.into()).await;
            head.headers().get("retry-after").expect("set").to_str().expect("text").to_owned()
        };
        assert_eq!(wait(0).await, "1");
        assert_eq!(wait(1_000).await, "1");
        assert_eq!(wait(1_001).await, "2");
    }

    #[actix_web::test]
    async fn a_stale_epoch_is_answered_with_the_current_one() {
        let refusal = Refusal::StaleHazardEpoch {
            epoch: 356_000_001,
            hazard_seed: "ab".repeat(32),
        };
        let (head, body) = rendered(refusal.into()).await;
        assert_eq!(head.status(), 409);
        assert_eq!(body["hazardEpoch"], 356_000_001_u64);
        assert_eq!(body["hazardSeed"], "ab".repeat(32));
    }

    #[actix_web::test]
    async fn unavailable_advises_a_wait_and_401_names_the_scheme() {
        let (head, _) = rendered(Refusal::Unavailable.into()).await;
        assert_eq!((head.status().as_u16(), head.headers().contains_key("retry-after")), (503, true));
        let (head, _) = rendered(Refusal::TokenExpired.into()).await;
        assert!(head.headers().contains_key("www-authenticate"));
    }

    #[test]
    fn the_description_groups_codes_by_status() {
        let described = described(&[Code::NotFound, Code::NoActiveSession, Code::Unavailable]);
        assert_eq!(described.keys().map(String::as_str).collect::<Vec<_>>(), ["404", "503"]);
    }
}
