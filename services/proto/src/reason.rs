//! How a reason is written in `google.rpc.ErrorInfo` and in our own `Error`: the enum value's name without its prefix.
//!
//! Must not know: which failure has which reason; that is the service's status table.

use crate::v1::ErrorReason;

/// `google.rpc.ErrorInfo.domain` of every status that Tallystick makes.
pub const ERROR_DOMAIN: &str = "tallystick";

const PREFIX: &str = "ERROR_REASON_";

impl ErrorReason {
    /// The reason's text on the wire, such as `INSUFFICIENT_CREDITS`.
    pub fn as_text(self) -> &'static str {
        let name = self.as_str_name();
        name.strip_prefix(PREFIX).unwrap_or(name)
    }

    /// The reason that a text stands for; `None` for a text that this version does not know.
    pub fn from_text(text: &str) -> Option<Self> {
        Self::from_str_name(&format!("{PREFIX}{text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_written_without_its_prefix_and_read_back() {
        assert_eq!(ErrorReason::InsufficientCredits.as_text(), "INSUFFICIENT_CREDITS");
        assert_eq!(ErrorReason::from_text("INSUFFICIENT_CREDITS"), Some(ErrorReason::InsufficientCredits));
    }

    #[test]
    fn an_unknown_text_is_no_reason() {
        assert_eq!(ErrorReason::from_text("ERROR_REASON_INTERNAL"), None);
        assert_eq!(ErrorReason::from_text(""), None);
    }
}
