//! One signed POST over a connection that is kept: HTTP/1.1, one call at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use signature::Secret;
use tokio::net::TcpStream;

use super::super::accounts::Accounts;
use super::super::drive::{Refusal, Work};
use super::template::Template;
use crate::clock;
use crate::error::Error;

/// An answer is read to its end so that the connection can be used again, but no further than this.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Where the events go.
#[derive(Debug, Clone)]
pub(super) struct Target {
    authority: HeaderValue,
    host: String,
    port: u16,
    path: String,
}

impl Target {
    /// Of a URL with http.
    ///
    /// # Errors
    /// [`Error::Config`] that names `--url`.
    pub(super) fn try_new(url: &str) -> Result<Self, Error> {
        let problem =
            |problem: &str| Error::Config { setting: "--url", problem: format!("{url:?} {problem}") };
        let must = "must be a URL such as http://127.0.0.1:7071/api/v1/webhooks/stripe";
        let uri: Uri = url.parse().map_err(|_| problem(must))?;
        match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => {}
            Some(scheme) if *scheme == Scheme::HTTPS => {
                return Err(problem(
                    "asks for TLS, which is not spoken here: pass the URL of a plain listener",
                ));
            }
            _ => return Err(problem(must)),
        }
        let authority = uri.authority().filter(|authority| !authority.host().is_empty());
        let authority = authority.ok_or_else(|| problem(must))?;
        Ok(Self {
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| problem(must))?,
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            path: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        })
    }
}

/// What all connections share.
pub(super) struct Events {
    pub(super) target: Target,
    pub(super) template: Template,
    pub(super) accounts: Accounts,
    pub(super) secret: Secret,
    pub(super) timeout: Duration,
    pub(super) run: String,
    /// Connections that were opened.
    pub(super) opened: AtomicUsize,
}

/// One connection. A clone has its own.
pub(super) struct Post {
    events: Arc<Events>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Post {
    /// Opens its connection with its first call.
    pub(super) fn new(events: Arc<Events>) -> Self {
        Self { events, connection: None }
    }

    async fn connection(&mut self) -> Result<SendRequest<Full<Bytes>>, Refusal> {
        if let Some(mut connection) = self.connection.take()
            && connection.ready().await.is_ok()
        {
            return Ok(connection);
        }
        let target = &self.events.target;
        let stream = TcpStream::connect((target.host.as_str(), target.port)).await;
        let stream = stream.map_err(|_| failed("CONNECT"))?;
        // A request is written whole: without it the kernel would wait for more to send.
        stream.set_nodelay(true).map_err(|_| failed("CONNECT"))?;
        let (mut sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|_| failed("CONNECT"))?;
        tokio::spawn(connection);
        self.events.opened.fetch_add(1, Ordering::Relaxed);
        sender.ready().await.map_err(|_| failed("CONNECT"))?;
        Ok(sender)
    }

    fn request(&self, number: u64) -> Result<Request<Full<Bytes>>, Refusal> {
        let events = &self.events;
        let account = events.accounts.name(events.accounts.choose(number));
        let body = Bytes::from(events.template.fill(&format!("{}{number:012}", events.run), &account));
        Request::post(events.target.path.as_str())
            .header(header::HOST, events.target.authority.clone())
            .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
            .header(header::USER_AGENT, concat!("tallystick-bench/", env!("CARGO_PKG_VERSION")))
            .header("stripe-signature", signature::sign(&events.secret, clock::now_s(), &body))
            .body(Full::new(body))
            .map_err(|_| failed("REQUEST"))
    }

    async fn post(&mut self, number: u64) -> Result<(), Refusal> {
        let request = self.request(number)?;
        let mut connection = self.connection().await?;
        let answer = connection.send_request(request).await.map_err(|_| failed("CONNECTION_LOST"))?;
        let status = answer.status();
        let read = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
        if read.is_ok() {
            self.connection = Some(connection);
        }
        if status.is_success() {
            return Ok(());
        }
        Err(Refusal { reason: format!("HTTP_{}", status.as_u16()), is_answer: true })
    }
}

impl Clone for Post {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.events))
    }
}

impl Work for Post {
    async fn call(&mut self, number: u64) -> Result<(), Refusal> {
        let timeout = self.events.timeout;
        tokio::time::timeout(timeout, self.post(number)).await.unwrap_or_else(|_| Err(failed("TIMEOUT")))
    }
}

fn failed(reason: &str) -> Refusal {
    Refusal { reason: reason.to_owned(), is_answer: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_plain_http_with_a_host() {
        let target = Target::try_new("http://[::1]:7071/hook?a=1").unwrap();
        assert_eq!((target.host.as_str(), target.port, target.path.as_str()), ("::1", 7071, "/hook?a=1"));
        let target = Target::try_new("http://edge.internal").unwrap();
        assert_eq!((target.port, target.path.as_str()), (80, "/"));
        for bad in ["", "127.0.0.1:7071", "/hook", "https://a/hook", "ftp://a/hook", "http://", "http://a b/"]
        {
            let error = Target::try_new(bad).unwrap_err();
            assert!(error.to_string().starts_with("--url ") && error.exit_code() == 2, "{bad}: {error}");
        }
    }
}
