//! The optional signature of a body: `X-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256(secret, t + "." + body)>`.

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// The header's name.
pub(crate) const SIGNATURE_HEADER: &str = "X-Signature";

/// The header's value for exactly these bytes.
pub(crate) fn signature(secret: &SecretString, at: DateTime<Utc>, body: &[u8]) -> String {
    let unix = at.timestamp().to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).expect("HMAC takes a key of any length");
    mac.update(unix.as_bytes());
    mac.update(b".");
    mac.update(body);
    format!("t={unix},v1={}", hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_mac_of_time_dot_body() {
        let at = DateTime::from_timestamp(1_700_000_000, 999_000_000).expect("a time");
        // printf '1700000000.key=a' | openssl dgst -sha256 -hmac secret
        let expected = "t=1700000000,v1=f66e2185e567e136e1d2551ef23d2565a00b8d97455d4ab005c52ab525f21580";
        assert_eq!(signature(&SecretString::from("secret"), at, b"key=a"), expected);
    }
}
