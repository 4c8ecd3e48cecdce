//! Why a call did not do what was asked, and what its maker can do next.

use std::collections::BTreeMap;

use proto::v1::ErrorReason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// Nobody listens there.
    #[error("cannot reach {addr}: {}", innermost(error))]
    Unreachable {
        /// The address as given.
        addr: String,
        /// Why not; part of the sentence, since only its innermost cause says anything.
        error: Box<tonic::transport::Error>,
    },
    /// The service answered with a status.
    #[error("{}", headline(status))]
    Refused {
        /// The address as given.
        addr: String,
        /// The answer.
        status: Box<Status>,
    },
}

impl CallError {
    /// For `map_err`: the status that `addr` answered.
    pub(crate) fn refused(addr: &str) -> impl FnOnce(Status) -> Self {
        let addr = addr.to_owned();
        move |status| Self::Refused { addr, status: Box::new(status) }
    }

    /// A refusal that came inside an answer.
    pub(crate) fn inside(addr: &str, error: proto::v1::Error) -> Self {
        let delay = error.retry_after.and_then(|delay| delay.try_into().ok());
        let mut details = ErrorDetails::with_error_info(error.reason, proto::ERROR_DOMAIN, error.metadata);
        if delay.is_some() {
            details.set_retry_info(delay);
        }
        let status = Status::with_error_details(Code::from_i32(error.code), error.message, details);
        Self::Refused { addr: addr.to_owned(), status: Box::new(status) }
    }

