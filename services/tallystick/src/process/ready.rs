//! The one line on standard output that tells a script where everything listens.

use std::net::SocketAddr;

use serde::Serialize;

use crate::error::Error;
use crate::output;

/// Addresses as they are bound. What does not run in this process is absent; database and secret are told by `dev`
/// only.
#[derive(Debug, Serialize)]
pub(crate) struct ReadyLine {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grpc: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) edge: Option<SocketAddr>,
    pub(crate) ops: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) database_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) webhook_secret: Option<&'static str>,
}

impl ReadyLine {
    /// A process whose operations listener is at `ops`.
    pub(crate) fn new(ops: SocketAddr) -> Self {
        Self { ready: true, grpc: None, edge: None, ops, database_url: None, webhook_secret: None }
    }

    /// Prints it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn print(&self) -> Result<(), Error> {
        output::line(&self.text())
    }

    fn text(&self) -> String {
        // Numbers and strings only: this cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_dev_is_the_documented_one() {
        let addr = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let mut line = ReadyLine::new(addr(7073));
        line.grpc = Some(addr(7070));
        line.edge = Some(addr(7071));
        line.database_url = Some("postgres://a".to_owned());
        line.webhook_secret = Some("whsec_tallystick_dev");
        assert_eq!(
            line.text(),
            r#"{"ready":true,"grpc":"127.0.0.1:7070","edge":"127.0.0.1:7071","ops":"127.0.0.1:7073","database_url":"postgres://a","webhook_secret":"whsec_tallystick_dev"}"#
        );
    }

    #[test]
    fn what_does_not_run_is_absent() {
        let line = ReadyLine::new(SocketAddr::from(([0, 0, 0, 0], 1)));
        assert_eq!(line.text(), r#"{"ready":true,"ops":"0.0.0.0:1"}"#);
    }
}
