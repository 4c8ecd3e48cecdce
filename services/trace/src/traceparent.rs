//! The `traceparent` header: <https://www.w3.org/TR/trace-context/#traceparent-header>. Pure.

use std::fmt;

use http::HeaderMap;

/// The name of the header, and of the gRPC metadata key.
pub const TRACEPARENT: &str = "traceparent";
/// The length in version 00: 2 + 32 + 16 + 2 digits and three dashes.
const LENGTH: usize = 55;
/// The one flag that version 00 knows. The standard asks to set all others to zero.
const SAMPLED: u8 = 1;

/// A valid `traceparent` of version 00. `Display` gives its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Traceparent {
    trace: [u8; 16],
    span: [u8; 8],
    is_sampled: bool,
}

impl Traceparent {
    /// Of these ids; `None` when one of them is all zeros.
    #[must_use]
    pub fn lookup(trace: [u8; 16], span: [u8; 8], is_sampled: bool) -> Option<Self> {
        (trace != [0; 16] && span != [0; 8]).then_some(Self { trace, span, is_sampled })
    }

    /// The one in the headers. `None` when there is none, several, or one that is not well formed: the standard says
    /// to go on without.
    #[must_use]
    pub fn in_headers(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(TRACEPARENT).iter();
        let only = all.next().filter(|_| all.next().is_none())?;
        Self::parse(only.to_str().ok()?.trim())
    }

    /// From its text. Higher versions are read as far as version 00 goes, as the standard asks.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (head, rest) = text.split_at_checked(LENGTH)?;
        let mut parts = head.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        // Upper case is not hex here.
        let digits = head.bytes().all(|b| b == b'-' || b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let is_longer = version != "00" && rest.starts_with('-');
        if parts.next().is_some() || !digits || version == "ff" || !(rest.is_empty() || is_longer) {
            return None;
        }
        let [_version]: [u8; 1] = bytes(version)?;
        let [flags]: [u8; 1] = bytes(flags)?;
        Self::lookup(bytes(trace)?, bytes(span)?, flags & SAMPLED != 0)
    }

    /// A new trace, sampled, of 24 random bytes.
    #[must_use]
    pub fn make(entropy: [u8; 24]) -> Self {
        let (mut trace, mut span) = ([0; 16], [0; 8]);
        trace.copy_from_slice(&entropy[..16]);
        span.copy_from_slice(&entropy[16..]);
        // An id of zeros is invalid.
        trace[15] |= u8::from(trace == [0; 16]);
        span[7] |= u8::from(span == [0; 8]);
        Self { trace, span, is_sampled: true }
    }

    /// The id of the trace.
    #[must_use]
    pub const fn trace(&self) -> [u8; 16] {
        self.trace
    }

    /// The id of the span in it.
    #[must_use]
    pub const fn span(&self) -> [u8; 8] {
        self.span
    }

    /// Whether the trace is recorded.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.is_sampled
    }

    /// The id of the trace as logs have it: 32 hex digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        hex::encode(self.trace)
    }
}

fn bytes<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(bytes)
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (hex::encode(self.trace), hex::encode(self.span));
        write!(f, "00-{trace}-{span}-{:02x}", u8::from(self.is_sampled))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(text: &str) -> Option<String> {
        Traceparent::parse(text).map(|parsed| parsed.to_string())
    }

    #[test]
    fn a_well_formed_context_is_kept_and_a_later_version_becomes_version_00() {
        assert_eq!(read(GOOD).as_deref(), Some(GOOD));
        assert_eq!(read(&GOOD.replacen("00", "cc", 1)).as_deref(), Some(GOOD));
        assert_eq!(read(&format!("{}-what", GOOD.replacen("00", "cc", 1))).as_deref(), Some(GOOD));
        let unsampled = GOOD.replace("-01", "-00");
        assert_eq!(read(&unsampled).as_deref(), Some(unsampled.as_str()));
        assert_eq!(Traceparent::parse(GOOD).unwrap().trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    }

    #[test]
    fn flags_that_version_00_does_not_know_are_dropped() {
        assert_eq!(read(&GOOD.replace("-01", "-ff")).as_deref(), Some(GOOD));
        assert!(!Traceparent::parse(&GOOD.replace("-01", "-fe")).unwrap().is_sampled());
    }

    #[test]
    fn anything_else_is_left_out() {
        let cases = [
            String::new(),
            GOOD[..54].to_owned(),
            format!("{GOOD}-what"),
            format!("{}x", GOOD.replacen("00", "cc", 1)),
            GOOD.to_uppercase(),
            GOOD.replacen("00", "ff", 1),
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            GOOD.replace("4bf9", "4bg9"),
            GOOD.replace("4bf9", "4b-9"),
            GOOD.replace("4bf9", "4bü"),
        ];
        for bad in cases {
            assert_eq!(read(&bad), None, "{bad:?}");
        }
    }

    #[test]
    fn two_contexts_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert_eq!(Traceparent::in_headers(&headers), Traceparent::parse(GOOD));
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert_eq!(Traceparent::in_headers(&headers), None);
    }

    #[test]
    fn a_new_context_is_valid_even_of_zeros() {
        let made = Traceparent::make([0; 24]);
        assert_eq!(Traceparent::parse(&made.to_string()), Some(made));
        assert!(made.is_sampled());
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_valid(text in "(00|cc|ff)-[0-9a-f]{31,33}-[0-9a-f]{16}-[0-9a-f]{2}.{0,3}") {
            if let Some(parsed) = Traceparent::parse(&text) {
                prop_assert_eq!(Traceparent::parse(&parsed.to_string()), Some(parsed));
            }
        }
    }
}
