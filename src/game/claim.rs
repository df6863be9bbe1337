//! A claim about a round: as people and programs write it, and as it was read.
//!
//! HTTP bodies and command line arguments both become a `RawClaim`, and `RawClaim::parse` is the one place that reads it. Its
//! error names the field, so that nobody has to search for a wrong character in five long seeds. Every field that a claim may
//! have is read here and checked by `proof::verify`; a name that is not one of them is refused, because what is ignored would
//! look as if it had been checked.

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Number, Value};

use super::difficulty::Difficulty;
use super::fairness::{Commitment, HazardSeed, Nonce, ServerSeed, UserSeed};
use super::hazards::{Anchor, Epoch};
use super::money::{Amount, Coefficient, MOST_DECIMAL_PLACES};
use super::round::EndReason;

/// What is claimed of a round. It holds a server seed and therefore has no `Debug`.
#[derive(Clone)]
pub struct Claim {
    pub server_seed: ServerSeed,
    pub user_seed: UserSeed,
    pub nonce: Nonce,
    pub hazard_seed: HazardSeed,
    pub difficulty: Difficulty,
    /// The commitment that was shown before the bet.
    pub hashed_server_seed: Option<Commitment>,
    /// The epoch that the bet named.
    pub hazard_epoch: Option<Epoch>,
    /// The anchor of the epoch's day.
    pub anchor: Option<Anchor>,
    /// What was really published for the epoch's day, as far as the verifier knows.
    pub published: Published,
    /// The collision columns that were shown after the round.
    pub collision_columns: Option<Vec<u8>>,
    /// The SHA-256 of the configuration that the round names.
    pub config_hash: Option<String>,
    /// How the round ended and what it paid.
    pub end: ClaimedEnd,
    /// Whether the round's record says that the player made the user seed for this bet.
    pub user_seed_fresh: Option<bool>,
    /// The same, as the verifier's own record has it; no seed tells it.
    pub recorded_fresh: Option<bool>,
}

/// How a round is said to have ended. Amounts are texts of the right form: their currency says how many decimals they have.
#[derive(Clone, Default, Debug)]
pub struct ClaimedEnd {
    pub bet_amount: Option<String>,
    pub currency: Option<String>,
    pub last_lane: Option<i16>,
    pub reason: Option<EndReason>,
    pub win_amount: Option<String>,
    pub coefficient: Option<Coefficient>,
}

/// What a verifier knows of the anchors that were published.
#[derive(Clone, Debug)]
pub enum Published {
    /// Nothing: it cannot ask.
    Unknown,
    /// For the epoch's day there was none.
    Never,
    /// It trusts that this is the day's anchor, and may know when it was published, in Unix milliseconds. Late is reported,
    /// and is not wrong.
    Anchor { anchor: Anchor, at_unix_ms: Option<u64> },
}

/// The fields of a claim as they were written. Null and absent say the same. A text is a JSON text: what a number says could be
/// hashed in several spellings.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RawClaim {
    pub server_seed: Option<String>,
    pub user_seed: Option<String>,
    /// Whether the player made the user seed for this bet. Only a record can tell, so that it is for the caller to check.
    pub user_seed_fresh: Option<bool>,
    /// A JSON integer, or its decimal text.
    #[serde(deserialize_with = "integer_or_its_text")]
    pub nonce: Option<String>,
    pub hazard_seed: Option<String>,
    pub difficulty: Option<String>,
    pub hashed_server_seed: Option<String>,
    /// A JSON integer, or its decimal text.
    #[serde(deserialize_with = "integer_or_its_text")]
    pub hazard_epoch: Option<String>,
    pub anchor: Option<String>,
    pub collision_columns: Option<Vec<u8>>,
    /// Which configuration the caller is to check under.
    pub config_version: Option<i32>,
    pub config_hash: Option<String>,
    pub bet_amount: Option<String>,
    pub currency: Option<String>,
    pub last_lane: Option<i16>,
    pub end_reason: Option<String>,
    pub win_amount: Option<String>,
    pub coeff: Option<String>,
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
            published: Published::Unknown,
            collision_columns: self.collision_columns.clone(),
            config_hash: optional("configHash", &self.config_hash, config_hash)?,
            end: ClaimedEnd {
                bet_amount: optional("betAmount", &self.bet_amount, decimal)?,
                currency: optional("currency", &self.currency, |text| Ok::<_, String>(text.to_owned()))?,
                last_lane: self.last_lane,
                reason: optional("endReason", &self.end_reason, EndReason::parse)?,
                win_amount: optional("winAmount", &self.win_amount, decimal)?,
                coefficient: optional("coeff", &self.coeff, Coefficient::parse)?,
            },
            user_seed_fresh: self.user_seed_fresh,
            recorded_fresh: None,
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

