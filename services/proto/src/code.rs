//! The names of gRPC's status codes, as its specification writes them; for counters and traces.
//!
//! <https://github.com/grpc/grpc/blob/master/doc/statuscodes.md>

use tonic::Code;

/// Names by number, from 0.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// How many codes there are.
pub const CODES: usize = NAMES.len();

/// The name of a code, such as `UNAVAILABLE`.
#[must_use]
pub fn code_name(code: Code) -> &'static str {
    usize::try_from(i32::from(code)).ok().and_then(|number| NAMES.get(number)).copied().unwrap_or("UNKNOWN")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_the_name_of_the_specification() {
        for (number, name) in (0..).zip(NAMES) {
            let code = Code::from_i32(number);
            assert_eq!((i32::from(code), code_name(code)), (number, name));
            let debug = format!("{code:?}").to_uppercase();
            assert_eq!(debug, name.replace('_', ""));
        }
    }
}
