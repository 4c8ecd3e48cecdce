//! What is wrong with a request, field by field, or with the body of an event.

use domain::Problem;
use proto::v1::ErrorReason;
use stripe::NotAnEvent;
use tonic_types::FieldViolation;

use super::{Row, plain};
use crate::error::Violation;

pub(super) fn not_an_event(why: &NotAnEvent) -> Row {
    let defect = match why {
        NotAnEvent::Thin => {
            return plain(ErrorReason::ThinEventNotAccepted, "thin events are not accepted", vec![]);
        }
        // The RPC bounds the body before; the reader's own limit is the same.
        NotAnEvent::TooLong { limit, actual } => {
            let problem = Problem::TooLong { limit: *limit, actual: *actual };
            return invalid(&[Violation { field: "body".to_owned(), problem }]);
        }
        NotAnEvent::NotUtf8 { .. } => "not_utf8",
        NotAnEvent::TooDeep { .. } => "depth",
        NotAnEvent::NotJson { .. } | NotAnEvent::Envelope { .. } => "not_json",
        NotAnEvent::Object | NotAnEvent::NoType => "type",
        NotAnEvent::NoId | NotAnEvent::IdTooLong { .. } | NotAnEvent::IdCharacters => "id",
    };
    plain(
        ErrorReason::NotAStripeEvent,
        format!("the body is not a Stripe event: {why}"),
        vec![("defect", defect.to_owned())],
    )
}

pub(super) fn invalid(violations: &[Violation]) -> Row {
    let first = violations.first();
    let message = first.map(|first| format!("{} {}", first.field, sentence(&first.problem)));
    let metadata =
        first.map(|first| vec![("field", first.field.clone()), ("constraint", constraint(&first.problem))]);
    let field = |violation: &Violation| FieldViolation::new(&violation.field, sentence(&violation.problem));
    Row {
        reason: ErrorReason::InvalidField,
        message: message.unwrap_or_default(),
        metadata: metadata.unwrap_or_default(),
        fields: violations.iter().map(field).collect(),
    }
}

/// What holds for the field.
fn constraint(problem: &Problem) -> String {
    match problem {
        Problem::Empty => "not empty".to_owned(),
        Problem::TooLong { limit, .. } => format!("at most {limit} bytes"),
        Problem::TooMany { limit, .. } => format!("at most {limit} elements"),
        Problem::Characters { allowed } => format!("only {allowed}"),
        Problem::OutOfRange { min, max, .. } => format!("{min} to {max}"),
        Problem::Rule(rule) => (*rule).to_owned(),
    }
}

/// The constraint as the end of a sentence about the field.
fn sentence(problem: &Problem) -> String {
    match problem {
        Problem::Empty => "must not be empty".to_owned(),
        Problem::TooLong { .. } => format!("must have {}", constraint(problem)),
        Problem::TooMany { .. } => format!("must have {}", constraint(problem)),
        Problem::Characters { .. } => format!("must have {}", constraint(problem)),
        Problem::OutOfRange { .. } => format!("must be {}", constraint(problem)),
        Problem::Rule(rule) => (*rule).to_owned(),
    }
}
