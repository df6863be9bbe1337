//! Request bodies: read with a limit and a deadline, then taken as JSON objects whose errors name the field. Nothing here
//! answers; a body that cannot be taken becomes a [`Problem`].

use std::{collections::BTreeMap, fmt, marker::PhantomData, time::Duration};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    dev::Payload,
    http::header,
    web::{Bytes, BytesMut},
};
use futures::{StreamExt, future::LocalBoxFuture};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::problem::{Code, Problem};

/// The largest body that is taken, in bytes.
pub const BODY_LIMIT_BYTES: usize = 16 * 1024;
/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(5);
/// The longest explanation that is sent back, in characters; a client's own text may be in it.
const DETAIL_LIMIT: usize = 240;
/// The highest lane number that any road can have.
const HIGHEST_LANE: u8 = 63;

/// A JSON object. Unknown fields are ignored; everything else that does not fit is refused by name.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Body<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = request.content_type().eq_ignore_ascii_case("application/json");
        let reading = read(request, payload);
        Box::pin(async move {
            if !is_json {
                return Err(Problem::new(Code::UnsupportedMediaType, "send Content-Type: application/json"));
            }
            parse(&reading.await?).map(Body)
        })
    }
}

/// The bytes of a body, at most [`BODY_LIMIT_BYTES`] of them and in good time.
pub fn read(request: &HttpRequest, payload: &mut Payload) -> impl Future<Output = Result<Bytes, Problem>> + 'static {
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let is_encoded = request
        .headers()
        .get(header::CONTENT_ENCODING)
        .is_some_and(|value| value != "identity");
    let payload = payload.take();
    async move {
        if is_encoded {
            return Err(Problem::new(Code::UnsupportedMediaType, "compressed bodies are not taken"));
        }
        if announced.is_some_and(|length: u64| length > BODY_LIMIT_BYTES as u64) {
            return Err(too_large());
        }
        match tokio::time::timeout(BODY_DEADLINE, collect(payload)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Problem::new(Code::RequestTimeout, "the body took too long to arrive")),
        }
    }
}

async fn collect(mut payload: Payload) -> Result<Bytes, Problem> {
    let mut whole = Bytes::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Problem::new(Code::ValidationFailed, "the body is incomplete"))?;
        if whole.len() + chunk.len() > BODY_LIMIT_BYTES {
            return Err(too_large());
        }
        // Most bodies come in one piece, which is taken as it is.
        if whole.is_empty() {
            whole = chunk;
        } else {
            let mut longer = BytesMut::from(whole);
            longer.extend_from_slice(&chunk);
            whole = longer.freeze();
        }
    }
    Ok(whole)
}

fn too_large() -> Problem {
    Problem::new(Code::PayloadTooLarge, format!("a body has at most {BODY_LIMIT_BYTES} bytes"))
}

/// Reads a JSON object into `T`; the error names the field where there is one.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // Once, and here: a field that is ignored would be let through whatever bytes it has.
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Err(Problem::new(Code::ValidationFailed, "the body is not UTF-8"));
    };
    // The derived readers would also take an array for an object, field by field in the order of the source.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(Problem::new(Code::ValidationFailed, "the body is not a JSON object"));
    }
    if has_nul(bytes) {
        refuse_nul(text)?;
    }
    // Only what cannot be read is read again, to find out where it went wrong.
    if let Ok(value) = serde_json::from_str(text) {
        return Ok(value);
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let field = error.path().to_string();
        let reason = shortened(&error.into_inner().to_string());
        // The reason names a missing field itself; "." stands for the whole object.
        if field == "." {
            Problem::new(Code::ValidationFailed, reason)
        } else {
            Problem::validation(&field, reason)
        }
    })?;
    deserializer
        .end()
        .map_err(|_| Problem::new(Code::ValidationFailed, "there is something after the JSON object"))?;
    Ok(value)
}

/// What is said of a text with a character that cannot be stored.
const NUL_REFUSED: &str = "contains the character U+0000";

/// Fields that are read letter by letter before anything is done with them, and refused under a code of their own.
const READ_STRICTLY: [&str; 3] = ["betAmount", "difficulty", "userSeed"];

