//! A process that serves: what it runs, when it is ready, and how it ends.

pub(crate) mod embedded;
mod files;
mod http;
mod metrics;
mod ops;
mod ready;
pub(crate) mod service;
mod stop;
mod vitals;

pub(crate) use ready::ReadyLine;
pub(crate) use stop::Stop;
