//! `key=value` arguments.

/// For clap: splits at the first `=`. What keys and values may be is the service's to say.
///
/// # Errors
/// A sentence for the user.
pub(crate) fn parse(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err("must be key=value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_equals_sign_divides() {
        assert_eq!(parse("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
        assert!(parse("a").is_err());
    }
}
