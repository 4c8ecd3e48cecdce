//! The operations listener: `/healthz` (the process lives), `/readyz` (it can do its work), `/metrics`.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use crate::process::vitals::Vitals;

/// The routes. They tell nothing secret, but are meant for the operator's network only.
pub(crate) fn router(vitals: Vitals) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(vitals)
}

/// An answer at all is the message: a process without one is to be restarted.
async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(vitals): State<Vitals>) -> Response {
    let report = vitals.report().await;
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}

async fn metrics(State(vitals): State<Vitals>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, vitals.metrics()).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tokio_util::sync::CancellationToken;
    use tower::ServiceExt;

    use super::*;

    async fn get(vitals: &Vitals, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = router(vitals.clone()).oneshot(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_fails_while_the_process_ends_and_liveness_does_not() {
        let vitals = Vitals { ledger: None, credits: None, draining: CancellationToken::new() };
        assert_eq!(get(&vitals, "/readyz").await.0, StatusCode::OK);
        vitals.draining.cancel();
        let (status, body) = get(&vitals, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        let expected =
            r#"{"ready":false,"checks":{"lifecycle":{"ok":false,"detail":"the process is ending"}}}"#;
        assert_eq!(body, expected);
        assert_eq!(get(&vitals, "/healthz").await, (StatusCode::OK, "ok\n".to_owned()));
        assert!(get(&vitals, "/metrics").await.1.contains("tallystick_build_info"));
    }
}
