//! The operations listener: `/healthz` (the process lives), `/readyz` (it can do its work), `/metrics`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus_client::registry::Registry;

use crate::process::metrics;
use crate::process::vitals::Vitals;

/// The routes. They tell nothing secret, but are meant for the operator's network only.
pub(crate) fn router(vitals: Vitals, counted: Registry) -> Router {
    let metrics = Router::new().route("/metrics", get(metrics)).with_state(Arc::new(counted));
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(vitals)
        .merge(metrics)
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

async fn metrics(State(counted): State<Arc<Registry>>) -> Response {
    match metrics::text(&counted) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::MEDIA_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
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
        let counted = metrics::registry(&metrics::Counted::default());
        let answer = router(vitals.clone(), counted).oneshot(request).await.unwrap();
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
