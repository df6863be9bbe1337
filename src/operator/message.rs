//! The strict reading of a message: which fields each action has, and what may be in them. A field that is missing, is not
//! known or breaks its rule refuses the whole message, named.

use std::collections::BTreeMap;

use chrono::DateTime;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::amount::Amount4;

/// What a callback asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum CallbackAction {
    /// Reads.
    GetBalance,
    /// Takes the stake.
    Bet,
    /// Returns it, or keeps it from being taken.
    CancelBet,
    /// Pays the win.
    Settle,
    /// Returns the stake of a confirmed bet.
    VoidBet,
    /// Takes the win back and returns the stake.
    VoidSettle,
    /// Takes the win back and opens the bet again.
    Unsettle,
}

/// A message that keeps all rules.
pub(super) enum Message {
    GetBalance { user_id: String },
    Transaction(CallbackAction, Transaction),
}

impl Message {
    pub fn action(&self) -> CallbackAction {
        match self {
            Self::GetBalance { .. } => CallbackAction::GetBalance,
            Self::Transaction(action, _) => *action,
        }
    }
}

/// What the book needs of a transaction. Fields that an action does not have are absent.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Transaction {
    pub platform_tx_id: String,
    pub user_id: String,
    pub round_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bet_amount: Option<Amount4>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub win_amount: Option<Amount4>,
    /// What it says of the game and of times, as it is written: a line for each of [`SAID`], empty where it does not say it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub said: String,
}

/// What messages about a bet have to say as its debit did. Those after the bet's time are compared with that.
const SAID: [&str; 8] = [
    "platform",
    "gameType",
    "gameCode",
    "gameName",
    "betType",
    "betTime",
    "txTime",
    "updateTime",
];

impl Transaction {
    /// The first field that contradicts what the debit of the same bet said.
    pub fn contradiction(&self, debit: &str) -> Option<&'static str> {
        let debit: Vec<&str> = debit.lines().collect();
        let bet_time = debit.get(5).copied().unwrap_or_default();
        // The last six characters within the quotes are the offset.
        let offset = |time: &str| time.get(time.len().saturating_sub(7)..).map(str::to_owned);
        SAID.into_iter()
            .zip(self.said.lines())
            .enumerate()
            .find_map(|(place, (name, said))| {
                let contradicts = match name {
                    "txTime" => said != bet_time,
                    "updateTime" => offset(said) != offset(bet_time),
                    _ => debit.get(place).is_some_and(|debit| !debit.is_empty() && said != *debit),
                };
                (!said.is_empty() && !bet_time.is_empty() && contradicts).then_some(name)
            })
    }
}

/// Why a message is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub status: &'static str,
    pub detail: String,
}

