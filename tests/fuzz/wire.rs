//! What others send us: operators' answers, tokens, players' and operators' requests.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use faircross::clock::Clock;
use faircross::game::claim::RawClaim;
use faircross::game::player::{AgentId, PlayerId, UserId};
use faircross::http::platform::fields::Fields;
use faircross::http::platform::limits::{self, BetLimit};
use faircross::http::tokens::SessionTokens;
use faircross::http::{auth, body, round, seeds};
use faircross::play::context::Player;
use faircross::wallet::answer::{self, Subject};
use faircross::wallet::{Action, Attempt, KEPT_ANSWER_BYTES, Outcome};
use serde_json::Value;
use serde_json::value::RawValue;

/// Success is believed only where it plainly stands, only a bet can be declined, and a balance is what was written.
pub fn operator_answers(input: &[u8]) -> bool {
    let subject = Subject {
        user_id: Some("user1".to_owned()),
        platform_tx_id: Some("bet-1".to_owned()),
    };
    let kept = answer::kept(input, "demo-cert");
    assert!(kept.len() <= KEPT_ANSWER_BYTES && !kept.contains('\0') && !kept.contains("demo-cert"));
    let mut is_taken = false;
    for action in [Action::GetBalance, Action::Bet, Action::CancelBet, Action::Settle, Action::VoidBet] {
        for attempt in [Attempt::first(Duration::from_secs(1)), Attempt::repeat(Duration::from_secs(1))] {
            let Ok(outcome) = answer::plain(input, None).and_then(|plain| answer::outcome(action, attempt, &subject, &plain.body)) else {
                continue;
            };
            is_taken |= !matches!(outcome, Outcome::Unknown { .. });
            let body = answer::plain(input, None).expect("it was readable").body;
            let input = &body[..];
            let status = match field(input, "status") {
                Value::Number(status) => Value::String(status.to_string()),
                status => status,
            };
            match outcome {
                Outcome::Applied { balance, .. } => {
                    assert!(["0000", "1016", "1038"].map(Value::from).contains(&status), "{status}");
                    assert!([Value::Null, "bet-1".into()].contains(&field(input, "platformTxId")));
                    if let Some(balance) = balance {
                        assert_balance(input, &balance.to_string());
                    }
                }
                Outcome::Declined { .. } => assert_eq!(action, Action::Bet, "only a bet can be declined"),
                Outcome::Unknown { status, .. } => assert!(status.is_none_or(|status| status.chars().count() <= 32)),
            }
        }
    }
    is_taken
}

/// A field of an object, read by itself: what else stands in the object is nobody's business, and may be no value at all or
/// no UTF-8.
fn field(input: &[u8], name: &str) -> Value {
    let text = String::from_utf8_lossy(input);
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(&text).unwrap_or_default();
    fields
        .get(name)
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default()
}

/// The digits of a plain balance are the digits that were sent.
fn assert_balance(input: &[u8], balance: &str) {
    let text = String::from_utf8_lossy(input);
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(&text).expect("an answer that was read");
    let sent = fields["balance"].get().trim_matches('"');
    let is_plain = sent.bytes().all(|byte| b"-.0123456789".contains(&byte));
    assert!(!is_plain || digits(sent) == digits(balance), "{sent} became {balance}");
}

/// A decimal without the zeros that say nothing.
fn digits(decimal: &str) -> (String, String) {
    let (whole, fraction) = decimal
        .trim_start_matches('-')
        .split_once('.')
        .unwrap_or((decimal.trim_start_matches('-'), ""));
    (whole.trim_start_matches('0').to_owned(), fraction.trim_end_matches('0').to_owned())
}

static TOKENS: LazyLock<SessionTokens> = LazyLock::new(|| SessionTokens::new(b"a key that only this test uses..", 3_600, Clock::default()));

/// A token that was issued just now.
pub static ISSUED: LazyLock<String> = LazyLock::new(|| {
    TOKENS.issue(&Player {
        id: PlayerId {
            agent_id: AgentId::parse("agent456").expect("an agent's id"),
            user_id: UserId::parse("user123").expect("a user's id"),
        },
        currency: "INR".to_owned(),
        generation: 7,
    })
});

/// Of all texts only the token that was issued is taken.
pub fn tokens(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let is_taken = TOKENS.read(&text).is_ok();
    assert_eq!(is_taken, text == *ISSUED, "{text}");
    is_taken
}

/// A body is read or refused in a few words that name a field; a lane is a lane.
pub fn request_bodies(input: &[u8]) -> bool {
    let answers = [
        body::parse::<round::BetBody>(input).map(drop),
        body::parse::<round::StepBody>(input).map(drop),
        body::parse::<round::CashoutBody>(input).map(drop),
        body::parse::<seeds::SeedBody>(input).map(drop),
        body::parse::<auth::AuthBody>(input).map(drop),
        body::parse::<RawClaim>(input).map(drop),
    ];
    let lane = field(input, "lineNumber");
    if answers[1].is_ok() {
        assert!(lane.as_u64().is_some_and(|lane| lane < 64), "{lane}");
    }
    for refused in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        let text = refused.to_string();
        assert!(text.starts_with("validation_failed") && text.chars().count() < 600, "{text}");
    }
    answers.iter().any(Result::is_ok)
}

/// An operator's fields: the same value is required, optional and trimmed alike; a limit is never more than what was stated.
pub fn platform_fields(input: &[u8]) -> bool {
    let mut is_taken = false;
    for content_type in ["application/x-www-form-urlencoded", "application/json"] {
        let Ok(fields) = Fields::parse(content_type, input) else { continue };
        is_taken = true;
        for name in ["cert", "agentId", "userId", "betLimit", "language"] {
            assert_eq!(fields.required(name).ok(), fields.optional(name), "{name}");
        }
        if let Ok(user_id) = fields.user_id() {
            assert_eq!(fields.optional("userId"), Some(user_id.as_str()));
        }
        assert!(fields.language().is_err() || fields.optional("language").is_none_or(|text| text.len() <= 10));
        if let Some(Ok(BetLimit::LargestStake(stated))) = fields.optional("betLimit").map(limits::parse) {
            assert_limit(&stated);
        }
    }
    is_taken
}

fn assert_limit(stated: &str) {
    for places in [0, 2] {
        if let Ok(limit) = limits::in_minor_units(stated, places) {
            let (whole, fraction) = stated.split_once('.').unwrap_or((stated, ""));
            let cut: String = fraction.chars().chain("00".chars()).take(usize::from(places)).collect();
            assert_eq!(format!("{whole}{cut}").parse(), Ok(limit.minor()), "{stated}");
        }
    }
}
