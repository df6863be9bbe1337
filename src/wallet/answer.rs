//! What an operator's answer says. Reading is strict, because a misread answer is a wrong entry in the books: what is
//! not plainly a success or a refusal proves nothing. Numbers are read as they are written, never through a float.

use std::collections::HashSet;
use std::fmt;
use std::io::Read as _;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde::de::{Deserializer as _, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::status::{self, Meaning};
use super::{Action, Attempt, KEPT_ANSWER_BYTES, Outcome, READ_ANSWER_BYTES, UnknownReason};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// With which a gzip begins, and no JSON.
const GZIP_BEGINS: &[u8] = b"\x1f\x8b";
/// How the reader says that a name stands twice.
const DUPLICATE_NAME: &str = "a name stands in it twice";

/// What makes an answer unreadable. It names a kind of mistake and nothing of the contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    #[error("it is longer than {} KiB", READ_ANSWER_BYTES / 1024)]
    TooLong,
    #[error("it is compressed in a way that is not gzip, though Accept-Encoding names identity alone")]
    Encoding,
    #[error("it begins as gzip and cannot be decompressed")]
    BrokenGzip,
    #[error("it is empty")]
    Empty,
    #[error("it is not UTF-8")]
    NotUtf8,
    #[error("it is a page of HTML")]
    Html,
    #[error("it is not JSON")]
    NotJson,
    #[error("it is not a JSON object")]
    NotAnObject,
    #[error("there is something after the JSON object")]
    TwoDocuments,
    #[error("a name stands in it twice")]
    DuplicateName,
    #[error("it has no status")]
    NoStatus,
    #[error("its status is neither a text nor a number of four digits")]
    Status,
    #[error("its userId or platformTxId is neither a text nor a number")]
    Echo,
}

/// An answer's bytes as they are read: without compression and byte order mark.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plain {
    pub body: Vec<u8>,
    pub was_gzip: bool,
    pub had_byte_order_mark: bool,
}

/// Takes off what lies around the JSON. `encoding` is the answer's `Content-Encoding`; gzip is known by its first bytes, with or without
/// that name.
///
/// # Errors
/// When it cannot be taken off.
pub fn plain(body: &[u8], encoding: Option<&str>) -> Result<Plain, Defect> {
    let was_gzip = body.starts_with(GZIP_BEGINS);
    let mut plain = if was_gzip {
        let mut decoded = Vec::new();
        // One byte more than may be read shows that there is more, whatever a small body swells to.
        let limit = READ_ANSWER_BYTES as u64 + 1;
        let read = flate2::read::MultiGzDecoder::new(body).take(limit).read_to_end(&mut decoded);
        if decoded.len() > READ_ANSWER_BYTES {
            return Err(Defect::TooLong);
        }
        read.map_err(|_| Defect::BrokenGzip)?;
        decoded
    } else {
        let is_named = |encoding: &str| {
            ["identity", "gzip", "x-gzip", ""]
                .iter()
                .any(|known| encoding.trim().eq_ignore_ascii_case(known))
        };
        let starts_as_json = body.trim_ascii_start().first() == Some(&b'{') || body.starts_with(BYTE_ORDER_MARK);
        if !starts_as_json && encoding.is_some_and(|encoding| !is_named(encoding)) {
            return Err(Defect::Encoding);
        }
        body.to_vec()
    };
    let had_byte_order_mark = plain.starts_with(BYTE_ORDER_MARK);
    if had_byte_order_mark {
        plain.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(Plain {
        body: plain,
        was_gzip,
        had_byte_order_mark,
    })
}

/// The fields of an answer that say something to us.
struct Answer<'a> {
    status: String,
    balance: Option<&'a RawValue>,
    user_id: Option<String>,
    platform_tx_id: Option<String>,
}

