//! Requests of one account that must be applied in their order, although each gets an answer of its own.
//!
//! A lane and a detour keep the order of an account's requests anyway. What could break it is a request that falls out
//! (no room, no time, a lock that others keep) while a later one gets through: the sequence is cut off there, and its
//! later requests fall out, too, with nothing written for them. A refusal by the rules is an answer and cuts nothing.

use std::sync::OnceLock;

use crate::error::ApplyError;

/// What the requests of a sequence share.
#[derive(Debug, Default)]
pub(crate) struct Sequence(OnceLock<ApplyError>);

impl Sequence {
    /// Why later requests must not be applied any more.
    pub(crate) fn cut(&self) -> Option<ApplyError> {
        self.0.get().cloned()
    }

    /// One request ended with this error.
    pub(crate) fn end_with(&self, error: &ApplyError) {
        if let Some(why) = error.for_later_requests() {
            let _ = self.0.set(why);
        }
    }
}

impl ApplyError {
    /// What holds for later requests of the same sequence, for which nothing is written; `None` when they may be
    /// applied.
    #[must_use]
    pub fn for_later_requests(&self) -> Option<Self> {
        match self {
            // An answer of the rules; and a defect of one request, which stays one however often it is tried.
            Self::Denied(_) | Self::KeyReused { .. } | Self::Internal => None,
            // The connection was lost, or the time is up; of the later ones it is known that nothing was written.
            Self::OutcomeUnknown => Some(Self::Unavailable),
            Self::Overloaded
            | Self::Contended
            | Self::DeadlinePassed
            | Self::Unavailable
            | Self::Stopping => Some(self.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::Denied;

    use super::*;

    #[test]
    fn a_sequence_is_cut_off_once_by_what_left_a_request_undone() {
        let sequence = Sequence::default();
        sequence.end_with(&ApplyError::Denied(Denied::AccountFrozen));
        sequence.end_with(&ApplyError::Internal);
        assert_eq!(sequence.cut(), None);
        sequence.end_with(&ApplyError::OutcomeUnknown);
        sequence.end_with(&ApplyError::Overloaded);
        assert_eq!(sequence.cut(), Some(ApplyError::Unavailable));
    }
}
