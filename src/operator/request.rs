//! The three body encodings, undone. The message is kept as the exact text that the caller wrote.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::form_urlencoded;

/// A callback's two fields.
pub(super) struct Request {
    pub key: String,
    pub message: String,
    pub encoding: Encoding,
}

/// How they were packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Encoding {
    Form,
    JsonString,
    JsonObject,
}

/// Undoes the encoding that the content type names; the error says what is wrong.
pub(super) fn read(content_type: &str, body: &[u8]) -> Result<Request, &'static str> {
    match content_type.split(';').next().unwrap_or_default().trim() {
        "application/x-www-form-urlencoded" => read_form(body),
        "application/json" => read_json(body),
        _ => Err("the content type is neither a form nor JSON"),
    }
}

fn read_form(body: &[u8]) -> Result<Request, &'static str> {
    let (mut key, mut message) = (None, None);
    for (name, value) in form_urlencoded::parse(body) {
        let field = match name.as_ref() {
            "key" => &mut key,
            "message" => &mut message,
            _ => return Err("a form has the fields key and message"),
        };
        if field.replace(value.into_owned()).is_some() {
            return Err("a field occurs twice");
        }
    }
    match (key, message) {
        (Some(key), Some(message)) => Ok(Request {
            key,
            message,
            encoding: Encoding::Form,
        }),
        _ => Err("key or message is missing"),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonBody<'a> {
    key: String,
    #[serde(borrow)]
    message: &'a RawValue,
}

fn read_json(body: &[u8]) -> Result<Request, &'static str> {
    let body: JsonBody<'_> = serde_json::from_slice(body).map_err(|_| "the body is not a JSON object of key and message")?;
    if let Ok(message) = serde_json::from_str::<String>(body.message.get()) {
        return Ok(Request {
            key: body.key,
            message,
            encoding: Encoding::JsonString,
        });
    }
    Ok(Request {
        key: body.key,
        message: body.message.get().to_owned(),
        encoding: Encoding::JsonObject,
    })
}
