//! The W3C trace context of a call (Trace Context, level 1, section 3.2), as it goes into entries and outbox.

use tonic::metadata::MetadataMap;

/// `00-<32 hex>-<16 hex>-<2 hex>`.
const LENGTH: usize = 55;

/// The caller's `traceparent`, as version 00. `None` when there is none, several, or one that is not well formed: the
/// standard says to go on without.
pub(crate) fn lookup(metadata: &MetadataMap) -> Option<String> {
    let mut values = metadata.get_all("traceparent").iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    normal_form(value.to_str().ok()?.trim())
}

fn normal_form(text: &str) -> Option<String> {
    let (known, rest) = text.split_at_checked(LENGTH)?;
    let mut parts = known.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lengths = [version, trace, parent, flags].map(str::len);
    let is_hex = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let is_zero = |part: &str| part.bytes().all(|b| b == b'0');
    // A later version may append fields after another dash; its first four are those of version 00.
    let rest_is_sound =
        if version == "00" { rest.is_empty() } else { rest.is_empty() || rest.starts_with('-') };
    let sound = lengths == [2, 32, 16, 2]
        && parts.next().is_none()
        && [version, trace, parent, flags].into_iter().all(is_hex)
        && version != "ff"
        && !is_zero(trace)
        && !is_zero(parent)
        && rest_is_sound;
    sound.then(|| format!("00-{trace}-{parent}-{flags}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_well_formed_context_is_kept_and_a_later_version_becomes_version_00() {
        assert_eq!(normal_form(GOOD).as_deref(), Some(GOOD));
        assert_eq!(normal_form(&GOOD.replacen("00", "cc", 1)).as_deref(), Some(GOOD));
        assert_eq!(normal_form(&format!("{}-what", GOOD.replacen("00", "cc", 1))).as_deref(), Some(GOOD));
    }

    #[test]
    fn anything_else_is_left_out() {
        let cases = [
            String::new(),
            GOOD[..54].to_owned(),
            format!("{GOOD}-what"),
            GOOD.to_uppercase(),
            GOOD.replacen("00", "ff", 1),
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            GOOD.replace("4bf9", "4bg9"),
            GOOD.replace("4bf9", "4b-9"),
            GOOD.replace("4bf9", "4bü"),
        ];
        for bad in cases {
            assert_eq!(normal_form(&bad), None, "{bad:?}");
        }
    }

    #[test]
    fn two_contexts_are_none() {
        let mut metadata = MetadataMap::new();
        metadata.append("traceparent", GOOD.parse().unwrap());
        assert_eq!(lookup(&metadata).as_deref(), Some(GOOD));
        metadata.append("traceparent", GOOD.parse().unwrap());
        assert_eq!(lookup(&metadata), None);
    }
}
