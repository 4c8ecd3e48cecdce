//! The rules of the ledger: what a grant, a spend and a due change do to one balance.
//!
//! Pure: the same state, command and time always give the same answer. This crate knows no database, no
//! network, no clock and no randomness; time and identifiers come in as parameters. Read `decide.rs` first:
//! it is the flat list of guards that every command passes; its folder has a file for each family of commands.

mod action;
mod audit;
mod balance;
mod canonical;
mod clawback;
mod command;
mod decide;
mod denied;
mod draft;
mod entry;
mod figures;
mod hold;
mod id;
mod limits;
mod lot;
#[cfg(feature = "mutants")]
pub mod mutants;
#[cfg(not(feature = "mutants"))]
mod mutants;
mod reversal;
mod revocation;
mod rules;
mod settle;
mod threshold;
mod timestamp;

pub use action::{Action, Adjust, Capture, Expiry, Extend, Grant, NewHold, Release, Reverse, Revoke, Spend};
pub use audit::{Difference, Ended, HoldSum, JournalCheck, LotSum, ReversalSum};
pub use balance::{AccountState, Balance, Operation};
pub use clawback::{revoked_target, withheld};
pub use command::{Command, Context, IdempotencyKey, Metadata, RULE_VERSION};
pub use decide::{DecideError, decide};
pub use denied::Denied;
pub use entry::{Entry, EntryHash, EntryKind, Line};
pub use figures::Figures;
pub use hold::{Hold, HoldLine, HoldState};
pub use id::{AccountId, EntryRef, GrantId, HoldId, Invalid, OperationId, Problem, Unit};
pub use limits::*;
pub use lot::{BurnKey, Change, CostBasis, GrantKind, Lot, Priority};
pub use reversal::Reversible;
pub use revocation::{Parts, Revoked, Shortfall};
pub use rules::Rules;
pub use settle::settle;
pub use threshold::{Armed, Crossing, Direction, Threshold};
pub use timestamp::Timestamp;
