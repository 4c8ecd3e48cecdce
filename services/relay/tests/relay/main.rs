//! The relay against PostgreSQL: attach, live changes, faults, bookmarks, and waiting for a version.
//!
//! Every message of every test passes a `Reader`, which holds the stream to its contract: versions dense and in
//! order, none twice, whole operations, every jump a Snapshot.
#![allow(
    clippy::disallowed_methods,
    reason = "tests write histories that the checked statements never would"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    unreachable_pub,
    reason = "helpers of a test: they may panic, nobody else sees them"
)]

mod attach;
mod bookmarks;
mod faults;
mod gate;
mod ledger;
mod live;
mod modes;
mod reader;
mod sets;
mod tokens;
mod waiting;
