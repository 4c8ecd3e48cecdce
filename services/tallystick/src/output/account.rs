//! An account for people.

use proto::v1::{Account, AccountState};

use crate::output::{plain, stamp};

/// One property a line.
pub(crate) fn table(account: &Account) -> String {
    let state = match AccountState::try_from(account.state) {
        Ok(state) => state.as_str_name().trim_start_matches("ACCOUNT_STATE_").to_ascii_lowercase(),
        Err(_) => format!("state {}", account.state),
    };
    let mut rows = vec![
        ("account", plain::shown(&account.account_id)),
        ("state", state),
        ("sandbox", if account.sandbox { "yes" } else { "no" }.to_owned()),
        ("created", stamp::shown(account.created_at.as_ref())),
    ];
    for threshold in &account.thresholds {
        let (name, unit) = (plain::shown(&threshold.name), plain::shown(&threshold.unit));
        rows.push((
            "threshold",
            format!("{name}: below {} {unit}, armed again at {}", threshold.at, threshold.rearm_at),
        ));
    }
    if account.test_clock_at.is_some() {
        rows.push(("test clock", stamp::shown(account.test_clock_at.as_ref())));
    }
    if account.erased_at.is_some() {
        rows.push(("erased", stamp::shown(account.erased_at.as_ref())));
    }
    rows.into_iter().map(|(name, value)| format!("{name:<10} {value}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_shows_what_is_set() {
        let account = Account {
            account_id: "user_1".to_owned(),
            state: AccountState::Frozen.into(),
            thresholds: vec![proto::v1::Threshold {
                name: "low".to_owned(),
                unit: "credits".to_owned(),
                at: 100,
                rearm_at: 200,
            }],
            ..Account::default()
        };
        assert_eq!(
            table(&account),
            "account    user_1\nstate      frozen\nsandbox    no\ncreated    -\n\
             threshold  low: below 100 credits, armed again at 200"
        );
    }
}
