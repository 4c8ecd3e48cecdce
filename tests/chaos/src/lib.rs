//! The chaos harness of the watch contract: random traffic against real processes and a real PostgreSQL, faults in the
//! middle of it, a history of everything that anybody was told, and offline validators that hold the contract against
//! it.
//!
//! Promises: a seed repeats commands, faults and their times (not the machine's scheduling); whatever happens, processes
//! and servers end with the run. Must not know the crates that serve: they are asked from outside.

pub mod history;
pub mod validate;
