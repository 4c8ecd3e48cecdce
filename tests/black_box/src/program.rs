//! The service as a process: `dev` or `serve`, from its ready line to its end.

use std::process::ExitStatus;
use std::time::Duration;

use harness::{Process, TestDatabase};
use serde_json::Value;

use crate::command::{self, Finished};

/// A start with initdb on a machine that compiles something else at the same time stays below this.
const START_LIMIT: Duration = Duration::from_secs(60);
/// The grace time of the program, and some for a loaded machine.
pub const STOP_LIMIT: Duration = Duration::from_secs(30);

/// How the program is started. Addresses are free ports of 127.0.0.1 unless set.
#[derive(Debug, Clone)]
pub struct Options {
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    kept_lines: Option<usize>,
}

impl Options {
    /// `dev` on its own PostgreSQL, which ends with it.
    pub fn dev() -> Self {
        Self::dev_bare().arguments(&["--ephemeral"])
    }

    /// `dev` on a database that is there: starts in a moment.
    pub fn dev_on(database: &TestDatabase) -> Self {
        Self::dev_bare().database_url(database.url())
    }

    /// `dev` whose data stay in this directory.
    pub fn dev_in(data_dir: &str) -> Self {
        Self::dev_bare().arguments(&["--data-dir", data_dir])
    }

    fn dev_bare() -> Self {
        let addresses = ["dev", "--grpc-addr", ANY, "--edge-addr", ANY, "--ops-addr", ANY];
        Self { arguments: Vec::new(), variables: Vec::new(), kept_lines: None }.arguments(&addresses)
    }

    /// `serve --roles credits` without authentication.
    pub fn credits_on(database: &TestDatabase) -> Self {
        let options = Self::serve("credits").arguments(&["--grpc-addr", ANY, "--catalogue", CATALOGUE]);
        options.database_url(database.url()).arguments(&["--insecure-no-auth"])
    }

    /// `serve --roles edge` with this webhook secret in front of the credits role at `credits_addr`. It knows no
    /// database.
    pub fn edge_for(credits_addr: &str, secret: &str) -> Self {
        let options = Self::serve("edge").arguments(&["--edge-addr", ANY, "--credits-addr", credits_addr]);
        options.variable("TALLYSTICK_STRIPE_WEBHOOK_SECRETS", secret)
    }

    /// `serve` of these roles and nothing more: what they need is missing.
    pub fn serve(roles: &str) -> Self {
        let options = Self { arguments: Vec::new(), variables: Vec::new(), kept_lines: None };
        options.arguments(&["serve", "--roles", roles, "--ops-addr", ANY])
    }

    /// Sets an address instead of a free port of the system's choice, for a program that is started again.
    #[must_use]
    pub fn grpc_addr(mut self, addr: &str) -> Self {
        let flag = self.arguments.iter().position(|argument| argument == "--grpc-addr").expect("a gRPC role");
        addr.clone_into(&mut self.arguments[flag + 1]);
        self
    }

    /// Another database.
    #[must_use]
    pub fn database_url(self, url: &str) -> Self {
        self.variable("TALLYSTICK_DATABASE_URL", url)
    }

    /// More arguments.
    #[must_use]
    pub fn arguments(mut self, more: &[&str]) -> Self {
        self.arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Without this argument.
    #[must_use]
    pub fn without(mut self, argument: &str) -> Self {
        self.arguments.retain(|have| have != argument);
        self
    }

    /// A variable of its environment; the last one of a name counts.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Keeps the whole of its standard error.
    #[must_use]
    pub fn whole_log(self) -> Self {
        Self { kept_lines: Some(usize::MAX), ..self }
    }

    /// Sends its traces to this collector.
    #[must_use]
    pub fn traced_to(self, collector: &str) -> Self {
        self.variable("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
    }

    /// Runs it to its end, which must come by itself.
    ///
    /// # Panics
    /// When it does not end within 40 s.
    pub async fn run(&self) -> Finished {
        command::finish(self.start().await).await
    }

    /// Starts it without waiting for anything.
    ///
    /// # Panics
    /// When there is no program to start.
    pub async fn start(&self) -> Process {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let pairs = self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let pairs: Vec<_> = pairs.collect();
        match self.kept_lines {
            Some(kept) => Process::start_keeping(&arguments, &pairs, kept).await,
            None => Process::start(&arguments, &pairs).await,
        }
    }
}

/// Any free port.
const ANY: &str = "127.0.0.1:0";

/// What every `serve` here sells.
pub const CATALOGUE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/catalogue.toml");

/// The line that a program prints when it is ready.
#[derive(Debug, Clone)]
pub struct Ready(pub Value);

impl Ready {
    /// A member of the line.
    ///
    /// # Panics
    /// When the line does not have it as text.
    pub fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_else(|| panic!("the ready line has no {name}: {}", self.0))
    }

    /// `host:port` of the gRPC role.
    pub fn grpc(&self) -> &str {
        self.text("grpc")
    }

    /// `host:port` of the edge.
    pub fn edge(&self) -> &str {
        self.text("edge")
    }

    /// `host:port` of the operations listener.
    pub fn ops(&self) -> &str {
        self.text("ops")
    }
}

/// A service that is ready.
#[derive(Debug)]
pub struct Program {
    /// Its process.
    pub process: Process,
    /// What it said.
    pub ready: Ready,
}

impl Program {
    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready within a minute, or says something else first.
    pub async fn start(options: &Options) -> Self {
        let mut process = options.start().await;
        let line = process.line(START_LIMIT).await;
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(ready["ready"], true, "{line}");
        Self { process, ready: Ready(ready) }
    }

    /// SIGTERM, and the status with which it ends.
    ///
    /// # Panics
    /// When it is gone already or does not end.
    pub async fn stop(mut self) -> ExitStatus {
        self.process.terminate(STOP_LIMIT).await
    }
}
