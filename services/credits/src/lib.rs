//! The tonic services of Tallystick: one RPC per file, one status table, one stack in front.
//!
//! Promises: every failed call carries a documented reason; a refused call wrote nothing; a credential reaches no
//! account that it does not cover (I10); no body, key or secret is logged. Must not know: SQL, Stripe's JSON, how
//! changes travel inside the service.
//!
//! One call: `stack` (span, credential, limits) → `rpc/<name>` (parse, call, reply) → `store::Store::apply`.

mod admin;
mod auth;
mod caller;
mod connections;
mod encode;
mod error;
mod fields;
mod inbox;
mod keys;
mod limits;
mod measure;
mod observe;
mod outcome;
mod page;
mod principal;
mod rpc;
mod server;
mod stack;
mod status;
mod streams;
mod units;

pub use auth::Authentication;
pub use encode::encode_entry;
pub use keys::{ApiKey, KeyHash, KeyRing, KeysError, MAX_KEYS, MAX_KEYS_FILE_BYTES};
pub use limits::Limits;
pub use measure::Measures;
pub use principal::{Accounts, Principal, PrincipalError, Scope};
pub use server::{ServeError, ServerConfig, UnixClock, serve};
pub use units::UnitPolicy;
