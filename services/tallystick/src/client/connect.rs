//! One connection to a service, with the caller's credential and deadline on every call.
//!
//! The API key is sent and never shown; a file is preferred to a flag or variable, which other users can read.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use proto::v1::admin_service_client::AdminServiceClient;
use proto::v1::credit_service_client::CreditServiceClient;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use crate::client::CallError;
use crate::error::Error;
use crate::settings::{address, secret_file};

/// A host that drops packets must not hold a command.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection whose peer is gone without a word is noticed after their sum.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest deadline that may be asked for: an hour.
const MAX_TIMEOUT_MS: u64 = 3_600_000;

/// What all client commands share.
#[derive(Debug, Args)]
pub(crate) struct ClientArgs {
    /// Where the service listens for gRPC, as host:port.
    #[arg(
        long,
        env = "TALLYSTICK_ADDR",
        default_value = "127.0.0.1:7070",
        value_name = "HOST:PORT",
        help_heading = "Connection"
    )]
    pub(crate) addr: String,
    /// Print JSON, one object a line, with the field names of the proto files.
    #[arg(long)]
    pub(crate) json: bool,
    /// A file with the API key; `dev` needs none.
    #[arg(long, env = "TALLYSTICK_API_KEY_FILE", value_name = "FILE", help_heading = "Connection")]
    api_key_file: Option<PathBuf>,
    /// The API key itself, unless a file is given. Other users of this machine may see it.
    #[arg(
        long,
        env = "TALLYSTICK_API_KEY",
        hide_env_values = true,
        value_name = "KEY",
        help_heading = "Connection"
    )]
    api_key: Option<String>,
    /// How long a call may take, in milliseconds.
    #[arg(
        long,
        default_value_t = 10_000,
        value_parser = clap::value_parser!(u64).range(1..=MAX_TIMEOUT_MS),
        value_name = "MS",
        help_heading = "Connection"
    )]
    timeout_ms: u64,
}

/// A connected client. A clone uses the same connection.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) service: CreditServiceClient<Channel>,
    pub(crate) admin: AdminServiceClient<Channel>,
    authorization: Option<MetadataValue<Ascii>>,
    timeout: Duration,
}

impl Client {
    /// Connects now, so that a service that is not there is told apart from a call that failed.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::File`] for an unusable address or key, [`CallError::Unreachable`].
    pub(crate) async fn connect(args: &ClientArgs) -> Result<Self, Error> {
        Self::connect_to(args, "--addr", &args.addr).await
    }

    /// The same to another address, which `setting` gives.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub(crate) async fn connect_to(
        args: &ClientArgs,
        setting: &'static str,
        addr: &str,
    ) -> Result<Self, Error> {
        let authorization = args.authorization()?;
        let channel = endpoint(setting, addr)?
            .connect()
            .await
            .map_err(|error| CallError::Unreachable { addr: addr.to_owned(), error: Box::new(error) })?;
        let (service, admin) = (CreditServiceClient::new(channel.clone()), AdminServiceClient::new(channel));
        Ok(Self { service, admin, authorization, timeout: Duration::from_millis(args.timeout_ms) })
    }

    /// A request with credential and deadline.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = self.stream_request(message);
        request.set_timeout(self.timeout);
        request
    }

    /// A request without a deadline, for a stream that has no end.
    pub(crate) fn stream_request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        request
    }
}

impl ClientArgs {
    /// The API key, where there is one.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::File`] for an unusable one.
    pub(crate) fn api_key(&self) -> Result<Option<String>, Error> {
        let key = match (&self.api_key_file, &self.api_key) {
            (Some(path), _) => Some(secret_file::read_one("--api-key-file", path)?),
            (None, Some(key)) => Some(key.trim().to_owned()),
            (None, None) => None,
        };
        // An empty variable is a variable that is not set.
        let Some(key) = key.filter(|key| !key.is_empty()) else { return Ok(None) };
        bearer(&key)?;
        Ok(Some(key))
    }

    fn authorization(&self) -> Result<Option<MetadataValue<Ascii>>, Error> {
        self.api_key()?.map(|key| bearer(&key)).transpose()
    }
}

fn bearer(key: &str) -> Result<MetadataValue<Ascii>, Error> {
    let header = MetadataValue::try_from(format!("Bearer {key}"));
    let mut header = header.map_err(|_| Error::Config {
        setting: "--api-key",
        problem: "has characters that no key has".to_owned(),
    })?;
    header.set_sensitive(true);
    Ok(header)
}

/// Where a credits role listens for gRPC, from host:port.
///
/// # Errors
/// [`Error::Config`] that names the setting.
pub(crate) fn endpoint(setting: &'static str, addr: &str) -> Result<Endpoint, Error> {
    let problem = |problem: &str| Error::Config { setting, problem: format!("{addr:?} {problem}") };
    if addr.starts_with("https://") {
        return Err(problem("asks for TLS, which is not spoken here: pass host:port of a plain listener"));
    }
    let must = "must be host:port, such as 127.0.0.1:7070";
    let host_port = address::host_port(addr).ok_or_else(|| problem(must))?;
    let endpoint = Endpoint::from_shared(format!("http://{host_port}")).map_err(|_| problem(must))?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        for addr in ["127.0.0.1:7070", "localhost:7070", "[::1]:7070", "http://credits.internal:7070/"] {
            assert!(endpoint("--addr", addr).is_ok(), "{addr}");
        }
        for addr in ["", "localhost", ":7070", "localhost:0", "localhost:x", "https://localhost:1", "a b:1"] {
            let error = endpoint("--addr", addr).unwrap_err();
            assert!(error.to_string().starts_with("--addr "), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }
}
