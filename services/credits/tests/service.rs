//! The gRPC service over real sockets and a real PostgreSQL, with the generated client.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests fail by panicking, also in what they share"
)]

#[path = "service/adjustments.rs"]
mod adjustments;
#[path = "service/admin.rs"]
mod admin;
#[path = "service/bad_input.rs"]
mod bad_input;
#[path = "service/bad_writes.rs"]
mod bad_writes;
#[path = "service/batches.rs"]
mod batches;
#[path = "service/calls.rs"]
mod calls;
#[path = "service/clocks.rs"]
mod clocks;
#[path = "service/connections.rs"]
mod connections;
#[path = "service/credentials.rs"]
mod credentials;
#[path = "service/exports.rs"]
mod exports;
#[path = "service/holds.rs"]
mod holds;
#[path = "service/holds_listed.rs"]
mod holds_listed;
#[path = "service/ledger.rs"]
mod ledger;
#[path = "service/lifecycle.rs"]
mod lifecycle;
#[path = "service/past.rs"]
mod past;
#[path = "service/quotes.rs"]
mod quotes;
#[path = "service/reads.rs"]
mod reads;
#[path = "service/reversals.rs"]
mod reversals;
#[path = "service/revocations.rs"]
mod revocations;
#[path = "service/scopes.rs"]
mod scopes;
#[path = "service/served.rs"]
mod served;
#[path = "service/shop.rs"]
mod shop;
#[path = "service/siblings.rs"]
mod siblings;
#[path = "service/stripe_events.rs"]
mod stripe_events;
#[path = "service/stripe_money.rs"]
mod stripe_money;
#[path = "service/subscriptions.rs"]
mod subscriptions;
#[path = "service/watch.rs"]
mod watch;
#[path = "service/watch_set.rs"]
mod watch_set;
#[path = "service/writes.rs"]
mod writes;
