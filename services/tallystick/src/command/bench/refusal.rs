//! How a call that was not answered OK is counted: by gRPC code, and by the service's reason where it gives one.

use proto::v1::ErrorReason;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::drive::Refusal;

impl Refusal {
    /// `UNAVAILABLE/OVERLOADED`; `UNAVAILABLE` alone is a connection that could not be had or was lost, `CANCELLED`
    /// alone the call's own deadline.
    pub(super) fn of(status: &Status) -> Self {
        let code = code_name(status.code());
        let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
        // Text that no version of ours sends is not repeated: it comes from somebody else.
        match ErrorReason::from_text(&reason) {
            Some(reason) => Self { reason: format!("{code}/{}", reason.as_text()), is_answer: true },
            None => Self { reason: code.to_owned(), is_answer: false },
        }
    }
}

/// As the specification of gRPC writes it.
const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn a_refusal_is_counted_by_code_and_reason() {
        let with = |reason: &str| {
            let details = ErrorDetails::with_error_info(reason, "tallystick", HashMap::new());
            Refusal::of(&Status::with_error_details(Code::Unavailable, "x", details))
        };
        assert_eq!(with("OVERLOADED").reason, "UNAVAILABLE/OVERLOADED");
        assert!(with("OVERLOADED").is_answer);
        assert_eq!(with("\u{1b}[2J").reason, "UNAVAILABLE");
        let lost = Refusal::of(&Status::new(Code::Unknown, "transport error"));
        assert_eq!((lost.reason.as_str(), lost.is_answer), ("UNKNOWN", false));
    }
}
