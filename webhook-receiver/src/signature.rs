//! Standard Webhooks: who sent a request, and when (specification 1.0.0, "Verifying webhook authenticity").
//!
//! The sender signs `id.timestamp.body` with HMAC-SHA256 and sends `v1,<base64>`; while it rotates its secret it sends several
//! signatures, separated by spaces, and one that fits is enough. Signatures are compared in constant time. The secret never
//! leaves this module: it has no `Display`, and its `Debug` prints nothing of it.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Header that identifies a request; it stays the same when the request is sent again.
pub const ID_HEADER: &str = "webhook-id";
/// Header with the time of the attempt, in seconds since the epoch.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// Header with the space-separated signatures.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

const SECRET_PREFIX: &str = "whsec_";
/// The specification asks for secrets of 24 to 64 random bytes.
const SECRET_BYTES_MIN: usize = 24;
const SECRET_BYTES_MAX: usize = 64;

/// A signing secret, written `whsec_` and base64.
#[derive(Clone)]
pub struct Secret(Hmac<Sha256>);

/// Why a secret is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SecretError {
    /// It does not begin with `whsec_`.
    #[error("a webhook secret begins with {SECRET_PREFIX}")]
    Prefix,
    /// What follows the prefix is not base64.
    #[error("what follows {SECRET_PREFIX} is not base64")]
    Base64,
    /// Too short to be safe, or longer than the specification allows.
    #[error("a webhook secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes, this one has {0}")]
    Length(usize),
}

/// Why a request is not believed. None of them says how near a wrong signature came.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The timestamp is not a whole number of seconds.
    #[error("{TIMESTAMP_HEADER} is not a number of seconds since 1970")]
    Timestamp,
    /// The request is older than the tolerance: perhaps a replay of a recorded one.
    #[error("{TIMESTAMP_HEADER} is too old")]
    Old,
    /// The request is dated further ahead than the tolerance.
    #[error("{TIMESTAMP_HEADER} is too far in the future")]
    Future,
    /// No signature in the list fits.
    #[error("{SIGNATURE_HEADER} does not fit the request")]
    Signature,
}

/// The three headers of a signed request, as received.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a> {
    /// `webhook-id`
    pub id: &'a str,
    /// `webhook-timestamp`
    pub timestamp: &'a str,
    /// `webhook-signature`
    pub signature: &'a str,
}

impl Secret {
    /// Checks that `headers` sign `body` and are at most `tolerance_s` seconds away from `now_s`, in either direction.
    ///
    /// # Errors
    /// The first thing that is wrong; nothing about the body may be believed then.
    pub fn verify(&self, headers: Headers<'_>, body: &[u8], now_s: i64, tolerance_s: u32) -> Result<(), Error> {
        let sent_s: i64 = headers.timestamp.parse().map_err(|_| Error::Timestamp)?;
        let age_s = now_s.saturating_sub(sent_s);
        if age_s > i64::from(tolerance_s) {
            return Err(Error::Old);
        }
        if age_s < -i64::from(tolerance_s) {
            return Err(Error::Future);
        }
        let expected = self.mac(headers.id, headers.timestamp, body);
        let fits = |signature: &str| {
            let encoded = signature.strip_prefix("v1,")?;
            let given = STANDARD.decode(encoded).ok()?;
            bool::from(given.as_slice().ct_eq(&expected)).then_some(())
        };
        headers.signature.split(' ').find_map(fits).ok_or(Error::Signature)
    }

