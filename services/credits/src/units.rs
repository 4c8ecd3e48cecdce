//! Which units exist.

use std::collections::BTreeSet;

use domain::Unit;

use crate::error::CallError;

/// The units that calls may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnitPolicy {
    /// Any well-formed one; for `dev`.
    Any,
    /// Those of the catalogue.
    Declared(BTreeSet<Unit>),
}

impl UnitPolicy {
    /// # Errors
    /// [`CallError::UnknownUnit`] for a unit that is not declared.
    pub(crate) fn require(&self, unit: &Unit) -> Result<(), CallError> {
        match self {
            Self::Any => Ok(()),
            Self::Declared(units) if units.contains(unit) => Ok(()),
            Self::Declared(_) => Err(CallError::UnknownUnit(unit.clone())),
        }
    }
}
