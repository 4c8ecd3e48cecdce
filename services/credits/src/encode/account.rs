//! Accounts as the API shows them.

use domain::{AccountState, Threshold};
use proto::v1;
use store::StoredAccount;

use super::proto_timestamp;

pub(crate) fn proto_account(account: &StoredAccount) -> v1::Account {
    v1::Account {
        account_id: account.account.to_string(),
        state: state(account.state).into(),
        sandbox: account.sandbox,
        thresholds: account.thresholds.iter().map(threshold).collect(),
        created_at: Some(proto_timestamp(account.created_at)),
        erased_at: account.erased_at.map(proto_timestamp),
        test_clock_at: account.test_clock_at.map(proto_timestamp),
    }
}

const fn state(state: AccountState) -> v1::AccountState {
    match state {
        AccountState::Active => v1::AccountState::Active,
        AccountState::Frozen => v1::AccountState::Frozen,
        AccountState::Closed => v1::AccountState::Closed,
    }
}

fn threshold(threshold: &Threshold) -> v1::Threshold {
    v1::Threshold {
        name: threshold.name().to_owned(),
        unit: threshold.unit().to_string(),
        at: threshold.at(),
        rearm_at: threshold.rearm_at(),
    }
}
