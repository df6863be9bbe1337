//! A player's own largest stake. Operators write it as a plain decimal, or as the JSON text with which AWC sets limits for
//! many games at once. Of such a text the largest number counts that stands for a largest stake: under a name with "max" in
//! it (but not one about winnings), or named betLimit. `limitId` names prepared sets of limits at other games and is no
//! amount: a text with nothing else is accepted and leaves the game's own maximum in force.

use actix_web::{post, web, web::Json};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{Denied, PlatformErrors, Status, StatusAnswer, admission::Operator, fields};
use crate::{
    game::money::Amount,
    http::body::EachNameOnce,
    play::{
        accounts::{self, AccountError},
        context::Context,
    },
};

/// How deep a JSON text may be nested.
const DEEPEST: usize = 8;
/// The most digits before the point.
const MOST_DIGITS: usize = 15;

/// What a betLimit says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BetLimit {
    /// A decimal: digits, perhaps a point and more digits.
    LargestStake(String),
    /// A JSON text without any amount.
    NotAnAmount,
}

/// A player and their limit.
#[derive(ToSchema)]
#[schema(as = UpdateBetLimitRequest, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the body that Fields reads")]
pub struct UpdateBody {
    cert: String,
    agent_id: String,
    user_id: String,
    /// The largest stake, or an AWC JSON text.
    bet_limit: String,
}

/// A player.
#[derive(ToSchema)]
#[schema(as = PlayerRequest, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the body that Fields reads")]
pub struct PlayerBody {
    cert: String,
    agent_id: String,
    user_id: String,
}

/// A player's limit.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PlatformBetLimit)]
pub struct BetLimitAnswer {
    #[schema(example = "0000")]
    status: &'static str,
    desc: String,
    /// The player's own limit, or the game's maximum where there is none; only with 0000.
    #[schema(example = "150.00", required = false)]
    bet_limit: String,
}

/// Sets a player's largest stake.
#[utoipa::path(
    tag = "Platform", operation_id = "updateBetLimit",
    request_body(content((UpdateBody = "application/x-www-form-urlencoded"), (UpdateBody = "application/json"))),
    responses((status = 200, description = "A status", body = StatusAnswer), PlatformErrors)
)]
#[post("/updateBetLimit")]
pub async fn update_bet_limit(context: web::Data<Context>, operator: Operator) -> Result<Json<StatusAnswer>, Denied> {
    let user_id = operator.fields.user_id()?;
    let stated = parse(operator.fields.required("betLimit")?)?;
    let (currency, decimal_places) = accounts::currency_of(&context, &operator.agent, &user_id).await?;
    let limit = match stated {
        BetLimit::LargestStake(text) => in_minor_units(&text, decimal_places)?,
        BetLimit::NotAnAmount => game_maximum(&context, &currency)?,
    };
    accounts::set_bet_limit(&context, &operator.agent, &user_id, limit).await?;
    Ok(StatusAnswer::ok())
}

/// A player's largest stake.
#[utoipa::path(
    tag = "Platform", operation_id = "queryBetLimit",
    request_body(content((PlayerBody = "application/x-www-form-urlencoded"), (PlayerBody = "application/json"))),
    responses((status = 200, description = "A status, and the limit with 0000", body = BetLimitAnswer), PlatformErrors)
)]
#[post("/queryBetLimit")]
pub async fn query_bet_limit(context: web::Data<Context>, operator: Operator) -> Result<Json<BetLimitAnswer>, Denied> {
    let user_id = operator.fields.user_id()?;
    let (limit, decimal_places) = match accounts::bet_limit(&context, &operator.agent, &user_id).await? {
        Some(limit) => limit,
        None => {
            let (currency, decimal_places) = accounts::currency_of(&context, &operator.agent, &user_id).await?;
            (game_maximum(&context, &currency)?, decimal_places)
        }
    };
    Ok(Json(BetLimitAnswer {
        status: Status::Ok.code(),
        desc: String::new(),
        bet_limit: limit.format(decimal_places),
    }))
}

/// The game's own largest stake in a currency.
fn game_maximum(context: &Context, currency: &str) -> Result<Amount, AccountError> {
    let rules = context.configuration.game.currency(currency);
    rules.map(|rules| rules.max_bet).ok_or(AccountError::Currency)
}

/// Reads a betLimit.
///
/// # Errors
/// 1036 for what is neither a decimal nor JSON.
pub fn parse(text: &str) -> Result<BetLimit, Denied> {
    let malformed = || Denied::about(Status::InvalidParameters, "betLimit");
    if is_decimal(text) {
        return Ok(BetLimit::LargestStake(text.to_owned()));
    }
    let json: &RawValue = serde_json::from_str(text).map_err(|_| malformed())?;
    if !json.get().starts_with(['{', '[']) {
        return Err(malformed());
    }
    let mut largest = None;
    collect(json, false, DEEPEST, &mut largest).ok_or_else(malformed)?;
    Ok(largest.map_or(BetLimit::NotAnAmount, BetLimit::LargestStake))
}

