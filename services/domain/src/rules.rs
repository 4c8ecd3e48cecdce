//! What an installation may choose about the rules.

use crate::limits::DEFAULT_REVERSAL_GRACE_S;
use crate::revocation::Shortfall;

/// The choices. They decide new commands only; what is in the journal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How long credits last, in seconds, that should return to a lot which has ended.
    pub reversal_grace_s: i64,
    /// What a revocation does about missing credits when the request does not say.
    pub shortfall: Shortfall,
}

impl Default for Rules {
    fn default() -> Self {
        Self { reversal_grace_s: DEFAULT_REVERSAL_GRACE_S, shortfall: Shortfall::Owed }
    }
}