/// PostgreSQL stores every character but this one, and no field of ours has a use for it.
fn refuse_nul(object: &str) -> Result<(), Problem> {
    // What is no object is refused for that, and here: whoever reads it next may be less strict.
    let fields = serde_json::from_str::<BTreeMap<String, &RawValue>>(object)
        .map_err(|error| Problem::new(Code::ValidationFailed, shortened(&error.to_string())))?;
    let holds_nul = |(name, value): &(&String, &&RawValue)| {
        name.contains('\0') || (has_nul(value.get().as_bytes()) && !READ_STRICTLY.contains(&name.as_str()))
    };
    match fields.iter().find(holds_nul) {
        Some((name, _)) => Err(Problem::validation(&shortened(&name.replace('\0', "\u{fffd}")), NUL_REFUSED)),
        None => Ok(()),
    }
}

/// Whether a JSON text holds the character U+0000, which it can write in one way only.
pub fn has_nul(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let escape = rest.get(at + 1..).unwrap_or_default();
        if escape.starts_with(b"u0000") {
            return true;
        }
        // The escaped character may be a backslash itself.
        rest = escape.get(1..).unwrap_or_default();
    }
    false
}

/// A JSON object of which no name stands twice: who sends one twice and who reads it may mean different ones.
#[derive(Debug)]
pub struct EachNameOnce<V>(pub BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for EachNameOnce<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Names<V> {
            type Value = EachNameOnce<V>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut known = BTreeMap::new();
                while let Some((name, value)) = entries.next_entry::<String, V>()? {
                    if known.insert(name, value).is_some() {
                        return Err(A::Error::custom("a name stands twice"));
                    }
                }
                Ok(EachNameOnce(known))
            }
        }
        deserializer.deserialize_map(Names(PhantomData))
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(DETAIL_LIMIT).collect()
}

/// A lane number of a request: 0 to 63.
pub fn lane<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let lane = u8::deserialize(deserializer)?;
    if lane > HIGHEST_LANE {
        return Err(D::Error::custom(format!(
            "invalid value: {lane}, expected a lane from 0 to {HIGHEST_LANE}"
        )));
    }
    Ok(lane)
}

/// The same where it may be left out.
pub fn optional_lane<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
    #[derive(Deserialize)]
    struct Lane(#[serde(deserialize_with = "lane")] u8);
    Ok(Option::<Lane>::deserialize(deserializer)?.map(|Lane(lane)| lane))
}

