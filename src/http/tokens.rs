//! Session tokens: JWTs signed with HS256 and nothing else. The cryptography under the JWT library is ours and knows this one
//! algorithm, so no header can choose another; the expiry is held against the server's clock, not the library's. A token that was
//! found to be ours is remembered for a while, so that a player who steps on does not have it verified again each time.

use std::sync::Arc;

use actix_web::web;
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{Error as SignatureError, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::clock::Clock;
use crate::game::player::{AgentId, PlayerId, UserId};
use crate::play::context::Player;
use crate::play::refusal::Refusal;

/// Far longer than any token of ours, in bytes.
const LONGEST_TOKEN: usize = 2_048;
/// So many verified tokens are remembered, those that were used last: about two megabytes.
const REMEMBERED_TOKENS: usize = 4_096;

/// Issues and reads session tokens with one key. It has no `Debug`: it holds the key.
pub struct SessionTokens {
    signing_key: EncodingKey,
    reading_key: DecodingKey,
    validation: Validation,
    clock: Clock,
    ttl_s: u64,
    /// By the whole token: another signature, or another letter anywhere, is another token.
    verified: Cache<String, Arc<Verified>>,
}

/// What a token of ours says.
struct Verified {
    player: Arc<Player>,
    /// In seconds since 1970.
    expires_at_s: i64,
}

/// What a token says. All of it is required.
#[derive(Serialize, Deserialize)]
struct Claims {
    sub: UserId,
    agent: AgentId,
    currency: String,
    generation: u64,
    /// Issued and expires, in seconds since 1970.
    iat: i64,
    exp: i64,
}

impl SessionTokens {
    /// Tokens that live for `ttl_s` seconds.
    pub fn new(key: &[u8], ttl_s: u64, clock: Clock) -> Self {
        // Whoever comes second finds the same provider installed, which is as good.
        let _installed_before = HS256_ONLY.install_default();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        Self {
            signing_key: EncodingKey::from_secret(key),
            reading_key: DecodingKey::from_secret(key),
            validation,
            clock,
            ttl_s,
            verified: Cache::new(REMEMBERED_TOKENS),
        }
    }

    /// A token for `player`, from now on.
    pub fn issue(&self, player: &Player) -> String {
        let now_s = self.clock.now().timestamp();
        let claims = Claims {
            sub: player.id.user_id.clone(),
            agent: player.id.agent_id.clone(),
            currency: player.currency.clone(),
            generation: player.generation,
            iat: now_s,
            exp: now_s.saturating_add_unsigned(self.ttl_s),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing_key).expect("plain claims can be signed")
    }

    /// The player whom a token names.
    ///
    /// # Errors
    /// `Unauthenticated` for whatever is not a token of ours, `TokenExpired` for one of ours that is too old.
    pub fn read(&self, token: &str) -> Result<Arc<Player>, Refusal> {
        if token.len() > LONGEST_TOKEN {
            return Err(Refusal::Unauthenticated);
        }
        let verified = match self.verified.get(token) {
            Some(remembered) => remembered,
            None => self.verify(token)?,
        };
        if verified.expires_at_s <= i64::try_from(self.clock.now_unix_ms() / 1_000).unwrap_or(i64::MAX) {
            return Err(Refusal::TokenExpired);
        }
        Ok(Arc::clone(&verified.player))
    }

    /// Verifies a token whenever it expires, and remembers it if it is ours.
    fn verify(&self, token: &str) -> Result<Arc<Verified>, Refusal> {
        let read = jsonwebtoken::decode::<Claims>(token, &self.reading_key, &self.validation);
        let claims = read.map_err(|_| Refusal::Unauthenticated)?.claims;
        let verified = Arc::new(Verified {
            player: Arc::new(Player {
                id: PlayerId {
                    agent_id: claims.agent,
                    user_id: claims.sub,
                },
                currency: claims.currency,
                generation: claims.generation,
            }),
            expires_at_s: claims.exp,
        });
        self.verified.insert(token.to_owned(), Arc::clone(&verified));
        Ok(verified)
    }
}

/// HMAC-SHA256 and refusals for everything else. Key files (JWK) are not used.
static HS256_ONLY: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| match algorithm {
        Algorithm::HS256 => Ok(Box::new(Hs256(keyed(key.as_bytes())?)) as Box<dyn JwtSigner>),
        _ => Err(Error::from(ErrorKind::UnsupportedAlgorithm)),
    },
    verifier_factory: |algorithm, key| match algorithm {
        Algorithm::HS256 => Ok(Box::new(Hs256(keyed(key.try_get_as_bytes()?)?)) as Box<dyn JwtVerifier>),
        _ => Err(Error::from(ErrorKind::UnsupportedAlgorithm)),
    },
    key_utils: KeyUtils::new_unimplemented(),
};

struct Hs256(Hmac<Sha256>);

