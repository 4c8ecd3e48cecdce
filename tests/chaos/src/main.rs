//! Runs chaos, and validates histories.
fn main() {}
