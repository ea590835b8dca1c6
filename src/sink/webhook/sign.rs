//! Standard Webhooks: the secret, and the signature of one request.
//!
//! The rules are those of the Standard Webhooks specification, section "Signature scheme", symmetric signatures (`v1`): HMAC-SHA256
//! over `id.timestamp.body` with the bytes that follow `whsec_` in base64.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::Sha256;

/// The bytes a key must have at least.
pub const KEY_BYTES_MIN: usize = 24;

/// A shared secret as the pipeline file has it: `whsec_` and base64. Nothing prints it.
///
/// Reading it from a file never fails, because errors of a parser show the line they are about; [`Secret::signer`] says what is wrong.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// Why a secret cannot be used. No message contains any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The prefix is missing.
    #[error("does not start with whsec_")]
    NoPrefix,
    /// What follows is not base64.
    #[error("is not base64 (standard alphabet, padded) after whsec_")]
    NotBase64,
    /// Too little to be safe.
    #[error("has {0} bytes, fewer than {KEY_BYTES_MIN}")]
    TooShort(usize),
}

/// Signs requests with one key.
#[derive(Clone)]
pub struct Signer(Hmac<Sha256>);

impl Secret {
    /// A secret from its text form.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The key, ready to sign.
    pub fn signer(&self) -> Result<Signer, SecretError> {
        let text = self.0.strip_prefix("whsec_").ok_or(SecretError::NoPrefix)?;
        let key = BASE64.decode(text).map_err(|_| SecretError::NotBase64)?;
        if key.len() < KEY_BYTES_MIN {
            return Err(SecretError::TooShort(key.len()));
        }
        // HMAC takes keys of every length; the error is the trait's, not the algorithm's.
        Hmac::new_from_slice(&key).map(Signer).map_err(|_| SecretError::TooShort(key.len()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("whsec_***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("whsec_***")
    }
}

impl Signer {
    /// The value of `webhook-signature` for a request sent at `unix_seconds`.
    pub fn sign(&self, id: &str, unix_seconds: u64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(format!("{id}.{unix_seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(***)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The example that the specification and its reference libraries share.
    #[test]
    fn the_published_example_has_the_published_signature() {
        let signer = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").signer().unwrap();
        let signature = signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_that_cannot_be_used_is_refused_without_showing_it() {
        for (text, error) in [
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", SecretError::NoPrefix),
            ("", SecretError::NoPrefix),
            ("whsec_not base64!", SecretError::NotBase64),
            ("whsec_c2hvcnQ=", SecretError::TooShort(5)),
            ("whsec_", SecretError::TooShort(0)),
        ] {
            assert_eq!(Secret::new(text).signer().unwrap_err(), error, "{text}");
        }
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let shown = format!("{secret} {secret:?} {:?}", secret.signer().unwrap());
        assert_eq!(shown, "whsec_*** whsec_*** Signer(***)");
    }
}