/// What stands in the object, by name, as it is written.
#[derive(Default)]
struct Fields<'a> {
    status: Option<&'a RawValue>,
    balance: Option<&'a RawValue>,
    user_id: Option<&'a RawValue>,
    platform_tx_id: Option<&'a RawValue>,
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let (mut fields, mut names) = (Fields::default(), HashSet::new());
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "status" => fields.status = Some(map.next_value()?),
                "balance" => fields.balance = Some(map.next_value()?),
                "userId" => fields.user_id = Some(map.next_value()?),
                "platformTxId" => fields.platform_tx_id = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
            if !names.insert(name) {
                return Err(A::Error::custom(DUPLICATE_NAME));
            }
        }
        Ok(fields)
    }
}

/// Reads what is unambiguous.
fn read(body: &[u8]) -> Result<Answer<'_>, Defect> {
    match body.trim_ascii_start().first() {
        None => return Err(Defect::Empty),
        Some(b'<') => return Err(Defect::Html),
        Some(_) => {}
    }
    // Only JSON's own white space may stand around it (RFC 8259, section 2), which the reader knows: a form feed does not.
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let fields = deserializer.deserialize_map(FieldsVisitor).map_err(|error| {
        if error.to_string().starts_with(DUPLICATE_NAME) {
            Defect::DuplicateName
        } else if error.is_data() {
            Defect::NotAnObject
        } else if std::str::from_utf8(body).is_err() {
            Defect::NotUtf8
        } else {
            Defect::NotJson
        }
    })?;
    deserializer.end().map_err(|_| Defect::TwoDocuments)?;
    Ok(Answer {
        status: status_text(fields.status.ok_or(Defect::NoStatus)?)?,
        balance: fields.balance,
        user_id: echoed(fields.user_id)?,
        platform_tx_id: echoed(fields.platform_tx_id)?,
    })
}

/// A status is a text, or a number of exactly four digits: 1018 is "1018", and 0 is no "0000".
fn status_text(raw: &RawValue) -> Result<String, Defect> {
    if raw.get() == "null" {
        return Err(Defect::NoStatus);
    }
    let is_four_digits = raw.get().len() == 4 && raw.get().bytes().all(|byte| byte.is_ascii_digit());
    if is_four_digits {
        return Ok(raw.get().to_owned());
    }
    serde_json::from_str(raw.get()).map_err(|_| Defect::Status)
}