fn keyed(key: &[u8]) -> Result<Hmac<Sha256>, Error> {
    Hmac::new_from_slice(key).map_err(|_| Error::from(ErrorKind::InvalidKeyFormat))
}

impl Hs256 {
    fn code(&self, message: &[u8]) -> Vec<u8> {
        self.0.clone().chain_update(message).finalize().into_bytes().to_vec()
    }
}

impl Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        Ok(self.code(message))
    }
}

impl Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        let is_equal = self.code(message).ct_eq(signature);
        if bool::from(is_equal) { Ok(()) } else { Err(SignatureError::new()) }
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

/// The tokens as handlers are handed them.
pub type Tokens = web::Data<SessionTokens>;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const KEY: &[u8] = b"a key that only this test uses..";

    fn tokens_at(offset_ms: i64) -> SessionTokens {
        SessionTokens::new(KEY, 60, Clock::with_offset_ms(offset_ms))
    }

    fn player() -> Player {
        Player {
            id: PlayerId {
                agent_id: AgentId::parse("agent456").expect("an agent's id"),
                user_id: UserId::parse("user123").expect("a user's id"),
            },
            currency: "INR".to_owned(),
            generation: 7,
        }
    }

    fn claims() -> Value {
        let exp = Clock::default().now().timestamp() + 60;
        json!({"sub": "user123", "agent": "agent456", "currency": "INR", "generation": 7, "iat": 0, "exp": exp})
    }

    fn signed(claims: &Value, key: &[u8]) -> String {
        jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(key)).expect("signed")
    }

    #[test]
    fn a_token_names_its_player_until_it_expires() {
        let token = tokens_at(0).issue(&player());
        let read = tokens_at(0).read(&token).expect("a fresh token");
        assert_eq!(*read, player());
        assert!(tokens_at(30_000).read(&token).is_ok());
        assert_eq!(tokens_at(61_000).read(&token).err(), Some(Refusal::TokenExpired));
    }

    #[test]
    fn only_our_signature_counts() {
        let tokens = tokens_at(0);
        let good = signed(&claims(), KEY);
        // Once verified, and once remembered.
        assert!(tokens.read(&good).is_ok() && tokens.read(&good).is_ok());
        let (message, signature) = good.rsplit_once('.').expect("three parts");
        let (header, payload) = message.split_once('.').expect("two parts");
        let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
        let hs512 = "eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9";
        let other_payload = signed(&json!({"sub": "other"}), KEY);
        let other_payload = other_payload.split('.').nth(1).expect("a payload");
        for forged in [
            signed(&claims(), b"another key"),
            format!("{none}.{payload}."),
            format!("{none}.{payload}.{signature}"),
            format!("{hs512}.{payload}.{signature}"),
            format!("{header}.{payload}."),
            format!("{header}.{payload}.{}", &signature[..signature.len() - 2]),
            format!("{header}.{other_payload}.{signature}"),
            format!("{good}.x"),
            String::new(),
            "..".to_owned(),
            "x".repeat(LONGEST_TOKEN + 1),
        ] {
            assert_eq!(tokens.read(&forged).err(), Some(Refusal::Unauthenticated), "{forged}");
        }
    }

    #[test]
    fn a_remembered_token_expires_as_well() {
        let token = tokens_at(0).issue(&player());
        let an_hour_later = tokens_at(3_600_000);
        assert!(an_hour_later.verify(&token).is_ok(), "it is ours, and remembered");
        assert!(an_hour_later.verified.get(&token).is_some());
        assert_eq!(an_hour_later.read(&token).err(), Some(Refusal::TokenExpired));
    }

    #[test]
    fn every_claim_is_required_and_checked() {
        for claim in ["sub", "agent", "currency", "generation", "iat", "exp"] {
            let mut claims = claims();
            claims.as_object_mut().expect("an object").remove(claim);
            assert_eq!(
                tokens_at(0).read(&signed(&claims, KEY)).err(),
                Some(Refusal::Unauthenticated),
                "{claim}"
            );
        }
        for (claim, value) in [
            ("exp", json!("soon")),
            ("exp", json!(1e30)),
            ("sub", json!("NOT ONE")),
            ("agent", json!("")),
            ("generation", json!(-1)),
        ] {
            let mut claims = claims();
            claims[claim] = value;
            assert_eq!(
                tokens_at(0).read(&signed(&claims, KEY)).err(),
                Some(Refusal::Unauthenticated),
                "{claim}"
            );
        }
    }

    #[test]
    fn the_signature_is_the_standard_one() {
        drop(tokens_at(0));
        let message = b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ";
        let key = EncodingKey::from_secret(b"your-256-bit-secret");
        let signature = jsonwebtoken::crypto::sign(message, &key, Algorithm::HS256).expect("signed");
        assert_eq!(signature, "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c");
        assert!(jsonwebtoken::crypto::sign(message, &key, Algorithm::HS512).is_err());
    }
}
