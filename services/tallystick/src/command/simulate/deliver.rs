//! One signed POST to the edge, tried again as Stripe does, only sooner.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use signature::Secret;
use tokio::time::Instant;

use super::plan::Delivery;
use crate::clock;
use crate::error::Error;
use crate::output::plain;
use crate::settings::address;

/// How long one try may take: what Stripe's hosted Checkout waits.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// The wait before the second try; doubled each time. Stripe waits minutes to hours.
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
/// The answer's body is read to its end so that the connection can be used again, but no further than this.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
const PATH: &str = edge::WEBHOOK_PATH;

/// Delivers to one edge.
pub(super) struct Deliverer {
    client: Client<HttpConnector, Full<Bytes>>,
    uri: Uri,
    secret: Secret,
    attempts: u64,
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Outcome {
    event_id: String,
    session_id: String,
    /// The HTTP status of the last try; absent when there was no answer.
    status: Option<u16>,
    attempts: u64,
    /// From the first try to the last answer.
    elapsed_ms: u64,
    /// Why there was no answer.
    error: Option<String>,
}

impl Deliverer {
    /// # Errors
    /// [`Error::Config`] for an address that is not host:port.
    pub(super) fn try_new(addr: &str, secret: Secret, attempts: u64) -> Result<Self, Error> {
        let host_port = address::host_port(addr);
        let uri = host_port.and_then(|host_port| format!("http://{host_port}{PATH}").parse::<Uri>().ok());
        let uri = uri.ok_or_else(|| Error::Config {
            setting: "--edge-addr",
            problem: format!("{addr:?} must be host:port, such as 127.0.0.1:7071"),
        })?;
        let client = Client::builder(TokioExecutor::new()).build_http();
        Ok(Self { client, uri, secret, attempts })
    }

    /// Delivers, trying again while the edge gives no answer or 5xx.
    pub(super) async fn deliver(&self, delivery: Delivery) -> Outcome {
        let started = Instant::now();
        let body = Bytes::from(delivery.body);
        let mut backoff = FIRST_BACKOFF;
        let mut attempts = 1;
        let last = loop {
            let answer = self.attempt(&body).await;
            let again = match &answer {
                Ok(status) => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
                Err(_) => true,
            };
            if !again || attempts >= self.attempts {
                break answer;
            }
            attempts += 1;
            tokio::time::sleep(backoff).await;
            backoff = backoff.saturating_mul(2);
        };
        Outcome {
            event_id: delivery.event_id,
            session_id: delivery.session_id,
            status: last.as_ref().ok().map(StatusCode::as_u16),
            attempts,
            elapsed_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            error: last.err(),
        }
    }

    async fn attempt(&self, body: &Bytes) -> Result<StatusCode, String> {
        let signature = signature::sign(&self.secret, clock::now_s(), body);
        let request = Request::post(self.uri.clone())
            .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
            .header(header::USER_AGENT, concat!("tallystick-simulate/", env!("CARGO_PKG_VERSION")))
            .header("stripe-signature", signature)
            .body(Full::new(body.clone()))
            .map_err(|error| error.to_string())?;
        let call = async {
            let answer = self.client.request(request).await.map_err(|error| described(&error))?;
            let status = answer.status();
            // Its words tell nothing that the status does not.
            let _ = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
            Ok(status)
        };
        let timed = tokio::time::timeout(ATTEMPT_TIMEOUT, call).await;
        timed.unwrap_or_else(|_| Err(format!("no answer within {} s", ATTEMPT_TIMEOUT.as_secs())))
    }
}

/// The innermost cause, which is the one that helps: "Connection refused".
fn described(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

impl Outcome {
    /// The names of the columns.
    pub(super) fn header() -> String {
        format!("{:<36}  {:<40}  {:>6}  {:>5}  {:>9}", "EVENT", "SESSION", "STATUS", "TRIES", "TIME")
    }

    /// One line of the table.
    pub(super) fn row(&self) -> String {
        let status = self.status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        let error =
            self.error.as_deref().map(|error| format!("  {}", plain::shown(error))).unwrap_or_default();
        let time = format!("{} ms", self.elapsed_ms);
        format!(
            "{:<36}  {:<40}  {status:>6}  {:>5}  {time:>9}{error}",
            self.event_id, self.session_id, self.attempts
        )
    }

    /// One line of JSON.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "null".to_owned())
    }

    /// What to do about an answer that is not 2xx.
    pub(super) fn hint(&self) -> Option<&'static str> {
        match self.status {
            None => Some(
                "is `tallystick dev` running? Another edge is given by --edge-addr or TALLYSTICK_EDGE_ADDR",
            ),
            Some(400) => Some("the edge does not take the signature: is --webhook-secret its secret?"),
            Some(404 | 405) => Some("is --edge-addr the address of an edge role?"),
            Some(500..) => {
                Some("nothing was stored: see /readyz of the service; Stripe itself would try again")
            }
            Some(_) => None,
        }
    }

