//! Traces: the W3C trace context that a request carries ([`Traceparent`]), and the spans that an exporter sees.
//!
//! Two kinds of spans exist in the program. Spans of the log (`rpc`, `webhook`) name the request in every line and are
//! always there. Spans with the target [`TARGET`] are for an exporter alone: the log never shows them, and without an
//! exporter their call sites are switched off (one load of an atomic each). Promises: nothing here waits, nothing fails
//! a request, and a context that comes in goes out unchanged while no exporter is there. Must not know: how spans are
//! exported, and what a request means.

mod export;
mod traceparent;

pub use crate::export::{TARGET, child_of, current, end_with_error, is_on, link, of};
pub use crate::traceparent::{TRACEPARENT, Traceparent};