/// A name that may be left out. An empty text names nothing, and whoever sends it means something that it does not say.
pub fn optional_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let name = Option::<String>::deserialize(deserializer)?;
    match name {
        Some(name) if name.is_empty() => Err(D::Error::custom("invalid value: an empty text, expected a name or nothing")),
        name => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::{App, HttpResponse, test, web};

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Example {
        bet_amount: String,
        #[serde(deserialize_with = "lane")]
        line_number: u8,
        #[serde(default, deserialize_with = "optional_lane")]
        other_line: Option<u8>,
    }

    fn refusal(body: &str) -> String {
        parse::<Example>(body.as_bytes()).expect_err("refused").to_string()
    }

    #[::core::prelude::v1::test]
    fn unknown_fields_are_ignored_and_null_is_absent() {
        let example: Example = parse(br#" {"betAmount":"1.00","lineNumber":63,"otherLine":null,"more":{"x":1}}"#).expect("a good body");
        assert_eq!(
            (example.bet_amount.as_str(), example.line_number, example.other_line),
            ("1.00", 63, None)
        );
    }

    #[::core::prelude::v1::test]
    fn a_wrong_field_is_named() {
        assert!(refusal(r#"{"betAmount":1.00,"lineNumber":0}"#).starts_with("validation_failed: betAmount: invalid type"));
        for lane in ["-1", "1.0", "64", "256", "1e400", "99999999999999999999", "\"1\"", "null"] {
            let text = refusal(&format!(r#"{{"betAmount":"1","lineNumber":{lane}}}"#));
            assert!(text.starts_with("validation_failed: lineNumber"), "{lane}: {text}");
        }
        assert!(refusal(r#"{"betAmount":"1","lineNumber":1,"otherLine":-1}"#).starts_with("validation_failed: otherLine"));
        assert!(refusal(r#"{"betAmount":"1"}"#).contains("missing field `lineNumber`"));
        assert!(refusal(r#"{"betAmount":"1","betAmount":"2","lineNumber":1}"#).contains("duplicate field `betAmount`"));
    }

    #[::core::prelude::v1::test]
    fn what_is_not_an_object_is_refused() {
        for body in [
            "",
            "[\"1.00\",1]",
            "null",
            "\"x\"",
            "{",
            "{}{}",
            "{\"betAmount\":\"1\",\"lineNumber\":1} x",
        ] {
            assert!(refusal(body).starts_with("validation_failed"), "{body}");
        }
    }

    #[::core::prelude::v1::test]
    fn the_character_that_cannot_be_stored_is_refused_by_name() {
        let nul = ["\\", "u0000"].concat();
        let body = format!(r#"{{"betAmount":"1","currency":"IN{nul}R","lineNumber":1}}"#);
        assert_eq!(refusal(&body), "validation_failed: currency: contains the character U+0000");
        let strict = format!(r#"{{"betAmount":"1{nul}","lineNumber":1}}"#);
        assert!(parse::<Example>(strict.as_bytes()).is_ok(), "its own reader refuses it");
        assert!(refusal(&format!(r#"{{"betAmount":"1","lineNumber":1,"huge":1e400,"other":["{nul}"]}}"#)).contains("other"));
        assert!(refusal(&format!(r#"{{"betAmount":"1","lineNumber":1,"{nul}":1}}"#)).contains("U+0000"));
        let mut not_utf8 = format!(r#"{{"betAmount":"1{nul}","lineNumber":1,"other":"{nul}","ignored":"?"}}"#).into_bytes();
        *not_utf8.iter_mut().find(|byte| **byte == b'?').expect("a mark") = 0xff;
        let refused = parse::<Example>(&not_utf8).expect_err("refused").to_string();
        assert_eq!(refused, "validation_failed: the body is not UTF-8");
        // A backslash that is escaped itself escapes nothing.
        let harmless = format!(r#"{{"betAmount":"\\{nul}","lineNumber":1}}"#, nul = "\\u0000");
        assert!(parse::<Example>(harmless.as_bytes()).is_ok(), "{harmless}");
    }

    #[::core::prelude::v1::test]
    fn a_name_stands_once() {
        let read = |json: &str| serde_json::from_str::<EachNameOnce<u8>>(json).map(|names| names.0.len()).ok();
        assert_eq!(read(r#"{"a":1,"b":2}"#), Some(2));
        for twice in [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#, "[1]"] {
            assert_eq!(read(twice), None, "{twice}");
        }
    }

    async fn answer(request: test::TestRequest) -> u16 {
        let handler = |_: Body<Example>| async { HttpResponse::Ok().finish() };
        let app = test::init_service(App::new().route("/", web::post().to(handler))).await;
        test::call_service(&app, request.uri("/").to_request()).await.status().as_u16()
    }

    #[actix_web::test]
    async fn type_and_size_are_checked() {
        let good = r#"{"betAmount":"1.00","lineNumber":1}"#;
        let post = || test::TestRequest::post().insert_header(("content-type", "application/json; charset=utf-8"));
        assert_eq!(answer(post().set_payload(good)).await, 200);
        assert_eq!(answer(test::TestRequest::post().set_payload(good)).await, 415);
        assert_eq!(
            answer(
                test::TestRequest::post()
                    .insert_header(("content-type", "text/plain"))
                    .set_payload(good)
            )
            .await,
            415
        );
        assert_eq!(
            answer(post().insert_header(("content-encoding", "gzip")).set_payload(good)).await,
            415
        );
        let padded = |bytes: usize| format!("{good}{}", " ".repeat(bytes - good.len()));
        assert_eq!(answer(post().set_payload(padded(BODY_LIMIT_BYTES))).await, 200);
        assert_eq!(answer(post().set_payload(padded(BODY_LIMIT_BYTES + 1))).await, 413);
    }
}