/// What may be in a field.
#[derive(Clone, Copy)]
enum Rule {
    Text(usize),
    UserId,
    Amount,
    Time,
    NullOrText(usize),
    NullOrObject,
    Exactly(&'static str),
}

use Rule::{Amount, Exactly, NullOrObject, NullOrText, Text, Time, UserId};

const IDENTITY: [(&str, Rule); 6] = [
    ("platformTxId", Text(50)),
    ("userId", UserId),
    ("platform", Text(50)),
    ("gameType", Text(10)),
    ("gameCode", Text(50)),
    ("roundId", Text(50)),
];

const BET: [(&str, Rule); 6] = [
    ("currency", Text(10)),
    ("gameName", Text(50)),
    ("betType", NullOrText(50)),
    ("betAmount", Amount),
    ("betTime", Time),
    ("gameInfo", NullOrObject),
];

const CANCEL: [(&str, Rule); 1] = [("gameInfo", NullOrObject)];

const SETTLE: [(&str, Rule); 11] = [
    ("gameName", Text(50)),
    ("betType", NullOrText(50)),
    ("betAmount", Amount),
    ("winAmount", Amount),
    ("turnover", Amount),
    ("betTime", Time),
    ("updateTime", Time),
    ("txTime", Time),
    ("refPlatformTxId", NullOrText(50)),
    ("settleType", Exactly("\"platformTxId\"")),
    ("gameInfo", NullOrObject),
];

const VOID: [(&str, Rule); 4] = [
    ("gameName", Text(50)),
    ("betAmount", Amount),
    ("updateTime", Time),
    ("voidType", Exactly("2")),
];

const UNSETTLE: [(&str, Rule); 3] = [("gameName", Text(50)), ("betAmount", Amount), ("updateTime", Time)];

fn fields_of(action: CallbackAction) -> &'static [(&'static str, Rule)] {
    match action {
        CallbackAction::GetBalance => &[],
        CallbackAction::Bet => &BET,
        CallbackAction::CancelBet => &CANCEL,
        CallbackAction::Settle => &SETTLE,
        CallbackAction::VoidBet | CallbackAction::VoidSettle => &VOID,
        CallbackAction::Unsettle => &UNSETTLE,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Envelope {
    action: CallbackAction,
    user_id: Option<Box<RawValue>>,
    txns: Option<Vec<BTreeMap<String, Box<RawValue>>>>,
}

/// Reads a message text.
pub(super) fn read(text: &str) -> Result<Message, Refusal> {
    let envelope: Envelope = serde_json::from_str(text).map_err(|error| parameters(format!("not a message: {error}")))?;
    match (envelope.action, envelope.user_id, envelope.txns) {
        (CallbackAction::GetBalance, Some(user_id), None) => {
            check("userId", UserId, &user_id)?;
            Ok(Message::GetBalance {
                user_id: unquoted(&user_id),
            })
        }
        (CallbackAction::GetBalance, ..) => Err(parameters("getBalance has a userId and nothing else")),
        (action, None, Some(transactions)) => match <[_; 1]>::try_from(transactions) {
            Ok([fields]) => Ok(Message::Transaction(action, transaction(action, &fields)?)),
            Err(_) => Err(parameters("txns has exactly one entry")),
        },
        _ => Err(parameters("a transaction comes in txns, without a userId beside it")),
    }
}

fn transaction(action: CallbackAction, fields: &BTreeMap<String, Box<RawValue>>) -> Result<Transaction, Refusal> {
    let rules = || IDENTITY.iter().chain(fields_of(action));
    for (name, rule) in rules() {
        let value = fields.get(*name).ok_or_else(|| parameters(format!("{name} is missing")))?;
        check(name, *rule, value)?;
    }
    if let Some(unknown) = fields.keys().find(|name| !rules().any(|(known, _)| known == name)) {
        return Err(parameters(format!("{unknown} is no field of this action")));
    }
    let text = |name: &str| fields.get(name).map(|value| unquoted(value));
    let amount = |name: &str| fields.get(name).and_then(|value| value.get().parse().ok());
    Ok(Transaction {
        platform_tx_id: text("platformTxId").unwrap_or_default(),
        user_id: text("userId").unwrap_or_default(),
        round_id: text("roundId").unwrap_or_default(),
        currency: text("currency"),
        bet_amount: amount("betAmount"),
        win_amount: amount("winAmount"),
        said: SAID.map(|name| fields.get(name).map_or("", |value| value.get())).join("\n"),
    })
}

fn unquoted(value: &RawValue) -> String {
    serde_json::from_str(value.get()).unwrap_or_default()
}

fn check(name: &str, rule: Rule, value: &RawValue) -> Result<(), Refusal> {
    let raw = value.get();
    let text = serde_json::from_str::<String>(raw).ok();
    let is_text = |longest: usize| {
        text.as_ref()
            .is_some_and(|text| !text.is_empty() && text.chars().count() <= longest)
    };
    let (is_kept, wanted) = match rule {
        Text(longest) => (is_text(longest), format!("a text of 1 to {longest} characters")),
        UserId => (
            is_text(21)
                && text
                    .iter()
                    .all(|text| text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())),
            "1 to 21 of [0-9a-z]".into(),
        ),
        Amount => (
            raw.parse::<Amount4>().is_ok(),
            "a number with at most four decimals, not negative, not a text".into(),
        ),
        Time => (
            text.as_deref().is_some_and(is_time),
            "a time like 2020-05-25T14:04:06.115+08:00".into(),
        ),
        NullOrText(longest) => (
            raw == "null" || is_text(longest),
            format!("null or a text of 1 to {longest} characters"),
        ),
        NullOrObject => (raw == "null" || raw.starts_with('{'), "null or an object".into()),
        Exactly(wanted) => (raw == wanted, wanted.to_owned()),
    };
    match (is_kept, rule) {
        (true, _) => Ok(()),
        (false, Amount) => Err(Refusal {
            status: "1010",
            detail: format!("{name}: {wanted}"),
        }),
        (false, _) => Err(parameters(format!("{name}: {wanted}"))),
    }
}

/// Milliseconds and a numeric offset, spelled in exactly one way; `Z` is refused.
fn is_time(text: &str) -> bool {
    const SHAPE: &[u8; 29] = b"0000-00-00T00:00:00.000+00:00";
    let has_shape = text.len() == SHAPE.len()
        && text.bytes().zip(SHAPE).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            b'+' => byte == b'+' || byte == b'-',
            _ => byte == *shape,
        });
    has_shape && DateTime::parse_from_rfc3339(text).is_ok()
}