    /// The signature header that a sender of `body` would set; for tests and tools.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        format!("v1,{}", STANDARD.encode(self.mac(id, timestamp, body)))
    }

    fn mac(&self, id: &str, timestamp: &str, body: &[u8]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl FromStr for Secret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let encoded = text.strip_prefix(SECRET_PREFIX).ok_or(SecretError::Prefix)?;
        let key = STANDARD.decode(encoded).map_err(|_| SecretError::Base64)?;
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&key.len()) {
            return Err(SecretError::Length(key.len()));
        }
        let mac = Hmac::new_from_slice(&key).map_err(|_| SecretError::Length(key.len()))?;
        Ok(Self(mac))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    // Made with openssl, not with this code:
    //   printf '%s' 'msg_1.1700000000.{"hello":"world"}' |
    //     openssl dgst -sha256 -mac HMAC -macopt hexkey:$(printf abcdefghijklmnopqrstuvwx | xxd -p) -binary | base64
    const SECRET: &str = "whsec_YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4";
    const SIGNATURE: &str = "v1,/pOfVnrbxfqGXY1493U1tso/+CnXOM/Qlh/0FG/t494=";
    const BODY: &[u8] = br#"{"hello":"world"}"#;
    const SENT_S: i64 = 1_700_000_000;

    fn verify(signature: &str, now_s: i64) -> Result<(), Error> {
        let headers = Headers { id: "msg_1", timestamp: "1700000000", signature };
        SECRET.parse::<Secret>().unwrap().verify(headers, BODY, now_s, 300)
    }

    #[test]
    fn accepts_a_signature_made_elsewhere() {
        assert_eq!(verify(SIGNATURE, SENT_S), Ok(()));
    }

    #[test]
    fn one_fitting_signature_in_a_list_is_enough() {
        let wrong = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        assert_eq!(verify(&format!("{wrong} v1a,whatever {SIGNATURE}"), SENT_S), Ok(()));
        assert_eq!(verify(&format!("{wrong} {wrong}"), SENT_S), Err(Error::Signature));
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let other_version = SIGNATURE.replace("v1,", "v2,");
        let truncated = &SIGNATURE[..SIGNATURE.len() - 4];
        for signature in ["", "v1,", "v1", "v1,!!!!", &other_version, truncated, &SIGNATURE[3..]] {
            assert_eq!(verify(signature, SENT_S), Err(Error::Signature), "{signature}");
        }
    }

    #[test]
    fn every_signed_part_counts() {
        let secret: Secret = SECRET.parse().unwrap();
        let good = Headers { id: "msg_1", timestamp: "1700000000", signature: SIGNATURE };
        assert_eq!(secret.verify(good, BODY, SENT_S, 300), Ok(()));
        assert_eq!(secret.verify(good, br#"{"hello":"world!"}"#, SENT_S, 300), Err(Error::Signature));
        let other_id = Headers { id: "msg_2", ..good };
        assert_eq!(secret.verify(other_id, BODY, SENT_S, 300), Err(Error::Signature));
        let other_time = Headers { timestamp: "1700000001", ..good };
        assert_eq!(secret.verify(other_time, BODY, SENT_S, 300), Err(Error::Signature));
    }

    #[test]
    fn the_timestamp_may_be_off_by_the_tolerance_and_no_more() {
        assert_eq!(verify(SIGNATURE, SENT_S + 300), Ok(()));
        assert_eq!(verify(SIGNATURE, SENT_S + 301), Err(Error::Old));
        assert_eq!(verify(SIGNATURE, SENT_S - 300), Ok(()));
        assert_eq!(verify(SIGNATURE, SENT_S - 301), Err(Error::Future));
        let secret: Secret = SECRET.parse().unwrap();
        for timestamp in ["", "now", "1700000000.5", "99999999999999999999", " 1700000000"] {
            let headers = Headers { id: "msg_1", timestamp, signature: SIGNATURE };
            assert_eq!(secret.verify(headers, BODY, SENT_S, 300), Err(Error::Timestamp), "{timestamp:?}");
        }
        let far_past = i64::MIN.to_string();
        let headers = Headers { id: "msg_1", timestamp: &far_past, signature: SIGNATURE };
        assert_eq!(secret.verify(headers, BODY, SENT_S, 300), Err(Error::Old));
    }

    #[test]
    fn a_secret_is_checked_and_never_shown() {
        assert_eq!("YWJj".parse::<Secret>().unwrap_err(), SecretError::Prefix);
        assert_eq!("whsec_?".parse::<Secret>().unwrap_err(), SecretError::Base64);
        assert_eq!("whsec_YWJj".parse::<Secret>().unwrap_err(), SecretError::Length(3));
        let secret: Secret = SECRET.parse().unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(hidden)");
    }
}
