//! How a failed command tells why: a sentence, the facts, and what to do next; or the API's `Error` as JSON.

use std::error::Error as _;
use std::fmt::Write;

use crate::error::Error;
use crate::output::{json, note, plain};

/// Writes the failure to standard error.
pub(crate) fn report(error: &Error, as_json: bool) {
    match error {
        Error::Call(call) if as_json => note(&json::encode("Error", &call.to_message())),
        _ => note(&text(error)),
    }
}

fn text(error: &Error) -> String {
    let mut text = format!("error: {}", lines(&error.to_string()));
    // An io error that is already part of the sentence is not said twice.
    let mut cause = error.source();
    while let Some(source) = cause {
        let said = source.to_string();
        if !text.contains(&said) {
            let _ = write!(text, "\n  because: {}", lines(&said));
        }
        cause = source.source();
    }
    if let Error::Call(call) = error {
        let violations = call.violations();
        for (field, rule) in &violations {
            let _ = write!(text, "\n  {}: {}", plain::shown(field), plain::shown(rule));
        }
        // The fields above say the same as the reason's own facts.
        if violations.is_empty() {
            for (name, value) in call.facts() {
                let _ = write!(text, "\n  {}: {}", plain::shown(&name), plain::shown(&value));
            }
        }
    }
    if let Some(hint) = error.hint() {
        let _ = write!(text, "\n  try: {hint}");
    }
    text
}

/// Messages of our own may have several lines (a list of places, the end of a log); no other control character passes.
fn lines(text: &str) -> String {
    text.lines().map(plain::shown).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic::{Code, Status};
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;
    use crate::client::CallError;

    fn refused(code: Code, sentence: &str, details: ErrorDetails) -> Error {
        let status = Status::with_error_details(code, sentence, details);
        Error::Call(CallError::refused("127.0.0.1:7070")(status))
    }

    #[test]
    fn a_refusal_shows_reason_sentence_facts_and_the_next_step() {
        let facts = HashMap::from([("required".into(), "30".into()), ("available".into(), "20".into())]);
        let details = ErrorDetails::with_error_info("INSUFFICIENT_CREDITS", "tallystick", facts);
        let error = refused(Code::FailedPrecondition, "30 credits are required, 20 are available", details);
        assert_eq!(
            text(&error),
            "\
error: INSUFFICIENT_CREDITS: 30 credits are required, 20 are available
  available: 20
  required: 30
  try: grant credits first; `spend` can take what there is: --allow-partial"
        );
    }

    #[test]
    fn bad_input_shows_every_field() {
        let mut details = ErrorDetails::with_error_info(
            "INVALID_FIELD",
            "tallystick",
            HashMap::from([("field".to_owned(), "amount".to_owned())]),
        );
        details.add_bad_request_violation("amount", "1 to 1000000000000000");
        details.add_bad_request_violation("account_id", "must not be empty");
        let error = refused(Code::InvalidArgument, "amount must be 1 to 1000000000000000", details);
        let shown = text(&error);
        assert!(
            shown.contains("\n  amount: 1 to 1000000000000000\n  account_id: must not be empty"),
            "{shown}"
        );
        assert!(!shown.contains("field: "), "{shown}");
    }

    #[test]
    fn a_status_cannot_play_with_the_terminal() {
        let error = refused(Code::DataLoss, "a\u{1b}[2Jb", ErrorDetails::new());
        assert_eq!(text(&error), "error: DataLoss: a\\u{1b}[2Jb");
    }

    #[test]
    fn programs_get_the_error_message_of_the_api() {
        let facts = HashMap::from([("unit".to_owned(), "gems".to_owned())]);
        let details = ErrorDetails::with_error_info("UNKNOWN_UNIT", "tallystick", facts);
        let error = refused(Code::InvalidArgument, "no such unit", details);
        let Error::Call(call) = &error else { panic!("another error") };
        let line = json::encode("Error", &call.to_message());
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["reason"], "UNKNOWN_UNIT");
        assert_eq!(value["metadata"]["unit"], "gems");
        assert_eq!(value["code"], 3);
    }

    #[test]
    fn a_cause_that_the_sentence_names_is_not_repeated() {
        let error = Error::io("write to standard output")(std::io::Error::other("disk full"));
        assert_eq!(text(&error), "error: could not write to standard output\n  because: disk full");
    }
}
