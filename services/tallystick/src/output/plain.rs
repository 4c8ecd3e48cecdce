//! Foreign text on a terminal. References, reasons and answers are other people's: a control character in them must
//! not move the cursor, change colours or forge a line.

/// The text with every control character written as an escape.
pub(crate) fn shown(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || is_bidi_control(character) {
            plain.extend(character.escape_default());
        } else {
            plain.push(character);
        }
    }
    plain
}

/// Marks that reorder what follows (Unicode Standard Annex 9).
fn is_bidi_control(character: char) -> bool {
    matches!(character, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_words_are_not() {
        assert_eq!(shown("job 17: 视频 ok"), "job 17: 视频 ok");
        assert_eq!(shown("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(shown("a\u{202e}b"), "a\\u{202e}b");
    }
}
