//! The gRPC service over real sockets and a real PostgreSQL, with the generated client.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests fail by panicking, also in what they share"
)]

#[path = "service/bad_input.rs"]
mod bad_input;
#[path = "service/batches.rs"]
mod batches;
#[path = "service/calls.rs"]
mod calls;
#[path = "service/credentials.rs"]
mod credentials;
#[path = "service/lifecycle.rs"]
mod lifecycle;
#[path = "service/reads.rs"]
mod reads;
#[path = "service/served.rs"]
mod served;
#[path = "service/stripe_events.rs"]
mod stripe_events;
#[path = "service/watch.rs"]
mod watch;