    /// The gRPC code; a service that is not there is unavailable.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Unreachable { .. } => Code::Unavailable,
            Self::Refused { status, .. } => status.code(),
        }
    }

    /// The reason out of the documented list; empty when the status has none.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Unreachable { .. } => String::new(),
            Self::Refused { status, .. } => {
                status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
            }
        }
    }

    /// The sentence of the status.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Unreachable { .. } => self.to_string(),
            Self::Refused { status, .. } => status.message().to_owned(),
        }
    }

    /// The reason's facts, by name.
    pub(crate) fn facts(&self) -> BTreeMap<String, String> {
        let Self::Refused { status, .. } = self else { return BTreeMap::new() };
        let info = status.get_details_error_info();
        info.map(|info| info.metadata.into_iter().collect()).unwrap_or_default()
    }

    /// The fields that the service refused, each with what holds for it.
    pub(crate) fn violations(&self) -> Vec<(String, String)> {
        let Self::Refused { status, .. } = self else { return Vec::new() };
        let request = status.get_details_bad_request();
        let violations = request.map(|request| request.field_violations).unwrap_or_default();
        violations.into_iter().map(|violation| (violation.field, violation.description)).collect()
    }

    /// Whether the same stream may be opened again with hope.
    pub(crate) fn is_transient(&self) -> bool {
        match self.code() {
            Code::Unavailable | Code::Aborted | Code::ResourceExhausted | Code::Cancelled => true,
            Code::Unknown | Code::DeadlineExceeded => true,
            // What a connection that broke in the middle of a message looks like; a service's own has a reason.
            Code::Internal => self.reason().is_empty(),
            _ => false,
        }
    }

    /// What to do next.
    pub(crate) fn hint(&self) -> Option<String> {
        let Self::Refused { status, addr } = self else {
            return Some(
                "is `tallystick dev` running? Another address is given by --addr or TALLYSTICK_ADDR".into(),
            );
        };
        let hint = match ErrorReason::from_text(&self.reason()) {
            Some(ErrorReason::InsufficientCredits) => {
                "grant credits first; `spend` can take what there is: --allow-partial"
            }
            Some(ErrorReason::IdempotencyKeyReused) => {
                "this key belongs to another call: leave --idempotency-key out for a new one"
            }
            Some(ErrorReason::OutcomeUnknown) => {
                "it may have been done: call again with the same --idempotency-key, which is safe"
            }
            Some(ErrorReason::CredentialMissing) => "pass --api-key-file, or set TALLYSTICK_API_KEY_FILE",
            Some(ErrorReason::CredentialInvalid) => "check the key, and that the service has its hash",
            Some(ErrorReason::Compacted) => {
                "take a token (`tallystick ledger --take-token`), export the journal, then go on from the token"
            }
            Some(ErrorReason::VersionNotReached) => {
                "that version does not exist yet; wait longer by --timeout-ms"
            }
            Some(ErrorReason::AccountFrozen) => {
                "an operator has frozen it: `tallystick account unfreeze` lets it spend again"
            }
            Some(ErrorReason::AccountClosed) => {
                "an operator has closed it: `tallystick account unfreeze` opens it again"
            }
            Some(ErrorReason::HoldExceeded) => {
                "capture less, or take what is beyond from the available credits: --allow-overage"
            }
            Some(ErrorReason::HoldExpired | ErrorReason::HoldClosed) => {
                "it cannot be used any more: `tallystick history --hold ID` shows why; spend, or hold anew"
            }
            Some(ErrorReason::HoldLifetimeExceeded) => "no hold lasts longer than 30 days: ask for less",
            Some(ErrorReason::HoldNotFound) => "`tallystick holds ACCOUNT --all` lists its holds",
            Some(ErrorReason::GrantNotFound) => "`tallystick grants ACCOUNT --closed` lists its grants",
            Some(ErrorReason::EntryNotFound) => {
                "`tallystick history ACCOUNT --json` shows the entry_id of each entry"
            }
            Some(ErrorReason::ReversalExceeded) => "leave the amount out to give back all that is left of it",
            Some(ErrorReason::RevocationOutOfRange) => "0 to the amount of the grant (`tallystick grants`)",
            Some(ErrorReason::TooManyOpenHolds) => "capture or release some (`tallystick holds`)",
            Some(ErrorReason::NotASandboxAccount) => "only accounts that `dev` made have a test clock",
            Some(ErrorReason::AccountNotFound) => "an account comes into being with its first write",
            Some(ErrorReason::PermissionDenied) => {
                "use a key with the scope that the call needs (`tallystick key new --help`)"
            }
            Some(ErrorReason::UnknownUnit) => "declare the unit in the service's catalogue",
            Some(
                ErrorReason::DatabaseUnavailable
                | ErrorReason::Overloaded
                | ErrorReason::ShuttingDown
                | ErrorReason::AccountContended
                | ErrorReason::DeadlinePassed,
            ) => "call again with the same --idempotency-key, which is safe",
            Some(_) => return None,
            None => match status.code() {
                Code::Unimplemented => return Some(format!("is {addr} the gRPC address of a credits role?")),
                Code::Cancelled | Code::DeadlineExceeded => {
                    "the service did not answer in time (--timeout-ms): call again with the same --idempotency-key"
                }
                Code::Unavailable | Code::Unknown | Code::Internal => {
                    "is the service running, and is --addr its gRPC address?"
                }
                _ => return None,
            },
        };
        Some(hint.to_owned())
    }

    /// As the API's own `Error` message.
    pub(crate) fn to_message(&self) -> proto::v1::Error {
        proto::v1::Error {
            code: i32::from(self.code()),
            reason: self.reason(),
            message: self.message(),
            metadata: self.facts().into_iter().collect(),
            retry_after: self.retry_after(),
        }
    }

    /// How long to wait before a retry, when the service says so.
    fn retry_after(&self) -> Option<prost_types::Duration> {
        let Self::Refused { status, .. } = self else { return None };
        let delay = status.get_details_retry_info()?.retry_delay?;
        prost_types::Duration::try_from(delay).ok()
    }
}

/// `Connection refused`, and not the layers around it.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// The reason, or the code of a status without one, and the sentence.
fn headline(status: &Status) -> String {
    let reason = status.get_details_error_info().map(|info| info.reason).filter(|reason| !reason.is_empty());
    let name = reason.unwrap_or_else(|| format!("{:?}", status.code()));
    if status.message().is_empty() { name } else { format!("{name}: {}", status.message()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_inside_an_answer_says_the_same_as_one_of_the_call() {
        let inside = proto::v1::Error {
            code: Code::OutOfRange.into(),
            reason: "HISTORY_NOT_AVAILABLE".to_owned(),
            message: "too far back".to_owned(),
            metadata: [("version".to_owned(), "3".to_owned())].into(),
            retry_after: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
        };
        assert_eq!(CallError::inside("127.0.0.1:7070", inside.clone()).to_message(), inside);
    }
}
