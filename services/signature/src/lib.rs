//! Stripe webhook signatures: signing (for tests and the simulator) and verification.
//!
//! Promises: only a body signed with one of the given secrets within [`TOLERANCE_S`] seconds passes; the
//! comparison takes the same time wherever the difference is; no secret appears in any output. Knows nothing
//! about HTTP, events or clocks: the time comes in as a parameter.
//!
//! The scheme is Stripe's "Verify webhook signatures manually": `Stripe-Signature: t=<seconds>,v1=<hex>,…`
//! with `v1` = HMAC-SHA256 of `<seconds>.<body>` under the endpoint's secret.

mod header;
mod secret;

use hmac::Mac;
use subtle::{Choice, ConstantTimeEq};

pub use header::{MAX_CANDIDATES, MAX_HEADER_BYTES};
pub use secret::{MAX_SECRETS, Secret, SecretError, Secrets};

use header::Header;

/// Largest age, and largest lead, of a signature in seconds: the default of Stripe's own SDKs.
pub const TOLERANCE_S: i64 = 300;

/// Why a body is not to be believed. Carries nothing of the header or the body, so that it may be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The header is empty, too long, without exactly one timestamp, or has too many signatures.
    #[error("the signature header is malformed")]
    Header,
    /// No signature in the header belongs to this body under any of the secrets.
    #[error("no signature matches")]
    NoMatch,
    /// A signature matches, but it is too old or from the future: a replay, or a clock that is wrong.
    #[error("the signature is {age_s} s old; between -{TOLERANCE_S} and {TOLERANCE_S} is allowed")]
    Timestamp {
        /// `now_s` minus the signed time, in seconds; negative: the signature is from the future.
        age_s: i64,
    },
}

/// The `Stripe-Signature` header value of a body signed at `timestamp_s` (seconds since 1970).
#[must_use]
pub fn sign(secret: &Secret, timestamp_s: u64, body: &[u8]) -> String {
    let timestamp = timestamp_s.to_string();
    let mac = hex::encode(tag(secret, timestamp.as_bytes(), body));
    format!("t={timestamp},v1={mac}")
}

/// Checks that `body` carries a signature under one of `secrets`, made within [`TOLERANCE_S`] of `now_s`
/// (seconds since 1970). The body must be the raw bytes as they were received.
///
/// # Errors
/// [`SignatureError`]; the caller should answer all of them alike.
pub fn verify(header: &[u8], body: &[u8], secrets: &Secrets, now_s: i64) -> Result<(), SignatureError> {
    let header = Header::parse(header)?;
    // Every secret and every candidate is compared, so that the time taken tells nothing about a match.
    let mut matched = Choice::from(0);
    for secret in secrets.iter() {
        let expected = tag(secret, header.timestamp, body);
        for candidate in &header.candidates {
            matched |= expected.ct_eq(candidate);
        }
    }
    if !bool::from(matched) {
        return Err(SignatureError::NoMatch);
    }
    // After the signature: an operator who reads "too old" then knows that the sender was authentic.
    let age_s = now_s.saturating_sub(header.timestamp_s);
    if (-TOLERANCE_S..=TOLERANCE_S).contains(&age_s) {
        Ok(())
    } else {
        Err(SignatureError::Timestamp { age_s })
    }
}