/// Whom an answer names: a text, or a number as it is written.
fn echoed(raw: Option<&RawValue>) -> Result<Option<String>, Defect> {
    let Some(raw) = raw.map(RawValue::get).filter(|raw| *raw != "null") else {
        return Ok(None);
    };
    if raw.starts_with(|first: char| first.is_ascii_digit() || first == '-') {
        return Ok(Some(raw.to_owned()));
    }
    serde_json::from_str(raw).map(Some).map_err(|_| Defect::Echo)
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

/// What a complete answer with a 2xx status proves, once [`plain`].
///
/// # Errors
/// What makes it unreadable: nothing is proven.
pub fn outcome(action: Action, attempt: Attempt, subject: &Subject, body: &[u8]) -> Result<Outcome, Defect> {
    read(body).map(|answer| proven(action, attempt, subject, answer))
}

fn proven(action: Action, attempt: Attempt, subject: &Subject, answer: Answer<'_>) -> Outcome {
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

/// The beginning of an answer for the audit: text without NUL, in which our own certificate is masked, as it is and as a form or a JSON
/// text spells it.
pub fn kept(body: &[u8], certificate: &str) -> String {
    let mut text = String::from_utf8_lossy(body).replace('\0', "\u{fffd}");
    if !certificate.is_empty() {
        let of_form: String = url::form_urlencoded::byte_serialize(certificate.as_bytes()).collect();
        let quoted = serde_json::Value::from(certificate).to_string();
        let of_json = quoted
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            .unwrap_or(certificate);
        let escaped = of_json.replace('/', "\\/");
        for spelling in [certificate, of_form.as_str(), of_json, escaped.as_str()] {
            text = text.replace(spelling, "***");
        }
    }
    let end = (0..=KEPT_ANSWER_BYTES.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Duration;

    use super::*;
    use super::{Defect, plain};

    fn read(action: Action, body: &str) -> Outcome {
        let subject = Subject {
            user_id: Some("user1".into()),
            platform_tx_id: Some("bet-1".into()),
        };
        super::outcome(action, Attempt::first(Duration::from_secs(1)), &subject, body.as_bytes()).unwrap_or(Outcome::Unknown {
            reason: UnknownReason::Unreadable,
            status: None,
        })
    }

    fn defect(body: &[u8], encoding: Option<&str>) -> Option<Defect> {
        plain(body, encoding).and_then(|plain| super::read(&plain.body).map(drop)).err()
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text).expect("memory");
        encoder.finish().expect("memory")
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
    fn what_is_unambiguous_is_read_as_people_send_it() {
        let ok = br#"{"status":"0000","balance":1.5}"#;
        let with_mark = [BYTE_ORDER_MARK, ok].concat();
        for body in [
            ok.to_vec(),
            with_mark.clone(),
            [b"\r\n\t ", &ok[..], b"\n\n"].concat(),
            gzip(ok),
            gzip(&with_mark),
        ] {
            for encoding in [None, Some("gzip"), Some("GZIP"), Some("identity")] {
                assert_eq!(defect(&body, encoding), None, "{body:?} as {encoding:?}");
            }
        }
        let plain = plain(&gzip(&with_mark), Some("gzip")).expect("readable");
        assert_eq!((&plain.body[..], plain.was_gzip, plain.had_byte_order_mark), (&ok[..], true, true));
        assert_eq!(read(Action::Bet, r#"{"status":1018}"#), Outcome::Declined { status: "1018".into() });
        assert_eq!(
            read(
                Action::Bet,
                r#"{"status":"0000","platformTxId":"bet-1","userId":null,"desc":{"a":[1,{}]}}"#
            ),
            Outcome::Applied {
                balance: None,
                status: "0000".to_owned()
            }
        );
    }

    #[test]
    fn what_is_wrong_with_an_answer_is_named() {
        let bomb = gzip(&vec![b' '; 10 * READ_ANSWER_BYTES]);
        assert!(bomb.len() < READ_ANSWER_BYTES, "it fits on the wire");
        let broken = gzip(br#"{"status":"0000"}"#);
        for (body, encoding, expected) in [
            (&bomb[..], Some("gzip"), Defect::TooLong),
            (&broken[..broken.len() - 9], Some("gzip"), Defect::BrokenGzip),
            (b"\x8b\x02\x80", Some("br"), Defect::Encoding),
            (b" \n", None, Defect::Empty),
            (b"<!doctype html>", None, Defect::Html),
            (b"{\"status\":\"00\xff00\"}", None, Defect::NotUtf8),
            (b"status=0000", None, Defect::NotJson),
            (b"\x0c{\"status\":\"0000\"}", None, Defect::NotJson),
            (b"{\"status\":\"0000\"}\x0c", None, Defect::TwoDocuments),
            (b"{\"status\":0000}", None, Defect::NotJson),
            (b"[]", None, Defect::NotAnObject),
            (b"{\"status\":\"0000\"}{}", None, Defect::TwoDocuments),
            (b"{\"desc\":1,\"status\":\"0000\",\"desc\":2}", None, Defect::DuplicateName),
            (b"{\"Status\":\"0000\"}", None, Defect::NoStatus),
            (b"{\"status\":0}", None, Defect::Status),
            (b"{\"status\":10180}", None, Defect::Status),
            (b"{\"status\":-101}", None, Defect::Status),
            (b"{\"status\":1e33}", None, Defect::Status),
            (b"{\"status\":true}", None, Defect::Status),
            (b"{\"status\":\"0000\",\"userId\":{}}", None, Defect::Echo),
        ] {
            assert_eq!(defect(body, encoding), Some(expected), "{}", String::from_utf8_lossy(body));
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
        for echoed in [r#"{"cert":"a\/b+\"c"}"#, r#"a/b+"c"#, "cert=a%2Fb%2B%22c&x=1", r#"a/b+\"c"#] {
            let kept = kept(echoed.as_bytes(), r#"a/b+"c"#);
            assert!(kept.contains("***") && !kept.contains("b+") && !kept.contains("%2F"), "{kept}");
        }
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
