//! W3C trace context: one `traceparent` for each webhook, the caller's own if it is valid, else a new one.
//!
//! <https://www.w3.org/TR/trace-context/#traceparent-header>

use std::fmt;

use axum::http::HeaderMap;

/// The header's and the metadata key's name.
pub(crate) const TRACEPARENT: &str = "traceparent";
/// The length of a version 00 header: 2 + 32 + 16 + 2 digits and three dashes.
const LENGTH: usize = 55;

/// A valid `traceparent` of version 00.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Traceparent(String);

impl Traceparent {
    /// The one in the headers; a new one when there is none, several, or an invalid one.
    pub(crate) fn take_or_make(headers: &HeaderMap, entropy: fn() -> [u8; 24]) -> Self {
        let mut all = headers.get_all(TRACEPARENT).iter();
        let only = all.next().filter(|_| all.next().is_none());
        let parsed = only.and_then(|value| value.to_str().ok()).and_then(Self::parse);
        parsed.unwrap_or_else(|| Self::make(entropy()))
    }

    /// Higher versions are read as far as version 00 goes, as the standard asks.
    fn parse(text: &str) -> Option<Self> {
        let (head, rest) = text.split_at_checked(LENGTH)?;
        let mut parts = head.split('-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let lengths = [version.len(), trace.len(), parent.len(), flags.len()] == [2, 32, 16, 2];
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let zero = |text: &str| text.bytes().all(|b| b == b'0');
        let longer = version != "00" && rest.starts_with('-');
        let sound = lengths
            && [version, trace, parent, flags].into_iter().all(digits)
            && version != "ff"
            && !zero(trace)
            && !zero(parent)
            && (rest.is_empty() || longer);
        // Of the flags, version 00 knows only "sampled", the lowest bit.
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1;
        sound.then(|| Self(format!("00-{trace}-{parent}-{sampled:02x}")))
    }

    /// A new trace, sampled.
    fn make(mut entropy: [u8; 24]) -> Self {
        // An id of zeros is invalid.
        entropy[15] |= u8::from(entropy[..16] == [0; 16]);
        entropy[23] |= u8::from(entropy[16..] == [0; 8]);
        Self(format!("00-{}-{}-01", hex::encode(&entropy[..16]), hex::encode(&entropy[16..])))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn parse(text: &str) -> Option<String> {
        Traceparent::parse(text).map(|parsed| parsed.0)
    }

    #[test]
    fn a_valid_one_is_kept_and_a_later_version_is_read_as_00() {
        assert_eq!(parse(GOOD).as_deref(), Some(GOOD));
        assert_eq!(parse(&GOOD.replacen("00", "cc", 1)).as_deref(), Some(GOOD));
        assert_eq!(parse(&format!("{}-what", GOOD.replacen("00", "01", 1))).as_deref(), Some(GOOD));
        assert_eq!(parse(&GOOD.replace("-01", "-fe")).unwrap(), GOOD.replace("-01", "-00"));
    }

    #[test]
    fn an_invalid_one_is_dropped() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let zeros = GOOD.replace(trace, &"0".repeat(32));
        let upper = GOOD.replace("0af7", "0AF7");
        let longer = format!("{GOOD}-00");
        let invalid = GOOD.replacen("00", "ff", 1);
        let parent = GOOD.replace("b7ad6b7169203331", "0000000000000000");
        for bad in ["", "00", &zeros, &upper, &longer, &invalid, &parent, &GOOD[1..], &GOOD.replace('-', "_")]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn two_headers_make_a_new_trace() {
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert_eq!(Traceparent::take_or_make(&headers, || [7; 24]).0, GOOD);
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        let made = "00-07070707070707070707070707070707-0707070707070707-01";
        assert_eq!(Traceparent::take_or_make(&headers, || [7; 24]).0, made);
    }

    proptest! {
        #[test]
        fn a_made_one_is_always_valid(entropy: [u8; 24]) {
            let made = Traceparent::make(entropy);
            prop_assert_eq!(Traceparent::parse(&made.0), Some(made));
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,80}") {
            let _ = Traceparent::parse(&text);
        }
    }

    #[test]
    fn no_entropy_still_makes_a_valid_one() {
        let made = Traceparent::make([0; 24]);
        assert_eq!(Traceparent::parse(made.as_str()), Some(made));
    }
}
