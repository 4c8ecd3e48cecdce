//! The chaos harness of the watch contract: random traffic against real processes and a real PostgreSQL, faults in the
//! middle of it, a history of everything that anybody was told, and offline validators that hold the contract against
//! it.
//!
//! Promises: a seed repeats commands, faults and their times (not the machine's scheduling); whatever happens, processes
//! and servers end with the run. Must not know the crates that serve: they are asked from outside.

#![allow(clippy::expect_used, reason = "what a run cannot do without, it panics for")]

mod audit;
pub mod history;
mod library;
mod nemesis;
mod reader;
mod replica;
pub mod report;
mod run;
mod source;
pub mod validate;
mod world;
mod writer;

pub use crate::nemesis::possible;
pub use crate::run::{Progress, RunError, Settings, run};
