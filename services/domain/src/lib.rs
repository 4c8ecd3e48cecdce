//! The rules of the ledger: what a grant, a spend and a due change do to one balance.
//!
//! Pure: the same state, command and time always give the same answer. This crate knows no database, no
//! network, no clock and no randomness; time and identifiers come in as parameters. Read `decide.rs` first:
//! it is the flat list of guards that every command passes.

mod balance;
mod canonical;
mod command;
mod decide;
mod denied;
mod entry;
mod figures;
mod id;
mod limits;
mod lot;
mod settle;
mod timestamp;

pub use balance::{AccountState, Balance, Operation};
pub use command::{Action, Command, Context, Expiry, Grant, IdempotencyKey, Metadata, RULE_VERSION, Spend};
pub use decide::{DecideError, decide};
pub use denied::Denied;
pub use entry::{Entry, EntryHash, EntryKind, Line};
pub use figures::Figures;
pub use id::{AccountId, GrantId, Invalid, OperationId, Problem, Unit};
pub use limits::*;
pub use lot::{BurnKey, Change, CostBasis, GrantKind, Lot, Priority};
pub use settle::settle;
pub use timestamp::Timestamp;
