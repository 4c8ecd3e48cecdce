//! The rows of WatchLedger.

use domain::Timestamp;
use proto::v1::ErrorReason;
use relay::LedgerError;

use super::{Row, overloaded, plain, shutting_down, store};

pub(super) fn too_many(limit: usize) -> Row {
    plain(
        ErrorReason::TooManyStreams,
        format!("{limit} streams of the ledger are open in this process, its maximum"),
        vec![("limit", limit.to_string()), ("per", "process".to_owned())],
    )
}

pub(super) fn ended(why: &LedgerError) -> Row {
    match why {
        LedgerError::BadResumeToken => {
            plain(ErrorReason::BadResumeToken, "the resume token is not of this installation", vec![])
        }
        LedgerError::Compacted { oldest } => compacted(*oldest),
        LedgerError::TooManyInProgress => {
            let message = "the database has more transactions in progress than a resume token holds";
            Row { message: message.to_owned(), ..overloaded() }
        }
        LedgerError::Stopping => shutting_down(),
        LedgerError::Store(source) => store(source),
    }
}

fn compacted(oldest: Timestamp) -> Row {
    let oldest = super::denied::moment(oldest.micros());
    plain(
        ErrorReason::Compacted,
        format!("changes are kept since {oldest}: start anew"),
        vec![("oldest", oldest)],
    )
}
