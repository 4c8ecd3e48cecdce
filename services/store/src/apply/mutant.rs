//! The defect `LockAndReadInOneStatement`, for the mutation gate: balances as they were before the wait for the locks.

use std::collections::{BTreeMap, BTreeSet};

use domain::mutants::{self, Mutant};
use domain::{Balance, Timestamp};
use sqlx::PgConnection;

use super::load::{self, balances};
use super::lock::Locked;
use super::stripe::StripeState;
use super::{BalanceKey, Item};
use crate::error::StoreError;

/// What a statement that locks and reads would see; nothing while the defect is off.
pub(super) async fn early_balances_in_tx(
    tx: &mut PgConnection,
    items: &[&Item],
) -> Result<BTreeMap<BalanceKey, Balance>, StoreError> {
    if !mutants::is(Mutant::LockAndReadInOneStatement) {
        return Ok(BTreeMap::new());
    }
    let now = Timestamp::from_micros(0);
    let nothing = Locked { now, slot: 0, accounts: BTreeMap::new(), created: Vec::new() };
    let requests: Vec<_> = items.iter().map(|item| &item.request).collect();
    let wanted = load::wanted(&requests, &nothing, &StripeState::default());
    Ok(balances::read_in_tx(tx, &BTreeSet::new(), &wanted).await?.balances)
}
