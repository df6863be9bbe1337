//! A claim about a round as people and programs write it: text, still to be read.
//!
//! HTTP bodies and command line arguments both become a `RawClaim`, and `RawClaim::parse` is the one place that reads it. Its
//! error names the field, so that nobody has to search for a wrong character in five long seeds.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::fairness::{Commitment, HazardSeed, Nonce, ServerSeed, UserSeed};
use super::hazards::{Anchor, Epoch};
use super::proof::Claim;

/// The fields of a claim as they were written. A number may also stand as its decimal text.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RawClaim {
    #[serde(deserialize_with = "text_or_number")]
    pub server_seed: Option<String>,
    #[serde(deserialize_with = "text_or_number")]
    pub user_seed: Option<String>,
    #[serde(deserialize_with = "text_or_number")]
    pub nonce: Option<String>,
    #[serde(deserialize_with = "text_or_number")]
    pub hazard_seed: Option<String>,
    #[serde(deserialize_with = "text_or_number")]
    pub difficulty: Option<String>,
    #[serde(deserialize_with = "text_or_number")]
    pub hashed_server_seed: Option<String>,
    #[serde(deserialize_with = "text_or_number")]
    pub hazard_epoch: Option<String>,
    #[serde(deserialize_with = "text_or_number")]
    pub anchor: Option<String>,
}

/// The field of a claim that cannot be read, and why. It never repeats what was written, which may be a seed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct ClaimError {
    /// The field's name in JSON.
    pub field: &'static str,
    pub reason: String,
}

impl RawClaim {
    /// Reads every field. The error names the first that is missing or malformed.
    pub fn parse(&self) -> Result<Claim, ClaimError> {
        Ok(Claim {
            server_seed: required("serverSeed", &self.server_seed, ServerSeed::parse)?,
            user_seed: required("userSeed", &self.user_seed, UserSeed::parse)?,
            nonce: required("nonce", &self.nonce, Nonce::parse)?,
            hazard_seed: required("hazardSeed", &self.hazard_seed, HazardSeed::parse)?,
            difficulty: required("difficulty", &self.difficulty, str::parse)?,
            hashed_server_seed: optional("hashedServerSeed", &self.hashed_server_seed, Commitment::parse)?,
            hazard_epoch: optional("hazardEpoch", &self.hazard_epoch, str::parse::<Epoch>)?,
            anchor: optional("anchor", &self.anchor, Anchor::parse)?,
            publication: None,
            collision_columns: None,
            config_hash: None,
        })
    }
}

type Reader<T, E> = fn(&str) -> Result<T, E>;

fn required<T, E: ToString>(field: &'static str, text: &Option<String>, read: Reader<T, E>) -> Result<T, ClaimError> {
    optional(field, text, read)?.ok_or_else(|| ClaimError {
        field,
        reason: "is required".to_owned(),
    })
}

fn optional<T, E: ToString>(field: &'static str, text: &Option<String>, read: Reader<T, E>) -> Result<Option<T>, ClaimError> {
    text.as_deref().map(read).transpose().map_err(|error| ClaimError {
        field,
        reason: error.to_string(),
    })
}

/// Takes any JSON value as text and leaves the judgement to the field's own reader, which can name the field. A number keeps the
/// digits that it was written with, as far as JSON knows them: 1.0 and 1e3 are no integers here.
fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim_with(field: &str, value: Value) -> Result<Claim, ClaimError> {
        let mut document = serde_json::json!({
            "serverSeed": "a".repeat(64), "userSeed": "mine", "nonce": 7, "hazardSeed": "b".repeat(64), "difficulty": "EASY",
        });
        document[field] = value;
        serde_json::from_value::<RawClaim>(document).unwrap().parse()
    }

    #[test]
    fn a_nonce_may_be_a_number_or_its_text() {
        assert_eq!(claim_with("nonce", 12.into()).ok().map(|claim| claim.nonce.get()), Some(12));
        assert_eq!(claim_with("nonce", "12".into()).ok().map(|claim| claim.nonce.get()), Some(12));
        assert_eq!(
            claim_with("hazardEpoch", "5".into())
                .ok()
                .and_then(|claim| claim.hazard_epoch)
                .map(Epoch::number),
            Some(5)
        );
    }

    #[test]
    fn an_error_names_the_field_and_not_its_contents() {
        let wrong = [
            ("serverSeed", Value::from("SECRET")),
            ("userSeed", "a:b".into()),
            ("nonce", Value::from(-1)),
            ("nonce", serde_json::json!(1.0)),
            ("nonce", Value::Null),
            ("hazardSeed", true.into()),
            ("difficulty", "easy".into()),
            ("hashedServerSeed", serde_json::json!([])),
            ("hazardEpoch", "05".into()),
            ("anchor", serde_json::json!({})),
        ];
        for (field, value) in wrong {
            let error = claim_with(field, value).err().unwrap();
            assert_eq!(error.field, field);
            assert!(!error.to_string().contains("SECRET"));
        }
    }
}
