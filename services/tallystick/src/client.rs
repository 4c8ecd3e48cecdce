//! The client side of the program: how a service is called, and how its refusals are told.

mod connect;
mod failure;

pub(crate) use connect::{Client, ClientArgs, endpoint};
pub(crate) use failure::CallError;
