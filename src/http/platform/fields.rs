//! The fields of an operator's request: form-urlencoded or a JSON object, every value a text. An empty value and "-", which
//! some platforms send for "nothing", are told apart from an absent one.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{Denied, Status};
use crate::{game::player::UserId, http::body::EachNameOnce};

/// What every request of an operator carries.
#[derive(ToSchema)]
#[schema(as = PlatformRequest, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the body that Fields reads")]
pub struct Signature {
    /// The agent's certificate.
    cert: String,
    agent_id: String,
}

/// Names and values, each name once.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fields(BTreeMap<String, String>);

impl Fields {
    /// Reads a body by its content type.
    ///
    /// # Errors
    /// 1036 for another type, a body that is not what it says, a name that stands twice, or a value with a character that cannot
    /// be stored (U+0000).
    pub fn parse(content_type: &str, body: &[u8]) -> Result<Self, Denied> {
        let fields = if content_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            Self::from_form(body)
        } else if content_type.eq_ignore_ascii_case("application/json") {
            Self::from_json(body)
        } else {
            Err(Denied::about(Status::InvalidParameters, "Content-Type"))
        }?;
        if fields.0.values().any(|value| value.contains('\0')) {
            return Err(Status::InvalidParameters.into());
        }
        Ok(fields)
    }

    fn from_form(body: &[u8]) -> Result<Self, Denied> {
        let mut fields = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(body) {
            if fields.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(Status::InvalidParameters.into());
            }
        }
        Ok(Self(fields))
    }

    /// Texts as they are, null as absent, everything else as its JSON text.
    fn from_json(body: &[u8]) -> Result<Self, Denied> {
        let EachNameOnce(object): EachNameOnce<&RawValue> =
            serde_json::from_slice(body).map_err(|_| Denied::from(Status::InvalidParameters))?;
        let texts = object
            .into_iter()
            .filter(|(_, value)| value.get() != "null")
            .map(|(name, value)| (name, text(value)));
        Ok(Self(texts.collect()))
    }

    /// A value that must be there and say something.
    ///
    /// # Errors
    /// 1036 where it is absent, 1056 where it is empty.
    pub fn required(&self, name: &'static str) -> Result<&str, Denied> {
        let value = self
            .0
            .get(name)
            .ok_or_else(|| Denied::about(Status::InvalidParameters, name))?
            .trim();
        if is_empty(value) {
            Err(Denied::about(Status::ParameterEmpty, name))
        } else {
            Ok(value)
        }
    }

    /// A value that may be left out, or sent empty to say the same.
    pub fn optional(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !is_empty(value))
    }

    /// Whether a value was sent at all.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The field `userId`.
    ///
    /// # Errors
    /// 1036, 1056, or 1000 where it names nobody.
    pub fn user_id(&self) -> Result<UserId, Denied> {
        UserId::parse(self.required("userId")?).map_err(|_| Status::InvalidUserId.into())
    }

    /// The field `language`: letters, digits, `-` and `_`, at most 10.
    ///
    /// # Errors
    /// 1036 for any other text.
    pub fn language(&self) -> Result<Option<&str>, Denied> {
        let is_sane = |text: &str| text.len() <= 10 && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_".contains(&c));
        match self.optional("language") {
            Some(text) if !is_sane(text) => Err(Denied::about(Status::InvalidParameters, "language")),
            language => Ok(language),
        }
    }
}

/// A JSON value as the text that a form would have carried.
pub fn text(value: &RawValue) -> String {
    serde_json::from_str::<String>(value.get()).unwrap_or_else(|_| value.get().to_owned())
}

fn is_empty(value: &str) -> bool {
    value.is_empty() || value == "-"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_and_json_say_the_same() {
        let form = Fields::parse(
            "application/x-www-form-urlencoded",
            b"cert=a%2Bb&agentId=agent456&betLimit=%7B%22a%22%3A1%7D&active=true",
        );
        let json = Fields::parse(
            "application/json",
            br#"{"cert":"a+b","agentId":"agent456","betLimit":{"a":1},"active":true,"none":null}"#,
        );
        assert_eq!(form, json);
        assert_eq!(form.expect("fields").required("betLimit"), Ok(r#"{"a":1}"#));
    }

    #[test]
    fn absent_and_empty_are_told_apart() {
        let fields = Fields::parse("application/x-www-form-urlencoded", b"userId=-&language=&cert=+").expect("a form");
        assert_eq!(fields.user_id().map_err(|denied| denied.code()), Err("1056"));
        assert_eq!(fields.required("cert").map_err(|denied| denied.code()), Err("1056"));
        assert_eq!(fields.required("agentId").map_err(|denied| denied.code()), Err("1036"));
        assert_eq!(fields.language(), Ok(None));
    }

    #[test]
    fn wrong_bodies_and_names_are_refused() {
        let code = |kind: &str, body: &str| Fields::parse(kind, body.as_bytes()).map_err(|denied| denied.code());
        assert_eq!(code("text/plain", "a=b"), Err("1036"));
        assert_eq!(code("application/json", "[1]"), Err("1036"));
        assert_eq!(code("application/x-www-form-urlencoded", "cert=a&cert=b"), Err("1036"));
        assert_eq!(code("application/json", r#"{"cert":"a","cert":"a"}"#), Err("1036"));
        assert_eq!(code("application/x-www-form-urlencoded", "currency=IN%00R"), Err("1036"));
        assert_eq!(
            code("application/json", &["{\"currency\":\"IN", "\\", "u0000R\"}"].concat()),
            Err("1036")
        );
        let fields = Fields::parse("application/json", br#"{"userId":"Not One","language":"<b>"}"#).expect("fields");
        assert_eq!(fields.user_id().map_err(|denied| denied.code()), Err("1000"));
        assert_eq!(fields.language().map_err(|denied| denied.code()), Err("1036"));
    }
}
