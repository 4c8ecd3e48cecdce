//! The `Stripe-Signature` header, parsed strictly: split on commas, trim spaces, exactly one `t` of ASCII
//! digits, `v1` of 64 hexadecimal digits, everything else ignored.
//!
//! Stripe's SDKs differ on malformed headers; where they do, this parser takes the reading that lets nothing
//! ambiguous through. A `v1` that is not 64 hexadecimal digits is no candidate, so it cannot match, but it does
//! not spoil its neighbours either: Stripe may add schemes.

use crate::SignatureError;

/// Most `v1` signatures of one header. Stripe sends one for each active secret of the endpoint, at most a few;
/// the limit bounds the comparisons that a stranger can cause.
pub const MAX_CANDIDATES: usize = 16;
/// Longest header, in bytes: 16 signatures of 68 bytes each, and as much again for schemes to come.
pub const MAX_HEADER_BYTES: usize = 4096;
/// Most digits of a timestamp: any of them fits an `i64`.
const MAX_TIMESTAMP_DIGITS: usize = 18;

/// A header that has the right form. Says nothing about whether its signatures are right.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header<'a> {
    /// The timestamp's digits as they were signed.
    pub(crate) timestamp: &'a [u8],
    /// Their number: seconds since 1970.
    pub(crate) timestamp_s: i64,
    /// Decoded `v1` values; may be empty.
    pub(crate) candidates: Vec<[u8; 32]>,
}

impl<'a> Header<'a> {
    pub(crate) fn parse(header: &'a [u8]) -> Result<Self, SignatureError> {
        if header.len() > MAX_HEADER_BYTES {
            return Err(SignatureError::Header);
        }
        let mut timestamp = None;
        let mut candidates = Vec::new();
        for part in header.split(|byte| *byte == b',').map(trim_spaces) {
            let mut halves = part.splitn(2, |byte| *byte == b'=');
            match (halves.next(), halves.next()) {
                (Some(b"t"), Some(_)) if timestamp.is_some() => return Err(SignatureError::Header),
                (Some(b"t"), Some(digits)) => timestamp = Some(digits),
                (Some(b"v1"), Some(text)) => {
                    let mut candidate = [0; 32];
                    if hex::decode_to_slice(text, &mut candidate).is_ok() {
                        candidates.push(candidate);
                    }
                }
                _ => {}
            }
        }
        if candidates.len() > MAX_CANDIDATES {
            return Err(SignatureError::Header);
        }
        let timestamp = timestamp.ok_or(SignatureError::Header)?;
        Ok(Self { timestamp, timestamp_s: parse_digits(timestamp)?, candidates })
    }
}

/// Digits only: no sign, no space, no other script's digits.
fn parse_digits(digits: &[u8]) -> Result<i64, SignatureError> {
    let sound = (1..=MAX_TIMESTAMP_DIGITS).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| sound);
    text.and_then(|text| text.parse().ok()).ok_or(SignatureError::Header)
}

fn trim_spaces(mut part: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] | [rest @ .., b' '] = part {
        part = rest;
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE: &str = "c2f890decbc5ede7c5060bb9a6d31e0626a4342bacb9aeae2adb1bcea72f9812";

    #[test]
    fn spaces_unknown_schemes_and_empty_parts_are_skipped() {
        let text = format!(" t=17 , v0=x,v2=y,, v1={SIGNATURE} ,");
        let header = Header::parse(text.as_bytes()).unwrap();
        assert_eq!((header.timestamp, header.timestamp_s), (b"17".as_slice(), 17));
        assert_eq!(header.candidates.len(), 1);
    }

    #[test]
    fn only_one_timestamp_of_digits_is_accepted() {
        let long = "1".repeat(19);
        for bad in ["", "t", "t=", "t=+1", "t=-1", "t= 1", "t=1.0", "t=1,t=1", "T=1", "t=٣", "t=1\0", &long]
        {
            let text = format!("{bad},v1={SIGNATURE}");
            assert_eq!(Header::parse(text.as_bytes()), Err(SignatureError::Header), "{bad:?}");
        }
    }

    #[test]
    fn signatures_that_are_not_64_hexadecimal_digits_are_no_candidates() {
        let longer = format!("{SIGNATURE}=");
        for bad in ["", "abc", "bad_signature", &SIGNATURE[1..], &longer, &"g".repeat(64)] {
            let text = format!("t=1,v1={bad}");
            assert!(Header::parse(text.as_bytes()).unwrap().candidates.is_empty(), "{bad:?}");
        }
    }

    #[test]
    fn at_most_16_signatures_and_4_kib_are_looked_at() {
        let of = |count: usize| format!("t=1{}", format!(",v1={SIGNATURE}").repeat(count));
        assert_eq!(Header::parse(of(16).as_bytes()).unwrap().candidates.len(), 16);
        assert_eq!(Header::parse(of(17).as_bytes()), Err(SignatureError::Header));
        let long = format!("t=1,{}", "x".repeat(MAX_HEADER_BYTES));
        assert_eq!(Header::parse(long.as_bytes()), Err(SignatureError::Header));
    }
}
