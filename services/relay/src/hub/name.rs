//! The name of a watched balance: one for the hub and all who watch it. It is looked up by borrowed texts, since what a
//! poll finds is mostly watched by nobody.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use domain::{AccountId, Unit};

/// A balance.
#[derive(Debug)]
pub(crate) struct Name {
    pub(crate) account: AccountId,
    pub(crate) unit: Unit,
}

/// What names a balance, owned or not. All that say the same are equal, and have one hash.
pub(super) trait Named {
    fn parts(&self) -> (&str, &str);
}

impl Named for Name {
    fn parts(&self) -> (&str, &str) {
        (self.account.as_str(), self.unit.as_str())
    }
}

impl Named for (&str, &str) {
    fn parts(&self) -> (&str, &str) {
        *self
    }
}

impl Hash for dyn Named + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl PartialEq for dyn Named + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn Named + '_ {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Name {}

impl<'a> Borrow<dyn Named + 'a> for Arc<Name> {
    fn borrow(&self) -> &(dyn Named + 'a) {
        &**self
    }
}
