//! What goes back over the wire.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use super::amount::Amount4;
use super::book::Answer;

/// What goes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// HTTP 200 with this text.
    Text(String),
    /// HTTP 200 with this text in gzip.
    Gzip(String),
    /// This HTTP status.
    Status(u16),
    /// The connection is closed.
    Nothing,
}

/// An answer's fields; the balance is written digit for digit.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct AnswerBody<'a> {
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    balance: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    balance_ts: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    desc: Option<&'a str>,
}

impl AnswerBody<'_> {
    fn reply(&self) -> Reply {
        Reply::Text(serde_json::to_string(self).expect("an answer is JSON"))
    }
}

/// The answer to a transaction.
pub(super) fn written(answer: &Answer) -> Reply {
    let (balance, balance_ts) = answer
        .balance
        .as_ref()
        .map(|(balance, at)| (literal(*balance), at.as_str()))
        .unzip();
    AnswerBody {
        status: &answer.status,
        balance,
        balance_ts,
        ..AnswerBody::default()
    }
    .reply()
}

/// The answer to getBalance.
pub(super) fn balance_answer(user_id: &str, balance: Amount4, now: &str) -> Reply {
    AnswerBody {
        status: "0000",
        user_id: Some(user_id),
        balance: Some(literal(balance)),
        balance_ts: Some(now),
        desc: None,
    }
    .reply()
}

/// A status that comes with an explanation and no balance.
pub(super) fn status_with(status: &str, desc: &str) -> Reply {
    AnswerBody {
        status,
        desc: Some(desc),
        ..AnswerBody::default()
    }
    .reply()
}

/// The same answer, but about somebody else.
pub(super) fn with_wrong_id(reply: Reply) -> Reply {
    let Reply::Text(text) = &reply else { return reply };
    let Ok(mut fields) = serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(text) else {
        return reply;
    };
    for name in ["userId", "platformTxId"] {
        fields.insert(
            name.to_owned(),
            RawValue::from_string("\"somebodyelse\"".into()).expect("a JSON text"),
        );
    }
    Reply::Text(serde_json::to_string(&fields).expect("fields are JSON"))
}

fn literal(amount: Amount4) -> Box<RawValue> {
    RawValue::from_string(amount.to_string()).expect("an amount is a JSON number")
}
