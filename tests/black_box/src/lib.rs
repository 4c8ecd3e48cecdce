//! What the black-box tests share: the program as a process, its clients, a load that remembers every answer, a
//! watcher that remembers every message, and the checks of both against the journal afterwards.
//!
//! Promises: no process started here survives the test process, SIGKILL included; every wait has a deadline and panics
//! with what was waited for; what a failed test needs to be understood (the program's log, the seed) is on stderr.
//! Must not know the crates that serve (`credits`, `edge`, `relay`, `stripe`): the program is asked from outside.
//! [`history`] reads the database, since what is promised is what lies there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test support crate fails by panicking"
)]

pub mod api;
mod command;
pub mod history;
pub mod http;
pub mod journal;
pub mod load;
mod program;
pub mod scratch;
mod watcher;
pub mod webhook;

pub use crate::command::{Finished, run, run_with, start};
pub use crate::program::{CATALOGUE, Options, Program, Ready, STOP_LIMIT};
pub use crate::watcher::{Seen, Watcher};
pub use harness::{Process, seed};
