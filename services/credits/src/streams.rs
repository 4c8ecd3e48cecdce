//! How many streams may be open: a permit for each, given back when the stream is dropped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::CallError;
use crate::limits::Limits;
use crate::principal::Principal;

/// The open streams of the process.
#[derive(Debug)]
pub(crate) struct Streams {
    process: Arc<Semaphore>,
    per_principal: usize,
    open: Arc<Mutex<HashMap<String, usize>>>,
}

/// Places for streams of the ledger, of all callers together: each has a connection to the database of its own.
#[derive(Debug)]
pub(crate) struct LedgerStreams {
    pub(crate) places: Arc<Semaphore>,
    pub(crate) limit: usize,
}

impl LedgerStreams {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { places: Arc::new(Semaphore::new(limits.ledger_streams)), limit: limits.ledger_streams }
    }
}

/// One open stream.
#[derive(Debug)]
pub(crate) struct StreamPermit {
    principal: String,
    open: Arc<Mutex<HashMap<String, usize>>>,
    _process: OwnedSemaphorePermit,
}

impl Streams {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            process: Arc::new(Semaphore::new(limits.streams)),
            per_principal: limits.streams_per_principal,
            open: Arc::default(),
        }
    }

    /// Opens a stream of a principal.
    ///
    /// # Errors
    /// [`CallError::TooManyStreams`] when the principal has its share, [`CallError::Overloaded`] when the process has.
    pub(crate) fn open(&self, principal: &Principal) -> Result<StreamPermit, CallError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.get(principal.id()).copied().unwrap_or(0);
        if count >= self.per_principal {
            return Err(CallError::TooManyStreams { limit: self.per_principal });
        }
        let process = Arc::clone(&self.process).try_acquire_owned().map_err(|_| CallError::Overloaded)?;
        open.insert(principal.id().to_owned(), count + 1);
        Ok(StreamPermit {
            principal: principal.id().to_owned(),
            open: Arc::clone(&self.open),
            _process: process,
        })
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.principal) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.principal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::principal::{Accounts, Scope};

    fn principal(id: &str) -> Principal {
        Principal::try_new(id, [Scope::Read], Accounts::all()).unwrap()
    }

    #[test]
    fn a_principal_and_the_process_have_their_limits_and_drops_free_them() {
        let limits = Limits { streams: 3, streams_per_principal: 2, ..Limits::default() };
        let streams = Streams::new(&limits);
        let (a, b) = (principal("a"), principal("b"));
        let first = streams.open(&a).unwrap();
        let _second = streams.open(&a).unwrap();
        assert!(matches!(streams.open(&a), Err(CallError::TooManyStreams { limit: 2 })));
        let third = streams.open(&b).unwrap();
        assert!(matches!(streams.open(&b), Err(CallError::Overloaded)));
        drop(first);
        assert!(streams.open(&a).is_ok());
        drop(third);
        assert!(!streams.open.lock().unwrap().contains_key("b"));
    }
}
