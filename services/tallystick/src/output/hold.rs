//! Holds for people: one a line, in columns that stay where they are.

use proto::v1::{Hold, HoldState};

use crate::output::{plain, stamp};

/// As wide as every id: `ho_` and 32 digits.
const ID_WIDTH: usize = 35;

/// The names of the columns.
pub(crate) fn header() -> String {
    line(&["HOLD", "STATE", "AMOUNT", "REMAINING", "CAPTURED", "ENDS", ""])
}

/// The line of a hold.
pub(crate) fn row(hold: &Hold) -> String {
    let closed = hold.closed_at.as_ref().map(|at| format!("closed {}", stamp::shown(Some(at))));
    let reference = Some(plain::shown(&hold.reference)).filter(|reference| !reference.is_empty());
    line(&[
        &plain::shown(&hold.hold_id),
        &name(hold),
        &hold.amount.to_string(),
        &hold.remaining.to_string(),
        &hold.captured.to_string(),
        &stamp::shown(hold.expires_at.as_ref()),
        &[closed, reference].into_iter().flatten().collect::<Vec<_>>().join(", "),
    ])
}

/// `open`, …; `state 9` for one that this version does not know.
fn name(hold: &Hold) -> String {
    match HoldState::try_from(hold.state) {
        Ok(state) => state.as_str_name().trim_start_matches("HOLD_STATE_").to_ascii_lowercase(),
        Err(_) => format!("state {}", hold.state),
    }
}

/// How it stands, in a sentence: `open with 60 left until …`, `captured`.
pub(crate) fn state(hold: &Hold) -> String {
    let name = name(hold);
    if hold.state == i32::from(HoldState::Open) {
        return format!(
            "{name} with {} left until {}",
            hold.remaining,
            stamp::shown(hold.expires_at.as_ref())
        );
    }
    match hold.released {
        0 => name,
        released => format!("{name}, {released} given back"),
    }
}

fn line(cells: &[&str; 7]) -> String {
    let [id, state, amount, remaining, captured, ends, remarks] = cells;
    let time = stamp::WIDTH;
    let line = format!(
        "{id:<ID_WIDTH$}  {state:<8}  {amount:>10}  {remaining:>10}  {captured:>10}  {ends:<time$}  {remarks}"
    );
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_a_closed_hold_says_what_went_back() {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let hold = Hold {
            hold_id: "ho_0199f3a27c1e7d439a511f0c6f3f9b10".to_owned(),
            amount: 100,
            remaining: 60,
            captured: 40,
            state: HoldState::Open.into(),
            expires_at: at(1_700_000_000),
            reference: "job_7".to_owned(),
            ..Hold::default()
        };
        assert_eq!(
            [header(), row(&hold)].join("\n"),
            "\
HOLD                                 STATE         AMOUNT   REMAINING    CAPTURED  ENDS
ho_0199f3a27c1e7d439a511f0c6f3f9b10  open             100          60          40  2023-11-14T22:13:20.000Z  job_7"
        );
        assert_eq!(state(&hold), "open with 60 left until 2023-11-14T22:13:20.000Z");
        let closed = Hold { state: HoldState::Captured.into(), remaining: 0, released: 60, ..hold };
        assert_eq!(state(&closed), "captured, 60 given back");
        assert_eq!(state(&Hold { state: 9, ..Hold::default() }), "state 9");
    }
}
