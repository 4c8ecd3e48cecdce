//! How much of a sale's credits must be revoked when its money goes back: refunds, disputes, and what a plan takes
//! back by itself. Whole numbers only; halves are rounded up.

/// What a dispute withholds of the money, in the sale's minor units: the disputed amount times the share of what was
/// withdrawn that was not reinstated. Withdrawn and reinstated are in the settlement's currency, of which only the ratio
/// counts. Nothing withdrawn: nothing withheld. Always within 0 and the amount.
#[must_use]
pub fn withheld(amount: i64, withdrawn: i128, reinstated: i128) -> i64 {
    if withdrawn <= 0 || amount <= 0 {
        return 0;
    }
    let kept = withdrawn.saturating_sub(reinstated.max(0)).clamp(0, withdrawn);
    share(amount, kept, withdrawn)
}

/// How much of a grant must be revoked: its amount times the lost money divided by the captured money, or what was
/// taken back by itself, whichever is more; at most the grant. Money that was lost of a sale that cost nothing takes all.
#[must_use]
pub fn revoked_target(granted: i64, lost: i64, captured: i64, taken_back: i64) -> i64 {
    let by_money = if lost <= 0 {
        0
    } else if captured <= 0 || lost >= captured {
        granted
    } else {
        share(granted, i128::from(lost), i128::from(captured))
    };
    by_money.max(taken_back).clamp(0, granted.max(0))
}

/// amount × part ÷ whole, halves up; 0 ≤ part ≤ whole, 0 < whole. Both are scaled down together where the product would
/// not fit, which no sum of real amounts needs.
fn share(amount: i64, part: i128, whole: i128) -> i64 {
    let (mut part, mut whole) = (part, whole);
    while whole > i128::from(i64::MAX) {
        (part, whole) = (part / 2, whole / 2);
    }
    let doubled = i128::from(amount).saturating_mul(part).saturating_mul(2).saturating_add(whole);
    i64::try_from(doubled / whole.saturating_mul(2).max(1)).unwrap_or(amount).min(amount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dispute_withholds_the_share_that_was_not_reinstated() {
        for (what, amount, withdrawn, reinstated, expected) in [
            ("nothing withdrawn yet", 2200, 0, 0, 0),
            ("all withdrawn", 2200, 2200, 0, 2200),
            ("won", 2200, 2200, 2200, 0),
            ("half came back", 2200, 2200, 1100, 1100),
            ("in another currency", 1000, 137, 0, 1000),
            ("a third came back, in another currency", 1000, 300, 100, 667),
            ("a half is rounded up", 1, 2, 1, 1),
            ("more came back than went", 1000, 500, 900, 0),
            ("reinstated before withdrawn is known", 1000, 0, 500, 0),
            ("sums beyond 64 bits", 1000, i128::MAX, i128::MAX / 2, 500),
        ] {
            assert_eq!(withheld(amount, withdrawn, reinstated), expected, "{what}");
        }
    }

    #[test]
    fn the_target_follows_the_lost_money_and_never_leaves_the_grant() {
        for (what, granted, lost, captured, taken_back, expected) in [
            ("nothing lost", 1000, 0, 1190, 0, 0),
            ("all lost", 1000, 1190, 1190, 0, 1000),
            ("a part", 1000, 595, 1190, 0, 500),
            ("a half is rounded up", 1, 1, 2, 0, 1),
            ("less than a half is rounded down", 1000, 1, 3000, 0, 0),
            ("refunded and disputed", 1000, 2000, 1190, 0, 1000),
            ("of a sale that cost nothing", 1000, 1, 0, 0, 1000),
            ("the end took more", 1000, 100, 1000, 300, 300),
            ("the end took less", 1000, 500, 1000, 300, 500),
            (
                "as large as anything",
                1_000_000_000_000_000,
                999_999_999_998,
                999_999_999_999,
                0,
                999_999_999_999_000,
            ),
        ] {
            assert_eq!(revoked_target(granted, lost, captured, taken_back), expected, "{what}");
        }
    }
}