/// Walks a JSON text and keeps the largest number that plays the role. `None`: nested too deep or malformed.
fn collect(json: &RawValue, is_role: bool, depth_left: usize, largest: &mut Option<String>) -> Option<()> {
    let depth_left = depth_left.checked_sub(1)?;
    match json.get().as_bytes().first()? {
        b'{' => {
            let EachNameOnce(object): EachNameOnce<&RawValue> = serde_json::from_str(json.get()).ok()?;
            object
                .iter()
                .try_for_each(|(name, value)| collect(value, is_maximum(name), depth_left, largest))
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(json.get()).ok()?;
            items.iter().try_for_each(|item| collect(item, is_role, depth_left, largest))
        }
        _ => {
            let text = fields::text(json);
            if is_role && is_decimal(&text) && largest.as_deref().is_none_or(|known| is_larger(&text, known)) {
                *largest = Some(text);
            }
            Some(())
        }
    }
}

/// Whether a name stands for a largest stake.
fn is_maximum(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    (name.contains("max") && !name.contains("win") && !name.contains("id")) || name == "betlimit"
}

/// Digits, perhaps a point and more digits.
fn is_decimal(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
    is_digits(whole) && is_digits(fraction) && whole.trim_start_matches('0').len() <= MOST_DIGITS
}

/// Compares two decimals without turning them into inexact numbers.
fn is_larger(left: &str, right: &str) -> bool {
    let parts = |text: &str| -> (usize, String, String) {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let whole = whole.trim_start_matches('0');
        (whole.len(), whole.to_owned(), fraction.trim_end_matches('0').to_owned())
    };
    parts(left) > parts(right)
}

/// A limit in minor units. What is finer than the currency is cut off: no stake falls in between.
///
/// # Errors
/// 1036 for zero and for what is no amount.
pub fn in_minor_units(decimal: &str, decimal_places: u8) -> Result<Amount, Denied> {
    let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
    let kept: String = fraction.chars().take(usize::from(decimal_places)).collect();
    let text = if kept.is_empty() {
        whole.to_owned()
    } else {
        format!("{whole}.{kept}")
    };
    let amount = Amount::parse(&text, decimal_places).ok().filter(|amount| *amount > Amount::ZERO);
    amount.ok_or_else(|| Denied::about(Status::InvalidParameters, "betLimit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn largest(text: &str) -> BetLimit {
        BetLimit::LargestStake(text.to_owned())
    }

    #[test]
    fn a_plain_decimal_is_taken() {
        assert_eq!(parse("150"), Ok(largest("150")));
        assert_eq!(parse("150.50"), Ok(largest("150.50")));
        for wrong in [
            "",
            "-1",
            "+1",
            "1e3",
            "1.",
            ".5",
            "1,000",
            "abc",
            "null",
            "\"150\"",
            "true",
            "9999999999999999",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_largest_maximum_of_a_json_text_is_taken() {
        assert_eq!(
            parse(r#"{"INOUT":{"LIVE":{"minbet":1,"maxbet":100.10,"maxBetSum":"99.5"}}}"#),
            Ok(largest("100.10"))
        );
        assert_eq!(parse(r#"{"A":{"max":[10,200,30]},"B":{"maxbet":"0199.99"}}"#), Ok(largest("200")));
        assert_eq!(
            parse(r#"{"A":{"LIVE":{"maxbet":5,"maxWin":100000,"limitId":[280901]}}}"#),
            Ok(largest("5"))
        );
        assert_eq!(parse(r#"{"betLimit":75}"#), Ok(largest("75")));
    }

    #[test]
    fn limit_ids_are_no_amounts() {
        assert_eq!(
            parse(r#"{"SEXYBCRT":{"LIVE":{"limitId":[280901,280902]}}}"#),
            Ok(BetLimit::NotAnAmount)
        );
        assert_eq!(parse("{}"), Ok(BetLimit::NotAnAmount));
    }

    #[test]
    fn broken_and_bottomless_texts_are_refused() {
        assert!(parse("{\"A\":").is_err());
        assert!(parse(r#"{"A":{"maxbet":5,"maxbet":500}}"#).is_err(), "a name that stands twice");
        assert!(parse(&format!("{}{}", "[".repeat(9), "]".repeat(9))).is_err());
    }

    #[test]
    fn a_limit_is_cut_to_the_currency() {
        assert_eq!(in_minor_units("150.999", 2).map(Amount::minor), Ok(15_099));
        assert_eq!(in_minor_units("150", 2).map(Amount::minor), Ok(15_000));
        assert_eq!(in_minor_units("150.9", 0).map(Amount::minor), Ok(150));
        assert!(in_minor_units("0.001", 2).is_err());
    }
}
