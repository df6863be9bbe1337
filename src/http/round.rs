//! A round as its player drives it: bet, step, cash out, and a look at where it stands.

use actix_web::{HttpRequest, get, post, web, web::Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    authentication::Caller,
    body::{self, Body},
    errors,
    problem::{Code, Problem},
};
use crate::play::{
    balance,
    bet_order::BetRequest,
    cash_out::cash_out,
    context::Context,
    place_bet::place_bet,
    take_step::{current_round, take_step},
    view::{RoundView, Settlement},
};

/// The header that makes a repeated bet the same bet.
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
const LONGEST_IDEMPOTENCY_KEY: usize = 64;

/// A bet to place.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BetBody {
    /// The stake, a decimal text in the session's currency.
    #[schema(example = "10.00")]
    bet_amount: String,
    #[schema(example = "EASY")]
    difficulty: String,
    /// The session's currency.
    #[schema(example = "INR")]
    currency: String,
    /// The hazard epoch that the player saw: the current or the previous one.
    hazard_epoch: u64,
    /// The player's own part of the round's randomness: 1 to 64 of [A-Za-z0-9_.-]. Best made afresh for every bet.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_.-]+$")]
    user_seed: Option<String>,
    /// The commitment that the player expects to be in force.
    hashed_server_seed: Option<String>,
    /// The configuration that the player saw; with another one in force nothing is placed.
    config_version: Option<i32>,
}

/// A step onto the next lane.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepBody {
    /// The lane to step on, counted from 0.
    #[serde(deserialize_with = "body::lane")]
    #[schema(minimum = 0, maximum = 63)]
    line_number: u8,
    /// The round that is meant.
    #[serde(default, deserialize_with = "body::optional_name")]
    #[schema(min_length = 1)]
    round_id: Option<String>,
}

/// A cash-out where the player stands.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CashoutBody {
    /// The lane on which the player stands, to be sure.
    #[serde(default, deserialize_with = "body::optional_lane")]
    #[schema(minimum = 0, maximum = 63)]
    line_number: Option<u8>,
    /// The round that is meant.
    #[serde(default, deserialize_with = "body::optional_name")]
    #[schema(min_length = 1)]
    round_id: Option<String>,
}

/// A round as its player may see it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Round)]
pub struct RoundAnswer {
    round_id: Uuid,
    bet_id: Uuid,
    is_finished: bool,
    is_win: bool,
    /// "win", "cashout", "hazard", "deadline", "void" or "cancelled"; only after the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    end_reason: Option<&'static str>,
    /// The last safe lane, or the lane that was hit; -1 before the first step.
    line_number: i16,
    #[schema(example = "1.01")]
    coeff: String,
    #[schema(example = "10.10")]
    win_amount: String,
    #[schema(example = "10.00")]
    bet_amount: String,
    currency: String,
    difficulty: &'static str,
    /// The last lane that can be reached within the maximum win; it cashes out by itself.
    max_lane: u8,
    hazard_epoch: u64,
    hashed_server_seed: String,
    next_hashed_server_seed: String,
    nonce: u64,
    config_version: i32,
    /// The lane that was hit, or empty; only after the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    collision_positions: Option<Vec<u8>>,
    /// The balance at the casino after the stake; only in the answer to a bet.
    #[serde(skip_serializing_if = "Option::is_none")]
    balance: Option<String>,
    /// "pending" until the casino has confirmed, then "settled"; only after the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    settlement: Option<&'static str>,
}

impl From<RoundView> for RoundAnswer {
    fn from(round: RoundView) -> Self {
        Self {
            is_finished: round.end_reason.is_some(),
            end_reason: round.end_reason.map(|reason| reason.as_str()),
            coeff: round.coefficient.to_string(),
            win_amount: round.win_amount.format(round.decimal_places),
            bet_amount: round.stake.format(round.decimal_places),
            difficulty: round.difficulty.as_str(),
            settlement: round.settlement.map(settlement_text),
            round_id: round.bet_id,
            bet_id: round.bet_id,
            is_win: round.is_win,
            line_number: round.line_number,
            currency: round.currency,
            max_lane: round.max_lane,
            hazard_epoch: round.hazard_epoch,
            hashed_server_seed: round.commitment,
            next_hashed_server_seed: round.next_commitment,
            nonce: round.nonce,
            config_version: round.configuration_version,
            collision_positions: round.collision_positions,
            balance: round.balance,
        }
    }
}

/// How answers name a settlement.
pub fn settlement_text(settlement: Settlement) -> &'static str {
    match settlement {
        Settlement::Pending => "pending",
        Settlement::Settled => "settled",
    }
}

errors!(
    BetErrors,
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
    RequestTimeout,
    ActiveSessionExists,
    StaleHazardEpoch,
    StaleCommitment,
    StaleConfig,
    BetInProgress,
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
    BetUnconfirmed
);
errors!(
    StepErrors,
    ValidationFailed,
    Unauthenticated,
    TokenExpired,
    NoActiveSession,
    RequestTimeout,
    InvalidStepSequence,
    RoundMismatch,
    BetInProgress,
    PayloadTooLarge,
    UnsupportedMediaType,
    RateLimited,
    InternalError,
    Unavailable
);
errors!(
    CashoutErrors,
    ValidationFailed,
    Unauthenticated,
    TokenExpired,
    NoActiveSession,
    RequestTimeout,
    InvalidStepSequence,
    RoundMismatch,
    BetInProgress,
    TooEarlyToCashOut,
    PayloadTooLarge,
    UnsupportedMediaType,
    RateLimited,
    InternalError,
    Unavailable
);
errors!(
    SessionErrors,
    Unauthenticated,
    TokenExpired,
    NoActiveSession,
    RateLimited,
    InternalError,
    Unavailable
);

