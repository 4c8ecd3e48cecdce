//! How deep a JSON text nests, found without parsing it and without recursion.
//!
//! The parser skips fields that nobody reads without counting their depth; a body that nests deeper than any
//! authentic event is refused before it is parsed or stored.

/// Deepest nesting of arrays and objects. Stripe's own events, with expanded objects, stay below 20.
pub const MAX_DEPTH: usize = 64;

/// Whether the text nests deeper than [`MAX_DEPTH`]. Right for valid JSON; for anything else the answer does not
/// matter, since it is refused either way.
pub(crate) fn is_too_deep(json: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_64_passes_and_65_does_not() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(!is_too_deep(&nested(64)));
        assert!(is_too_deep(&nested(65)));
        assert!(is_too_deep(&"{\"a\":".repeat(100_000)));
    }

    #[test]
    fn siblings_and_brackets_in_strings_do_not_nest() {
        assert!(!is_too_deep(&format!("[{}[]]", "[],".repeat(1000))));
        assert!(!is_too_deep(&format!("[\"\\\"{}\\\\\"]", "[".repeat(1000))));
    }
}
