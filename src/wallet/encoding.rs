//! How `key` and `message` become a request body. Operators differ, so it is a setting of the agent.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::form_urlencoded;

/// The three bodies that operators take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyEncoding {
    /// `key=…&message=…`, form-urlencoded.
    #[default]
    Form,
    /// A JSON object whose `message` is a text.
    JsonString,
    /// A JSON object whose `message` is an object: the stored text as it is.
    JsonObject,
}

impl BodyEncoding {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Form, Self::JsonString, Self::JsonObject];

    /// The name in settings and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::JsonString => "json_string",
            Self::JsonObject => "json_object",
        }
    }

    /// The encoding of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|encoding| encoding.as_str() == name)
    }

    /// The `Content-Type` of the body.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Form => "application/x-www-form-urlencoded",
            Self::JsonString | Self::JsonObject => "application/json",
        }
    }

    /// The exact bytes of the body; they are what is signed and sent. An error means that `message` is not JSON.
    pub(super) fn body(self, key: &str, message: &str) -> Result<Vec<u8>, serde_json::Error> {
        match self {
            Self::Form => {
                let mut form = form_urlencoded::Serializer::new(String::with_capacity(message.len() * 2));
                Ok(form.append_pair("key", key).append_pair("message", message).finish().into_bytes())
            }
            Self::JsonString => serde_json::to_vec(&Body { key, message }),
            Self::JsonObject => serde_json::to_vec(&Body {
                key,
                message: serde_json::from_str::<&RawValue>(message)?,
            }),
        }
    }
}

#[derive(Serialize)]
struct Body<'a, M> {
    key: &'a str,
    message: M,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = r#"{"action":"bet","txns":[{"betAmount":10.00,"betTime":"2020-05-25T14:04:06.115+08:00"}]}"#;

    fn encoded(encoding: BodyEncoding) -> String {
        String::from_utf8(encoding.body("a&b", MESSAGE).expect("a JSON message")).expect("UTF-8")
    }

    #[test]
    fn a_form_escapes_what_would_be_read_otherwise() {
        let body = encoded(BodyEncoding::Form);
        assert!(body.starts_with("key=a%26b&message=%7B%22action%22"));
        assert!(body.contains("%2B08%3A00"), "an unescaped plus would be read as a space");
    }

    #[test]
    fn the_message_text_is_embedded_as_it_is() {
        assert_eq!(encoded(BodyEncoding::JsonObject), format!(r#"{{"key":"a&b","message":{MESSAGE}}}"#));
        let text: serde_json::Value = serde_json::from_str(&encoded(BodyEncoding::JsonString)).expect("JSON");
        assert_eq!(text["message"], MESSAGE);
    }
}
