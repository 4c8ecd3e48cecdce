//! What tests share: a PostgreSQL server that ends with the test process, a migrated database per test, the program as
//! a process, waiting for a condition, and a TCP proxy that breaks connections at a chosen byte.
//!
//! Promises: nothing survives the test process, SIGKILL included; several test processes may start at once; the
//! server keeps `fsync`, `full_page_writes` and `synchronous_commit` on and says so once on stderr. Failures panic with
//! what was being done, since a test has no use for an error value. Must not link any crate under test but `postgres`,
//! so that every one of them can use it.
//!
//! ```no_run
//! # async fn example() {
//! let database = harness::database().await;
//! sqlx::raw_sql("select 1").execute(database.pool()).await.unwrap();
//! # }
//! ```
#![allow(clippy::expect_used, clippy::print_stderr, reason = "a test support crate fails by panicking")]

mod binary;
mod database;
mod invariants;
mod process;
mod proxy;
pub mod seed;
mod server;
mod wait;

pub use crate::binary::program;
pub use crate::database::{TestDatabase, database, database_on, restart_as_standby};
pub use crate::invariants::assert_invariants;
pub use crate::process::Process;
pub use crate::proxy::{Direction, Fault, Moment, Proxy, Trigger};
pub use crate::server::{cluster, cluster_from, free_port, server, server_program};
pub use crate::wait::{eventually, eventually_some};
