//! What an operator's answer says. Reading is strict, because a misread answer is a wrong entry in the books: what is
//! not plainly a success or a refusal proves nothing. Numbers are read as they are written, never through a float.

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::status::{self, Meaning};
use super::{Action, Attempt, KEPT_ANSWER_BYTES, Outcome, UnknownReason};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    status: String,
    #[serde(borrow)]
    balance: Option<&'a RawValue>,
    user_id: Option<String>,
    platform_tx_id: Option<String>,
}

/// Whom and what a message is about; answers that name somebody or something else are not answers to it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Subject {
    pub user_id: Option<String>,
    pub platform_tx_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    user_id: Option<String>,
    #[serde(default)]
    txns: Vec<Transaction>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Transaction {
    user_id: Option<String>,
    platform_tx_id: Option<String>,
}

impl Subject {
    /// The subject of a message text.
    ///
    /// # Errors
    /// When it is not a message.
    pub fn of(message: &str) -> Result<Self, serde_json::Error> {
        let message: Message = serde_json::from_str(message)?;
        Ok(match message.txns.into_iter().next() {
            Some(transaction) => Self {
                user_id: transaction.user_id,
                platform_tx_id: transaction.platform_tx_id,
            },
            None => Self {
                user_id: message.user_id,
                platform_tx_id: None,
            },
        })
    }

    fn is_contradicted_by(&self, answer: &Answer<'_>) -> bool {
        let differs = |ours: &Option<String>, echoed: &Option<String>| echoed.is_some() && ours.is_some() && ours != echoed;
        differs(&self.user_id, &answer.user_id) || differs(&self.platform_tx_id, &answer.platform_tx_id)
    }
}

/// What a complete answer with a 2xx status proves.
pub fn outcome(action: Action, attempt: Attempt, subject: &Subject, body: &[u8]) -> Outcome {
    let Ok(answer) = serde_json::from_slice::<Answer<'_>>(body) else {
        return Outcome::Unknown {
            reason: UnknownReason::Unreadable,
            status: None,
        };
    };
    if subject.is_contradicted_by(&answer) {
        return Outcome::Unknown {
            reason: UnknownReason::WrongEcho,
            status: Some(shortened(answer.status)),
        };
    }
    match status::meaning(action, &answer.status, attempt.repeat) {
        Meaning::Applied => Outcome::Applied {
            status: shortened(answer.status),
            balance: answer.balance.and_then(exact_decimal),
        },
        Meaning::Declined => Outcome::Declined { status: answer.status },
        Meaning::Unproven => Outcome::Unknown {
            reason: UnknownReason::Status,
            status: Some(shortened(answer.status)),
        },
    }
}

/// A JSON number or numeric text, digit for digit. Anything else is no balance.
fn exact_decimal(raw: &RawValue) -> Option<Decimal> {
    let unquoted = serde_json::from_str::<String>(raw.get());
    let text = unquoted.as_deref().unwrap_or(raw.get());
    if text.contains(['e', 'E']) {
        Decimal::from_scientific(text).ok()
    } else {
        Decimal::from_str_exact(text).ok()
    }
}

/// A status is four characters; whatever an operator sends in its place stays short and storable.
fn shortened(status: String) -> String {
    status.chars().filter(|character| !character.is_control()).take(32).collect()
}

/// The beginning of an answer for the audit: text without NUL, in which our own certificate is masked.
pub fn kept(body: &[u8], certificate: &str) -> String {
    let text = String::from_utf8_lossy(body).replace('\0', "\u{fffd}");
    let mut text = if certificate.is_empty() {
        text
    } else {
        text.replace(certificate, "***")
    };
    let end = (0..=KEPT_ANSWER_BYTES.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(action: Action, body: &str) -> Outcome {
        let subject = Subject {
            user_id: Some("user1".into()),
            platform_tx_id: Some("bet-1".into()),
        };
        outcome(action, Attempt::first(Duration::from_secs(1)), &subject, body.as_bytes())
    }

    fn balance(literal: &str) -> Option<String> {
        match read(Action::GetBalance, &format!(r#"{{"status":"0000","balance":{literal}}}"#)) {
            Outcome::Applied { balance, .. } => balance.map(|balance| balance.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn balances_are_exact() {
        for (literal, expected) in [
            ("0.1", "0.1"),
            ("1000.00", "1000.00"),
            ("\"12.345\"", "12.345"),
            ("9007199254740993.001", "9007199254740993.001"),
            ("-3.50", "-3.50"),
            ("1.5E3", "1500"),
        ] {
            assert_eq!(balance(literal).as_deref(), Some(expected), "{literal}");
        }
        for literal in ["null", "\"\"", "\"a lot\"", "{}", "true", "1e400"] {
            assert_eq!(balance(literal), None, "{literal}");
        }
    }

    #[test]
    fn what_is_not_plainly_an_answer_proves_nothing() {
        let unreadable = Outcome::Unknown {
            reason: UnknownReason::Unreadable,
            status: None,
        };
        for body in [
            "",
            "0000",
            "<html>",
            "[]",
            "{}",
            r#"{"status":0}"#,
            r#"{"status":null}"#,
            r#"{"status":"0000","status":"1018"}"#,
            r#"{"status":"0000"} {"status":"1018"}"#,
            r#"{"status":"0000""#,
        ] {
            assert_eq!(read(Action::Bet, body), unreadable, "{body}");
        }
    }

    #[test]
    fn an_answer_about_another_bet_or_player_proves_nothing() {
        for body in [
            r#"{"status":"0000","platformTxId":"bet-2"}"#,
            r#"{"status":"1018","userId":"user2"}"#,
        ] {
            assert!(
                matches!(
                    read(Action::Bet, body),
                    Outcome::Unknown {
                        reason: UnknownReason::WrongEcho,
                        ..
                    }
                ),
                "{body}"
            );
        }
        assert_eq!(
            read(
                Action::Bet,
                r#"{"status":"0000","platformTxId":"bet-1","userId":"user1","more":[1]}"#
            ),
            Outcome::Applied {
                status: "0000".into(),
                balance: None
            }
        );
    }

    #[test]
    fn a_kept_answer_is_short_storable_and_without_the_certificate() {
        assert_eq!(kept(b"a\0b demo-cert \xff", "demo-cert"), "a\u{fffd}b *** \u{fffd}");
        assert_eq!(kept("é".repeat(4000).as_bytes(), "c").len(), KEPT_ANSWER_BYTES);
        assert!(kept("aé".repeat(4000).as_bytes(), "c").len() <= KEPT_ANSWER_BYTES);
    }

    #[test]
    fn the_subject_is_read_from_the_message() {
        let subject = Subject::of(r#"{"action":"bet","txns":[{"platformTxId":"b","userId":"u"}]}"#).expect("a message");
        assert_eq!(
            subject,
            Subject {
                user_id: Some("u".into()),
                platform_tx_id: Some("b".into())
            }
        );
        let subject = Subject::of(r#"{"action":"getBalance","userId":"u"}"#).expect("a message");
        assert_eq!(
            subject,
            Subject {
                user_id: Some("u".into()),
                platform_tx_id: None
            }
        );
    }
}