    /// 2xx: committed.
    pub(super) fn is_accepted(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn deliverer(addr: &str, attempts: u64) -> Deliverer {
        Deliverer::try_new(addr, Secret::try_new("whsec_a").unwrap(), attempts).unwrap()
    }

    fn delivery() -> Delivery {
        Delivery { event_id: "evt_1".to_owned(), session_id: "cs_test_1".to_owned(), body: b"{}".to_vec() }
    }

    #[test]
    fn addresses_are_host_and_port() {
        for bad in ["", "localhost", ":7071", "localhost:0", "localhost:7071/path", "a b:1"] {
            let refused = Deliverer::try_new(bad, Secret::try_new("s").unwrap(), 1).err().unwrap();
            assert!(refused.to_string().starts_with("--edge-addr"), "{bad}");
        }
        assert!(Deliverer::try_new("[::1]:7071", Secret::try_new("s").unwrap(), 1).is_ok());
    }

    /// Answers one request a connection with each of the statuses, and keeps the requests.
    async fn edge(statuses: Vec<u16>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let served = tokio::spawn(async move {
            let mut requests = Vec::new();
            for status in statuses {
                let (mut connection, _) = listener.accept().await.unwrap();
                let mut bytes = vec![0; 4096];
                let mut length = 0;
                while !bytes[..length].ends_with(b"{}") {
                    length += connection.read(&mut bytes[length..]).await.unwrap();
                }
                requests.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
                let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                connection.write_all(answer.as_bytes()).await.unwrap();
            }
            requests
        });
        (addr, served)
    }

    #[tokio::test]
    async fn a_5xx_is_tried_again_with_a_signature_that_holds() {
        let (addr, served) = edge(vec![503, 200]).await;
        let outcome = deliverer(&addr, 3).deliver(delivery()).await;
        assert_eq!((outcome.status, outcome.attempts, outcome.is_accepted()), (Some(200), 2, true));
        let requests = served.await.unwrap();
        let header = requests[1].lines().find_map(|line| line.strip_prefix("stripe-signature: ")).unwrap();
        let secrets = signature::Secrets::parse("whsec_a").unwrap();
        let now_s = i64::try_from(clock::now_s()).unwrap();
        assert_eq!(signature::verify(header.as_bytes(), b"{}", &secrets, now_s), Ok(()));
        assert!(requests[0].starts_with("POST /api/v1/webhooks/stripe HTTP/1.1"));
    }

    #[tokio::test]
    async fn a_400_is_final() {
        let (addr, _served) = edge(vec![400]).await;
        let outcome = deliverer(&addr, 3).deliver(delivery()).await;
        assert_eq!((outcome.status, outcome.attempts, outcome.is_accepted()), (Some(400), 1, false));
    }

    #[tokio::test]
    async fn tries_end_when_nobody_listens() {
        let (addr, served) = edge(vec![]).await;
        assert!(served.await.unwrap().is_empty());
        let outcome = deliverer(&addr, 2).deliver(delivery()).await;
        assert_eq!((outcome.status, outcome.attempts), (None, 2));
        assert!(outcome.row().contains("refused"), "{}", outcome.row());
        assert!(outcome.json().contains(r#""status":null,"attempts":2"#), "{}", outcome.json());
    }
}
