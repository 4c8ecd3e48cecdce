//! How a command that made its own idempotency key tells it, before the call: so that it can be repeated safely whatever
//! becomes of this one.

use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::output;

/// Writes the key to standard error, with the time of expiry that a repetition has to name, if there is one.
pub(crate) fn tell(key: &str, expires_at: Option<OffsetDateTime>, as_json: bool) {
    let expires_at = expires_at.and_then(|time| time.format(&Rfc3339).ok());
    output::note(&if as_json { object(key, expires_at) } else { sentence(key, expires_at) });
}

fn sentence(key: &str, expires_at: Option<String>) -> String {
    let expires_at = expires_at.map(|time| format!(" --expires-at {time}")).unwrap_or_default();
    format!("to repeat this call safely: --idempotency-key {key}{expires_at}")
}

fn object(key: &str, expires_at: Option<String>) -> String {
    match expires_at {
        Some(time) => json!({ "idempotency_key": key, "expires_at": time }).to_string(),
        None => json!({ "idempotency_key": key }).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repetition_names_the_key_and_the_time_that_was_sent() {
        let time = || Some("2027-01-31T00:00:00Z".to_owned());
        assert_eq!(
            sentence("k", time()),
            "to repeat this call safely: --idempotency-key k --expires-at 2027-01-31T00:00:00Z"
        );
        assert_eq!(sentence("k", None), "to repeat this call safely: --idempotency-key k");
        assert_eq!(object("k", None), r#"{"idempotency_key":"k"}"#);
        assert!(object("k", time()).contains("2027-01-31"));
    }
}
