//! What to watch, where, and how.

use std::time::Duration;

use proto::v1::{WatchMode, WatchTarget};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Endpoint;

use crate::check::Places;
use crate::{WatchError, Watcher};

/// A host that drops packets must not hold a try.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection whose peer is gone without a word is noticed after their sum.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Builds a [`Watcher`].
#[derive(Debug, Default)]
pub struct Builder {
    endpoints: Vec<String>,
    api_key: Option<MetadataKey>,
    targets: Vec<WatchTarget>,
    mode: WatchMode,
    require_history: bool,
    bookmark_interval: Option<Duration>,
    fail_fast: bool,
}

/// The key as given; not shown.
struct MetadataKey(String);

impl std::fmt::Debug for MetadataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

impl Builder {
    /// Adds a place to connect to, such as `http://127.0.0.1:7070`; several are tried in turn after a failure.
    #[must_use]
    pub fn endpoint(mut self, uri: impl Into<String>) -> Self {
        self.endpoints.push(uri.into());
        self
    }

    /// The credential.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(MetadataKey(key.into()));
        self
    }

    /// Adds a balance to watch, from where the target says.
    #[must_use]
    pub fn target(mut self, target: WatchTarget) -> Self {
        self.targets.push(target);
        self
    }

    /// Adds an account's credits, beginning with a snapshot.
    #[must_use]
    pub fn account(self, account: impl Into<String>) -> Self {
        self.target(WatchTarget { account_id: account.into(), ..WatchTarget::default() })
    }

    /// Every change, unless set.
    #[must_use]
    pub fn mode(mut self, mode: WatchMode) -> Self {
        self.mode = mode;
        self
    }

    /// Rather be refused than jump over changes.
    #[must_use]
    pub fn require_history(mut self, require: bool) -> Self {
        self.require_history = require;
        self
    }

    /// How often a bookmark comes; unset: 5 s.
    #[must_use]
    pub fn bookmark_interval(mut self, interval: Duration) -> Self {
        self.bookmark_interval = Some(interval);
        self
    }

    /// Until the first message has come, any failure ends the watch: for commands, whose user may have named a place
    /// where nobody listens.
    #[must_use]
    pub fn fail_fast(mut self, fail_fast: bool) -> Self {
        self.fail_fast = fail_fast;
        self
    }

    /// The watcher; it connects at its first `next`.
    ///
    /// # Errors
    /// [`WatchError::Config`] for what cannot be used.
    pub fn build(self) -> Result<Watcher, WatchError> {
        let config = |problem: String| WatchError::Config(problem);
        let mut places = Places::new(self.mode, self.require_history);
        for target in self.targets {
            let name = target.account_id.clone();
            if !places.add(target) {
                return Err(config(format!("{name} is named twice")));
            }
        }
        if places.is_empty() || self.endpoints.is_empty() {
            return Err(config("it takes an endpoint and a target".to_owned()));
        }
        let endpoint = |uri: &String| {
            let endpoint = Endpoint::from_shared(uri.clone());
            endpoint.map(tuned).map_err(|_| config(format!("{uri:?} is not a URI")))
        };
        let endpoints = self.endpoints.iter().map(endpoint).collect::<Result<Vec<_>, _>>()?;
        let authorization = self.api_key.map(|key| bearer(&key.0)).transpose()?;
        let interval = self.bookmark_interval;
        if interval.is_some_and(|interval| prost_types::Duration::try_from(interval).is_err()) {
            return Err(config("the bookmark interval is too long".to_owned()));
        }
        Ok(Watcher::new(endpoints, authorization, places, interval, self.fail_fast))
    }
}

fn tuned(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
}

fn bearer(key: &str) -> Result<MetadataValue<Ascii>, WatchError> {
    let header = MetadataValue::try_from(format!("Bearer {}", key.trim()));
    let mut header =
        header.map_err(|_| WatchError::Config("the API key has characters that no key has".to_owned()))?;
    header.set_sensitive(true);
    Ok(header)
}
