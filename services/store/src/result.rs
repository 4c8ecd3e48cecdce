//! What an answer shows beside its entries: the hold or lots as they were right afterwards. Kept with the operation, since
//! both change later; a replay shows them as they were. A grant's lot is rebuilt from its entry instead.

use domain::{Action, Hold, Lot, Operation};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::row::{HoldRow, LotRow};

/// `operations.result`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ResultRow {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hold: Option<HoldRow>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    grants: Vec<LotRow>,
}

impl ResultRow {
    /// What must be kept of an accepted command; `None` when its entries say it all.
    pub(crate) fn of(action: &Action, operation: &Operation) -> Result<Option<Self>, StoreError> {
        let says_nothing = operation.hold.is_none() && operation.grants.is_empty();
        let Some(entry) = operation.entries.first() else { return Ok(None) };
        if says_nothing || matches!(action, Action::Grant(_)) {
            return Ok(None);
        }
        let (account, unit) = (&entry.account, &entry.unit);
        let hold = operation.hold.as_ref().map(|hold| HoldRow::of(account, unit, hold)).transpose()?;
        let lot = |lot: &Lot| LotRow::of(account, unit, lot);
        let grants = operation.grants.iter().map(lot).collect::<Result<_, _>>()?;
        Ok(Some(Self { hold, grants }))
    }

    /// The hold and the lots.
    pub(crate) fn into_parts(self) -> Result<(Option<Hold>, Vec<Lot>), StoreError> {
        let hold = self.hold.map(|row| row.into_hold().map(|(_, hold)| hold)).transpose()?;
        let grants = self.grants.into_iter().map(|row| row.into_lot().map(|(_, lot)| lot));
        Ok((hold, grants.collect::<Result<_, _>>()?))
    }
}
