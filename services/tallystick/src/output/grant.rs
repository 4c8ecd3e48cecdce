//! Lots for people: one a line, in columns that stay where they are.

use proto::v1::{Grant, GrantKind, Revocation};

use crate::output::{plain, stamp};

/// As wide as every id: `gr_` and 32 digits.
const ID_WIDTH: usize = 35;

/// The names of the columns.
pub(crate) fn header() -> String {
    line(&["GRANT", "KIND", "AMOUNT", "REMAINING", "PRIORITY", "EFFECTIVE", "EXPIRES", ""])
}

/// The line of a lot.
pub(crate) fn row(grant: &Grant) -> String {
    let expires = match &grant.expires_at {
        Some(_) => stamp::shown(grant.expires_at.as_ref()),
        None => "never".to_owned(),
    };
    line(&[
        &plain::shown(&grant.grant_id),
        &kind(grant),
        &grant.amount.to_string(),
        &grant.remaining.to_string(),
        &grant.priority.to_string(),
        &stamp::shown(grant.effective_at.as_ref()),
        &expires,
        &remarks(grant),
    ])
}

/// `purchase`, …; `kind 9` for one that this version does not know.
fn kind(grant: &Grant) -> String {
    match GrantKind::try_from(grant.kind) {
        Ok(kind) => kind.as_str_name().trim_start_matches("GRANT_KIND_").to_ascii_lowercase(),
        Err(_) => format!("kind {}", grant.kind),
    }
}

fn remarks(grant: &Grant) -> String {
    let held = (grant.held > 0).then(|| format!("{} held", grant.held));
    let revoked = (grant.revoked > 0).then(|| format!("{} revoked{}", grant.revoked, parts(grant)));
    let closed = grant.closed_at.as_ref().map(|at| format!("closed {}", stamp::shown(Some(at))));
    let reference = Some(plain::shown(&grant.reference)).filter(|reference| !reference.is_empty());
    [held, revoked, closed, reference].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What `revoked` is made of, such as ` (70 taken, 30 forgiven)`.
fn parts(grant: &Grant) -> String {
    let Revocation { expired, taken, owed, forgiven } = grant.revocation.unwrap_or_default();
    let parts = [(expired, "expired"), (taken, "taken"), (owed, "owed"), (forgiven, "forgiven")];
    let parts = parts.into_iter().filter(|(part, _)| *part != 0);
    let parts: Vec<String> = parts.map(|(part, name)| format!("{part} {name}")).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

fn line(cells: &[&str; 8]) -> String {
    let [id, kind, amount, remaining, priority, effective, expires, remarks] = cells;
    let time = stamp::WIDTH;
    let line = format!(
        "{id:<ID_WIDTH$}  {kind:<12}  {amount:>10}  {remaining:>10}  {priority:>8}  {effective:<time$}  {expires:<time$}  {remarks}"
    );
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_foreign_text_is_plain() {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let grant = Grant {
            grant_id: "gr_0199f3a27c1e7d439a511f0c6f3f9b10".to_owned(),
            kind: GrantKind::Purchase.into(),
            amount: 1000,
            remaining: 950,
            priority: 50,
            effective_at: at(1_700_000_000),
            reference: "order\u{1b}7".to_owned(),
            ..Grant::default()
        };
        let closed = Grant {
            remaining: 0,
            expires_at: at(1_700_000_001),
            closed_at: at(1_700_000_002),
            ..grant.clone()
        };
        assert_eq!(
            [header(), row(&grant), row(&closed)].join("\n"),
            "\
GRANT                                KIND              AMOUNT   REMAINING  PRIORITY  EFFECTIVE                 EXPIRES
gr_0199f3a27c1e7d439a511f0c6f3f9b10  purchase            1000         950        50  2023-11-14T22:13:20.000Z  never                     order\\u{1b}7
gr_0199f3a27c1e7d439a511f0c6f3f9b10  purchase            1000           0        50  2023-11-14T22:13:20.000Z  2023-11-14T22:13:21.000Z  closed 2023-11-14T22:13:22.000Z, order\\u{1b}7"
        );
        let revocation = Some(Revocation { expired: 0, taken: 70, owed: 0, forgiven: 30 });
        let revoked = row(&Grant { revoked: 100, revocation, ..grant });
        assert!(revoked.ends_with("100 revoked (70 taken, 30 forgiven), order\\u{1b}7"), "{revoked}");
        assert_eq!(kind(&Grant { kind: 9, ..Grant::default() }), "kind 9");
    }
}
