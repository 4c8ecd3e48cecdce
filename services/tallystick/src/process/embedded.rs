//! The PostgreSQL of `dev`: found, started, watched over, stopped.
//!
//! Promises: a server that dies under us is started again, so that a `dev` outlives its database as a service does;
//! the server ends with [`Embedded::stop`], its data only if they were not to be kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use postgres::{Binaries, Cluster, Lifetime, Options, Search, StopMode};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// How often the server is looked after.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// Where it lives and what runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EmbeddedOptions {
    /// Its directory.
    pub(crate) data_dir: PathBuf,
    /// Whether the data are thrown away.
    pub(crate) ephemeral: bool,
    /// The programs to use and no others.
    pub(crate) bin_dir: Option<PathBuf>,
    /// Where programs that were obtained are kept.
    pub(crate) cache_dir: PathBuf,
}

/// A running server.
pub(crate) struct Embedded {
    cluster: Arc<Cluster>,
    watch: JoinHandle<()>,
    enough: CancellationToken,
}

impl Embedded {
    /// Finds programs and starts the server, or adopts the one that an earlier process left.
    ///
    /// # Errors
    /// [`Error::Postgres`]; its message says what was tried and what to do.
    pub(crate) async fn start(options: EmbeddedOptions) -> Result<Self, Error> {
        let dir = options.data_dir.display();
        tracing::info!(data_dir = %dir, "starting PostgreSQL; the first time in a directory takes some seconds");
        let cluster = blocking(move || start(&options)).await?;
        let cluster = Arc::new(cluster?);
        let enough = CancellationToken::new();
        let watch = tokio::spawn(watch_over(Arc::clone(&cluster), enough.clone()));
        Ok(Self { cluster, watch, enough })
    }

    /// The database's URL, password included.
    pub(crate) fn database_url(&self) -> String {
        self.cluster.database_url()
    }

    /// Stops the server in order, and removes data that were not to be kept.
    ///
    /// # Errors
    /// [`Error::Postgres`] when it outlives even SIGKILL.
    pub(crate) async fn stop(self) -> Result<(), Error> {
        self.enough.cancel();
        // Until the watch is over it might start the server again.
        let _ = self.watch.await;
        let cluster = self.cluster;
        let stopped = blocking(move || {
            let stopped = cluster.stop(StopMode::Fast);
            drop(cluster);
            stopped
        });
        stopped.await?.map_err(Error::from)
    }
}

fn start(options: &EmbeddedOptions) -> Result<Cluster, postgres::Error> {
    let search = Search {
        bin_dir: options.bin_dir.clone(),
        major: postgres::cluster_major(&options.data_dir),
        ..Search::new(&options.cache_dir)
    };
    let binaries = Binaries::find(&search)?;
    let lifetime = if options.ephemeral { Lifetime::Ephemeral { seed: None } } else { Lifetime::Persistent };
    let cluster =
        Cluster::start(&binaries, &Options { data_dir: options.data_dir.clone(), port: 0, lifetime })?;
    tracing::info!(
        version = binaries.version(),
        kept = !options.ephemeral,
        log = %cluster.log().display(),
        "PostgreSQL runs"
    );
    Ok(cluster)
}

async fn watch_over(cluster: Arc<Cluster>, enough: CancellationToken) {
    while tokio::time::timeout(WATCH_INTERVAL, enough.cancelled()).await.is_err() {
        let cluster = Arc::clone(&cluster);
        let looked_after = blocking(move || {
            if cluster.pid().is_some() {
                return Ok(());
            }
            tracing::warn!("PostgreSQL has died: starting it again");
            cluster.start_again()
        });
        if let Ok(Err(error)) = looked_after.await {
            tracing::error!(%error, "PostgreSQL cannot be started again");
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Role {
        role: "PostgreSQL",
        problem: format!("could not be looked after: {error}"),
    })
}
