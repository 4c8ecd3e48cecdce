//! Why a watch ended for good.

/// The end of a watch; nothing comes after it.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The builder was given something unusable.
    #[error("cannot watch: {0}")]
    Config(String),
    /// Nobody listens there; only with [`crate::Builder::fail_fast`], otherwise the watcher tries again.
    #[error("cannot reach {endpoint}")]
    Unreachable {
        /// The endpoint as given.
        endpoint: String,
        /// Why not.
        source: tonic::transport::Error,
    },
    /// The service refuses in a way that no retry changes.
    #[error("refused: {:?}: {}", .0.code(), .0.message())]
    Refused(Box<tonic::Status>),
    /// The service broke the contract of WatchCredits: what the reader has cannot be trusted any further.
    #[error("contract broken for {account}, {unit}: expected {expected}, got {got}")]
    ContractBroken {
        /// Owner of the balance.
        account: String,
        /// What is counted.
        unit: String,
        /// What the contract wants.
        expected: String,
        /// What came.
        got: String,
    },
}
