//! What every RPC reads off a request beside its message: who, until when, under which trace.

use std::sync::Arc;
use std::time::Duration;

use domain::AccountId;
use store::StoreError;
use tokio::time::Instant;
use tonic::Request;
use tonic::metadata::MetadataMap;
use trace::Traceparent;

use crate::error::CallError;
use crate::limits::{MAX_CALL_TIME, WAY_BACK};
use crate::principal::{Principal, Scope};

/// The caller of one request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) principal: Arc<Principal>,
    /// What is stored with the call's changes.
    pub(crate) traceparent: Option<String>,
    /// When the answer must be on its way.
    pub(crate) deadline: Instant,
}

impl Caller {
    /// The caller, when it has the scope that the RPC needs.
    ///
    /// # Errors
    /// [`CallError::MissingScope`]; [`CallError::DeadlinePassed`] when the caller gave no time at all.
    pub(crate) fn with_scope<T>(request: &Request<T>, scope: Scope) -> Result<Self, CallError> {
        let principal = principal(request)?;
        require_scope(principal, scope)?;
        Self::try_new(request, principal)
    }

    /// The caller of an RPC whose parts need scopes of their own: [`Caller::require_scope`].
    ///
    /// # Errors
    /// [`CallError::DeadlinePassed`].
    pub(crate) fn of_any_scope<T>(request: &Request<T>) -> Result<Self, CallError> {
        Self::try_new(request, principal(request)?)
    }

    fn try_new<T>(request: &Request<T>, principal: &Arc<Principal>) -> Result<Self, CallError> {
        let time = call_time(request.metadata()).ok_or(CallError::DeadlinePassed)?;
        // The span of this call when it is exported, else whatever the caller said.
        let traceparent = trace::current().or_else(|| Traceparent::in_headers(request.metadata().as_ref()));
        Ok(Self {
            principal: Arc::clone(principal),
            traceparent: traceparent.map(|traceparent| traceparent.to_string()),
            deadline: Instant::now() + time,
        })
    }

    /// The same caller with the time of a new call: for a message on a stream, which lives longer than any call.
    pub(crate) fn anew(&self) -> Self {
        Self { deadline: Instant::now() + MAX_CALL_TIME, ..self.clone() }
    }

    /// # Errors
    /// [`CallError::MissingScope`].
    pub(crate) fn require_scope(&self, scope: Scope) -> Result<(), CallError> {
        require_scope(&self.principal, scope)
    }

    /// The answer of a read, when it comes before the caller's time is up.
    ///
    /// # Errors
    /// [`CallError::ReadTimedOut`], or what the store says.
    pub(crate) async fn in_time<T>(
        &self,
        read: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, CallError> {
        match tokio::time::timeout_at(self.deadline, read).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(CallError::ReadTimedOut),
        }
    }

    /// I10: every account that a call names passes here before it is read or written.
    ///
    /// # Errors
    /// [`CallError::NotCovered`].
    pub(crate) fn require_account(&self, account: &AccountId) -> Result<(), CallError> {
        if self.principal.covers(account) { Ok(()) } else { Err(CallError::NotCovered(account.clone())) }
    }

    /// I10, for a call that names accounts by how their ids begin.
    ///
    /// # Errors
    /// [`CallError::PrefixNotCovered`].
    pub(crate) fn require_prefix(&self, prefix: &str) -> Result<(), CallError> {
        if self.principal.covers_prefix(prefix) {
            Ok(())
        } else {
            Err(CallError::PrefixNotCovered(prefix.to_owned()))
        }
    }
}

fn principal<T>(request: &Request<T>) -> Result<&Arc<Principal>, CallError> {
    request.extensions().get::<Arc<Principal>>().ok_or(CallError::Broken("a request without principal"))
}

fn require_scope(principal: &Principal, scope: Scope) -> Result<(), CallError> {
    if principal.has(scope) { Ok(()) } else { Err(CallError::MissingScope(scope)) }
}

/// Time that the call may take; `None` when the caller gave none.
fn call_time(metadata: &MetadataMap) -> Option<Duration> {
    let given = metadata.get("grpc-timeout").and_then(|value| parse_timeout(value.to_str().ok()?));
    let Some(given) = given else { return Some(MAX_CALL_TIME) };
    let kept_back = WAY_BACK.min(given / 10);
    Some(given.saturating_sub(kept_back).min(MAX_CALL_TIME)).filter(|time| !time.is_zero())
}

/// `TimeoutValue` of at most 8 digits and `TimeoutUnit` (gRPC over HTTP/2, "Requests").
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Option<Duration> {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", text.parse().unwrap());
        call_time(&metadata)
    }

    #[test]
    fn a_call_has_10_s_or_less_when_its_caller_says_so() {
        assert_eq!(call_time(&MetadataMap::new()), Some(MAX_CALL_TIME));
        assert_eq!(time("99999999H"), Some(MAX_CALL_TIME));
        assert_eq!(time("2S"), Some(Duration::from_millis(1900)));
        assert_eq!(time("100m"), Some(Duration::from_millis(90)));
        assert_eq!(time("0S"), None);
    }

    #[test]
    fn a_malformed_timeout_counts_as_none_given() {
        for bad in ["", "S", "1", "1s", "-1S", "123456789S", "1.5S"] {
            assert_eq!(time(bad), Some(MAX_CALL_TIME), "{bad:?}");
        }
    }
}
