//! What was seen of a run: records in the order of one monotonic clock, as JSON lines.
//!
//! Promises: the order of the lines is the order of their times, so that "before" in a file is before in time; files
//! and their number are bounded. Must not know: how a run is made, or what is right.

mod hash;
mod record;
mod recorder;
mod stored;

pub use self::hash::Hash;
pub use self::record::{
    Account, Answered, Command, Delivered, Event, Figures, Nemesis, Outcome, Reason, Record, Target,
};
pub use self::recorder::Recorder;
pub use self::stored::{History, HistoryError, Line};
