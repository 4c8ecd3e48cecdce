//! `apply` on a real PostgreSQL: what it writes, what it refuses, whom it makes wait, and what it says when
//! connections die; and pages of what it wrote.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs, reason = "tests")]

mod accounts;
mod book;
mod connections;
mod corrections;
mod faults;
mod holds;
mod inbox;
mod money;
mod pages;
mod plans;
mod races;
mod reads;
mod replays;
mod rules;
mod stripe_events;
mod subscriptions;
mod sweeps;
mod verifies;
mod walks;
