//! An embedded PostgreSQL for `tallystick dev` and for tests: found, initialised, started, adopted and stopped.
//!
//! Promises: the server never runs as root, listens on 127.0.0.1 only, keeps `fsync`, `full_page_writes` and
//! `synchronous_commit` on, and belongs to one [`Cluster`] at a time. What a `kill -9` leaves behind (a living
//! server, a stale pid file, half an initdb) is taken over or cleared away by the next [`Cluster::start`].
//!
//! Every function blocks; asynchronous callers use `spawn_blocking`. Must not know tables, migrations or any
//! client library: it speaks to the server by files, signals and the stand-alone backend.

mod account;
mod binaries;
mod bootstrap;
mod cluster;
mod copy;
mod error;
mod guardian;
mod home;
mod launch;
mod package;
mod port;
mod postmaster;
mod program;
mod wait;

pub use crate::binaries::{Binaries, MINIMUM_MAJOR, Search};
pub use crate::cluster::{Cluster, Lifetime, Options, StopMode};
pub use crate::error::Error;
pub use crate::home::{DATABASE, OWNER, SUPERUSER, cluster_major};
pub use crate::package::{Route, default_cache_dir};
pub use crate::port::free_port;