/// Places a bet and opens its round. Repeating it with the same Idempotency-Key is safe.
#[utoipa::path(
    tag = "Round", security(("sessionToken" = [])), request_body = BetBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 64 visible ASCII characters, unique per player",
        min_length = 1, max_length = 64, pattern = "^[!-~]+$")),
    responses((status = 200, description = "The round that is open now, or what became of it if this is a repeat", body = RoundAnswer), BetErrors)
)]
#[post("/bet")]
pub async fn bet(
    caller: Caller,
    request: HttpRequest,
    Body(bet): Body<BetBody>,
    context: web::Data<Context>,
) -> Result<Json<RoundAnswer>, Problem> {
    let request = BetRequest {
        bet_amount: bet.bet_amount,
        difficulty: bet.difficulty,
        currency: bet.currency,
        hazard_epoch: bet.hazard_epoch,
        user_seed: bet.user_seed,
        expected_commitment: bet.hashed_server_seed,
        configuration_version: bet.config_version,
        idempotency_key: idempotency_key(&request)?,
    };
    let placed = place_bet(&context, &caller.0, request).await;
    // Whatever came of it, the balance may be another.
    balance::forget(&context, &caller.0.id);
    Ok(Json(placed?.into()))
}

/// Steps onto the next lane. Naming the lane where the player stands already changes nothing and returns the round.
#[utoipa::path(
    tag = "Round", security(("sessionToken" = [])), request_body = StepBody,
    responses((status = 200, description = "The round after the step", body = RoundAnswer), StepErrors)
)]
#[post("/step")]
pub async fn step(caller: Caller, Body(step): Body<StepBody>, context: web::Data<Context>) -> Result<Json<RoundAnswer>, Problem> {
    let round = take_step(&context, &caller.0, step.line_number, step.round_id.as_deref()).await?;
    if round.end_reason.is_some() {
        balance::forget(&context, &caller.0.id);
    }
    Ok(Json(round.into()))
}

/// Cashes out where the player stands. After the end it returns that end.
#[utoipa::path(
    tag = "Round", security(("sessionToken" = [])), request_body = CashoutBody,
    responses((status = 200, description = "The ended round", body = RoundAnswer), CashoutErrors)
)]
#[post("/cashout")]
pub async fn cashout(caller: Caller, Body(cashout): Body<CashoutBody>, context: web::Data<Context>) -> Result<Json<RoundAnswer>, Problem> {
    let round = cash_out(&context, &caller.0, cashout.line_number, cashout.round_id.as_deref()).await?;
    balance::forget(&context, &caller.0.id);
    Ok(Json(round.into()))
}

/// The open round.
#[utoipa::path(
    tag = "Round", security(("sessionToken" = [])),
    responses((status = 200, description = "The open round", body = RoundAnswer), SessionErrors)
)]
#[get("/session")]
pub async fn session(context: web::Data<Context>, caller: Caller) -> Result<Json<RoundAnswer>, Problem> {
    Ok(Json(current_round(&context, &caller.0).await?.into()))
}

/// The header's value, if there is one: 1 to 64 visible ASCII characters.
fn idempotency_key(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let mut values = request.headers().get_all(IDEMPOTENCY_KEY);
    let Some(value) = values.next() else { return Ok(None) };
    let bytes = value.as_bytes();
    let is_sane = (1..=LONGEST_IDEMPOTENCY_KEY).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    match value.to_str() {
        Ok(text) if is_sane && values.next().is_none() => Ok(Some(text.to_owned())),
        _ => Err(Problem::new(
            Code::ValidationFailed,
            format!("{IDEMPOTENCY_KEY}: one value of 1 to {LONGEST_IDEMPOTENCY_KEY} visible ASCII characters"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn an_idempotency_key_is_short_and_visible() {
        let key = |value: &str| idempotency_key(&TestRequest::default().insert_header((IDEMPOTENCY_KEY, value)).to_http_request());
        assert_eq!(idempotency_key(&TestRequest::default().to_http_request()), Ok(None));
        assert_eq!(key("a-1"), Ok(Some("a-1".to_owned())));
        assert!(key(&"x".repeat(64)).is_ok());
        for wrong in ["", "a b", &"x".repeat(65), "\u{e9}"] {
            assert_eq!(key(wrong).map_err(|problem| problem.code), Err(Code::ValidationFailed), "{wrong}");
        }
        let twice = TestRequest::default()
            .append_header((IDEMPOTENCY_KEY, "a"))
            .append_header((IDEMPOTENCY_KEY, "b"));
        assert!(idempotency_key(&twice.to_http_request()).is_err());
    }

    #[test]
    fn bodies_are_read_as_documented() {
        let placed: BetBody =
            body::parse(br#"{"betAmount":"10.00","difficulty":"EASY","currency":"INR","hazardEpoch":5,"userSeed":null}"#).expect("a bet");
        assert_eq!(
            (placed.bet_amount.as_str(), placed.hazard_epoch, placed.user_seed),
            ("10.00", 5, None)
        );
        let missing = body::parse::<BetBody>(br#"{"betAmount":"10.00","difficulty":"EASY","currency":"INR"}"#);
        assert!(missing.err().expect("refused").to_string().contains("hazardEpoch"));
        let taken: CashoutBody = body::parse(b"{}").expect("nothing is required");
        assert_eq!((taken.line_number, taken.round_id), (None, None));
    }
}
