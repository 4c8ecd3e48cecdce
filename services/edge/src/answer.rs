//! Every answer that the edge gives, with its fixed body: a caller learns nothing from the words.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// One answer; axum itself gives 404 and 405.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// 200: committed (applied, ignored or parked), now or before.
    Committed,
    /// 400: not signed by Stripe, or not an event. Which of the two is nobody's business.
    Invalid,
    /// 408: the body did not arrive in time.
    TooSlow,
    /// 413: the body is larger than any event.
    TooLarge,
    /// 503: nothing is known to be stored; try again, which is harmless when something was.
    Unavailable,
}

impl Answer {
    /// All of them.
    pub(crate) const ALL: [Self; 5] =
        [Self::Committed, Self::Invalid, Self::TooSlow, Self::TooLarge, Self::Unavailable];

    /// The name in counters.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Invalid => "invalid",
            Self::TooSlow => "too_slow",
            Self::TooLarge => "too_large",
            Self::Unavailable => "unavailable",
        }
    }

    /// The status code.
    pub(crate) const fn status(self) -> StatusCode {
        self.parts().0
    }

    const fn parts(self) -> (StatusCode, &'static str) {
        match self {
            Self::Committed => (StatusCode::OK, r#"{"received":true}"#),
            Self::Invalid => (StatusCode::BAD_REQUEST, r#"{"error":"invalid_webhook"}"#),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, r#"{"error":"body_too_slow"}"#),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, r#"{"error":"body_too_large"}"#),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, r#"{"error":"try_again"}"#),
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let json = HeaderValue::from_static("application/json");
        let (status, body) = self.parts();
        (status, [(header::CONTENT_TYPE, json)], body).into_response()
    }
}