fn parameters(detail: impl Into<String>) -> Refusal {
    Refusal {
        status: "1036",
        detail: detail.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BET: &str = r#"{"action":"bet","txns":[{"platformTxId":"bet-1","userId":"user1","currency":"INR","platform":"In-out","gameType":"CRASH","gameCode":"chicken-road-two","gameName":"chicken-road-2","betType":null,"betAmount":10.00,"betTime":"2020-05-25T14:04:06.115+08:00","roundId":"round-1","gameInfo":null}]}"#;

    fn refusal(from: &str, to: &str) -> Option<Refusal> {
        assert!(BET.contains(from), "{from}");
        read(&BET.replace(from, to)).err()
    }

    #[test]
    fn a_right_bet_is_read() {
        match read(BET) {
            Ok(Message::Transaction(CallbackAction::Bet, bet)) => {
                assert_eq!(bet.bet_amount, "10".parse().ok());
                assert_eq!((bet.user_id.as_str(), bet.currency.as_deref()), ("user1", Some("INR")));
            }
            _ => panic!("a right bet"),
        }
    }

    #[test]
    fn each_broken_rule_is_named() {
        for (from, to, status, named) in [
            (":10.00", ":\"10.00\"", "1010", "betAmount"),
            (":10.00", ":-10.00", "1010", "betAmount"),
            (":10.00", ":10.00001", "1010", "betAmount"),
            (":10.00", ":1e1", "1010", "betAmount"),
            ("+08:00", "Z", "1036", "betTime"),
            (".115", "", "1036", "betTime"),
            ("-25T", "-32T", "1036", "betTime"),
            ("user1", "User1", "1036", "userId"),
            ("user1", "0123456789012345678901", "1036", "userId"),
            ("CRASH", "CRASHCRASHC", "1036", "gameType"),
            ("\"gameInfo\":null", "\"gameInfo\":\"text\"", "1036", "gameInfo"),
            (",\"gameInfo\":null", "", "1036", "gameInfo"),
            ("\"gameInfo\":null", "\"gameInfo\":null,\"seed\":1", "1036", "seed"),
            ("bet-1", "", "1036", "platformTxId"),
        ] {
            let refusal = refusal(from, to).expect(to);
            assert_eq!(refusal.status, status, "{to}");
            assert!(refusal.detail.starts_with(named), "{to}: {}", refusal.detail);
        }
        let fifty_one = "b".repeat(51);
        assert!(refusal("bet-1", &fifty_one).is_some());
        assert!(read(r#"{"action":"dance","txns":[]}"#).is_err());
        assert!(read(r#"{"action":"getBalance","userId":"user1","txns":[]}"#).is_err());
    }
}
