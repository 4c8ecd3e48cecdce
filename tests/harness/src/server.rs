//! The PostgreSQL servers of a test process. Starting one takes initdb only the first time: the result is kept as a
//! seed under the build directory, and every cluster starts from a copy of it (measured: 0.1 s for the copy instead of
//! 2.5 s for initdb, role and database).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use postgres::{Binaries, Cluster, Lifetime, Options, Search};
use uuid::Uuid;

/// Changed when what a seed contains changes: an old one is then left alone.
const SEED_FORMAT: u32 = 1;

/// The server that all tests of this process share, started at first use. Tests that stop or kill a server start their
/// own by [`cluster`]. Blocks; asynchronous tests use [`crate::database`].
///
/// # Panics
/// When no server can be found or started; the message says what to do.
pub fn server() -> &'static Cluster {
    static SERVER: OnceLock<Cluster> = OnceLock::new();
    // Never dropped: its guardian process ends it when this process ends, whichever way.
    SERVER.get_or_init(cluster)
}

/// A server of its own, for a test that stops, kills or restarts it. Blocks for about half a second.
///
/// # Panics
/// As [`server`].
pub fn cluster() -> Cluster {
    cluster_from(&seed(binaries()))
}

/// A server of its own on a copy of a data directory: `cluster` in `seed`, with the passwords beside it. Blocks.
///
/// # Panics
/// As [`server`].
pub fn cluster_from(seed: &Path) -> Cluster {
    let lifetime = Lifetime::Ephemeral { seed: Some(seed.to_owned()) };
    let options = Options { data_dir: scratch("server"), port: 0, lifetime };
    Cluster::start(binaries(), &options).unwrap_or_else(|error| panic!("{}", described(&error)))
}

/// A program that comes with the servers of this process, such as `pg_dump`; some packages have the server alone.
pub fn server_program(name: &str) -> Option<PathBuf> {
    let path = binaries().dir().join(name);
    path.is_file().then_some(path)
}

/// A TCP port on 127.0.0.1 on which nobody listens now, outside the range of outgoing connections.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    postgres::free_port().expect("a free port")
}

/// `TALLYSTICK_POSTGRES_BIN_DIR` names the programs to use, as for the binary; otherwise they are searched.
fn binaries() -> &'static Binaries {
    static BINARIES: OnceLock<Binaries> = OnceLock::new();
    BINARIES.get_or_init(|| {
        let bin_dir = std::env::var_os("TALLYSTICK_POSTGRES_BIN_DIR").map(PathBuf::from);
        let search = Search { bin_dir, ..Search::new(postgres::default_cache_dir(None)) };
        Binaries::find(&search).unwrap_or_else(|error| panic!("{}", described(&error)))
    })
}

/// A new path in the temporary directory, which the server's user can enter; build directories often cannot be.
fn scratch(purpose: &str) -> PathBuf {
    std::env::temp_dir().join(format!("tallystick-{purpose}-{}", Uuid::new_v4().simple()))
}

/// The seed for these binaries; made by the first process that comes, while the others wait for its lock.
fn seed(binaries: &Binaries) -> PathBuf {
    let dir = build_dir().join("postgres-seeds");
    fs::create_dir_all(&dir).expect("create the directory of the seeds");
    let name: String =
        binaries.version().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let seed = dir.join(format!("v{SEED_FORMAT}-{name}"));
    if seed.is_dir() {
        return seed;
    }
    let lock = File::create(dir.join("lock")).expect("open the lock of the seeds");
    lock.lock().expect("lock the seeds");
    if !seed.is_dir() {
        // Made beside its place and renamed: a process killed halfway leaves no half seed.
        let unfinished = dir.join(format!("unfinished-{}", Uuid::new_v4().simple()));
        Cluster::prepare_seed(binaries, &scratch("seed"), &unfinished)
            .unwrap_or_else(|error| panic!("{}", described(&error)));
        fs::rename(&unfinished, &seed).expect("put the seed in its place");
    }
    seed
}

/// `CARGO_TARGET_DIR`, else `target` at the top of the workspace.
fn build_dir() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(default, PathBuf::from)
}

fn described(error: &postgres::Error) -> String {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{source}")
}