/// A hash is compared as text, so that it has one spelling.
fn config_hash(text: &str) -> Result<String, &'static str> {
    let is_hash = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let refusal = "a configuration's hash is 64 lower-case hexadecimal characters";
    if is_hash { Ok(text.to_owned()) } else { Err(refusal) }
}

/// An amount by its form alone: how many decimals it may have is for its currency to say.
fn decimal(text: &str) -> Result<String, super::money::MoneyError> {
    Amount::parse(text, MOST_DECIMAL_PLACES).map(|_| text.to_owned())
}

/// An integer's digits as they were written, from a number or a text. What JSON writes with a point or an exponent is no integer
/// here: 1e2 would be hashed in another spelling than it has.
fn integer_or_its_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        Value::Number(number) if is_integer(&number) => Ok(Some(number.to_string())),
        _ => Err(D::Error::custom("invalid type: expected an integer, or its decimal text")),
    }
}

fn is_integer(number: &Number) -> bool {
    number.is_u64() || number.is_i64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document_with(field: &str, value: Value) -> Value {
        let mut document = json!({
            "serverSeed": "a".repeat(64), "userSeed": "mine", "nonce": 7, "hazardSeed": "b".repeat(64), "difficulty": "EASY",
        });
        document[field] = value;
        document
    }

    fn claim_with(field: &str, value: Value) -> Result<Claim, ClaimError> {
        serde_json::from_value::<RawClaim>(document_with(field, value)).unwrap().parse()
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
            ("userSeed", "".into()),
            ("nonce", Value::from(-1)),
            ("nonce", "1e2".into()),
            ("nonce", "NaN".into()),
            ("nonce", "007".into()),
            ("nonce", Value::Null),
            ("difficulty", "easy".into()),
            ("hazardEpoch", "05".into()),
            ("anchor", "ab".into()),
            ("configHash", "A".repeat(64).into()),
            ("betAmount", "1e1".into()),
            ("betAmount", "NaN".into()),
            ("winAmount", "-1.00".into()),
            ("coeff", "Infinity".into()),
            ("endReason", "WIN".into()),
        ];
        for (field, value) in wrong {
            let error = claim_with(field, value.clone())
                .err()
                .unwrap_or_else(|| panic!("{field}: {value} was read"));
            assert_eq!(error.field, field);
            assert!(!error.to_string().contains("SECRET"));
        }
    }

    #[test]
    fn a_value_of_another_type_and_a_name_that_is_none_are_refused() {
        let wrong = [
            ("userSeed", json!(1e2)),
            ("userSeed", json!(100)),
            ("serverSeed", json!([])),
            ("hazardSeed", true.into()),
            ("anchor", json!({})),
            ("nonce", json!(1.0)),
            ("nonce", json!(1e2)),
            ("nonce", json!([7])),
            ("hazardEpoch", json!(5.5)),
            ("collisionColumns", json!("3,8")),
            ("collisionColumns", json!([3.0])),
            ("collisionColumns", json!([-1])),
            ("configVersion", json!("1")),
            ("betAmount", json!(10)),
            ("lastLane", json!("2")),
            ("lastLane", json!(1e0)),
            ("coeff", json!(1.01)),
            ("userSeedFresh", json!("true")),
            ("roundKey", json!("ab")),
            ("hashedserverseed", json!("ab")),
        ];
        for (field, value) in wrong {
            let read = serde_json::from_value::<RawClaim>(document_with(field, value.clone()));
            assert!(read.is_err(), "{field}: {value} was read");
        }
        let twice = r#"{"nonce":1,"nonce":1}"#;
        assert!(serde_json::from_str::<RawClaim>(twice).is_err_and(|error| error.to_string().contains("duplicate field `nonce`")));
    }
}
