//! A balance for people. A figure that is zero for nearly everybody is shown only when it is not.

use proto::v1::Balance;

use crate::output::{plain, stamp};

/// Lines such as `user_1 has 970 credits (version 2)`.
pub(crate) fn sentence(balance: &Balance) -> String {
    let account = plain::shown(&balance.account_id);
    let unit = plain::shown(&balance.unit);
    let figures = others(balance);
    format!("{account} has {} {unit}{figures} (version {})", balance.available, balance.version)
}

/// The figures beside `available` that are not zero, such as `, 5 held`.
pub(crate) fn others(balance: &Balance) -> String {
    let figures = [(balance.held, "held"), (balance.scheduled, "scheduled"), (balance.debt, "owed")];
    figures
        .into_iter()
        .filter(|(figure, _)| *figure != 0)
        .map(|(figure, name)| format!(", {figure} {name}"))
        .collect()
}

/// A small table, one figure a line.
pub(crate) fn table(balance: &Balance) -> String {
    let mut rows = vec![
        ("account", plain::shown(&balance.account_id)),
        ("unit", plain::shown(&balance.unit)),
        ("available", balance.available.to_string()),
        ("held", balance.held.to_string()),
        ("scheduled", balance.scheduled.to_string()),
        ("debt", balance.debt.to_string()),
        ("version", balance.version.to_string()),
    ];
    if balance.updated_at.is_some() {
        rows.push(("updated", stamp::shown(balance.updated_at.as_ref())));
    }
    if balance.next_due_at.is_some() {
        rows.push(("next due", stamp::shown(balance.next_due_at.as_ref())));
    }
    let lines: Vec<String> = rows.into_iter().map(|(name, value)| format!("{name:<10} {value}")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_are_zero_are_left_out_of_the_sentence() {
        let mut balance = Balance {
            account_id: "user_1".to_owned(),
            unit: "credits".to_owned(),
            available: 970,
            version: 2,
            ..Balance::default()
        };
        assert_eq!(sentence(&balance), "user_1 has 970 credits (version 2)");
        balance.held = 5;
        balance.debt = 7;
        assert_eq!(sentence(&balance), "user_1 has 970 credits, 5 held, 7 owed (version 2)");
    }

    #[test]
    fn the_table_has_all_four_figures() {
        let table =
            table(&Balance { account_id: "a".to_owned(), unit: "u".to_owned(), ..Balance::default() });
        assert_eq!(
            table,
            "account    a\nunit       u\navailable  0\nheld       0\nscheduled  0\ndebt       0\nversion    0"
        );
    }
}