/// HMAC-SHA256 over `<timestamp>.<body>`; the timestamp's text is what was signed, not its number.
fn tag(secret: &Secret, timestamp: &[u8], body: &[u8]) -> [u8; 32] {
    let mut mac = secret.keyed();
    mac.update(timestamp);
    mac.update(b".");
    mac.update(body);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW_S: i64 = 1_700_000_000;

    fn secrets(text: &str) -> Secrets {
        Secrets::parse(text).unwrap()
    }

    fn signed(secret: &str, body: &[u8]) -> String {
        sign(&Secret::try_new(secret).unwrap(), 1_700_000_000, body)
    }

    #[test]
    fn a_signature_is_accepted_under_any_of_several_secrets() {
        let header = signed("whsec_new", b"{}");
        for list in ["whsec_new", "whsec_old,whsec_new", "whsec_new, whsec_old"] {
            assert_eq!(verify(header.as_bytes(), b"{}", &secrets(list), NOW_S), Ok(()), "{list}");
        }
        assert_eq!(
            verify(header.as_bytes(), b"{}", &secrets("whsec_old"), NOW_S),
            Err(SignatureError::NoMatch)
        );
    }

    #[test]
    fn the_tolerance_is_300_seconds_both_ways() {
        let header = signed("s", b"{}");
        let at = |now_s| verify(header.as_bytes(), b"{}", &secrets("s"), now_s);
        assert_eq!(at(NOW_S + 300), Ok(()));
        assert_eq!(at(NOW_S - 300), Ok(()));
        assert_eq!(at(NOW_S + 301), Err(SignatureError::Timestamp { age_s: 301 }));
        assert_eq!(at(NOW_S - 301), Err(SignatureError::Timestamp { age_s: -301 }));
        assert!(at(i64::MIN).is_err() && at(i64::MAX).is_err());
    }

    #[test]
    fn the_timestamp_is_part_of_what_is_signed() {
        let header = signed("s", b"{}").replace("t=1700000000", "t=1700000001");
        assert_eq!(verify(header.as_bytes(), b"{}", &secrets("s"), NOW_S), Err(SignatureError::NoMatch));
        let padded = signed("s", b"{}").replace("t=1700000000", "t=01700000000");
        assert_eq!(verify(padded.as_bytes(), b"{}", &secrets("s"), NOW_S), Err(SignatureError::NoMatch));
    }

    proptest! {
        #[test]
        fn what_is_signed_is_accepted(secret in "[!-+.-~]{1,64}", body: Vec<u8>, now_s in 0..i64::MAX) {
            let secret_key = Secret::try_new(&secret).unwrap();
            let now_s = now_s % 100_000_000_000;
            let header = sign(&secret_key, u64::try_from(now_s).unwrap(), &body);
            prop_assert_eq!(verify(header.as_bytes(), &body, &secrets(&secret), now_s), Ok(()));
        }

        #[test]
        fn any_changed_byte_of_the_body_is_refused(
            mut body in prop::collection::vec(any::<u8>(), 1..200),
            place: prop::sample::Index,
            flip in 1..=u8::MAX,
        ) {
            let header = signed("whsec_a", &body);
            let place = place.index(body.len());
            body[place] ^= flip;
            let outcome = verify(header.as_bytes(), &body, &secrets("whsec_a"), NOW_S);
            prop_assert_eq!(outcome, Err(SignatureError::NoMatch));
        }

        #[test]
        fn any_changed_byte_of_the_header_is_refused(place: prop::sample::Index, byte: u8) {
            let mut header = signed("whsec_a", b"{}").into_bytes();
            let place = place.index(header.len());
            // The case of a hexadecimal digit carries nothing.
            prop_assume!(!header[place].eq_ignore_ascii_case(&byte));
            header[place] = byte;
            let outcome = verify(&header, b"{}", &secrets("whsec_a"), NOW_S);
            prop_assert!(outcome.is_err());
        }

        #[test]
        fn a_longer_or_shorter_body_is_refused(body: Vec<u8>, more in prop::collection::vec(any::<u8>(), 1..9)) {
            let longer = [body.as_slice(), &more].concat();
            let header = signed("whsec_a", &body);
            prop_assert!(verify(header.as_bytes(), &longer, &secrets("whsec_a"), NOW_S).is_err());
            let header = signed("whsec_a", &longer);
            prop_assert!(verify(header.as_bytes(), &body, &secrets("whsec_a"), NOW_S).is_err());
        }

        #[test]
        fn arbitrary_headers_never_panic_and_never_pass(header: Vec<u8>, body: Vec<u8>, now_s: i64) {
            prop_assert!(verify(&header, &body, &secrets("whsec_a"), now_s).is_err());
        }
    }
}
