//! Refunds, disputes and warnings as facts, and which of two tellings stands. Stripe's words are kept as they are; one that
//! is not known is decided so that credits are rather withheld.

use super::{KeyKind, StripeKey};

/// How a sale was paid: what a refund or a dispute names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PaymentRef {
    /// The payment intent.
    pub intent: Option<String>,
    /// The charge.
    pub charge: Option<String>,
}

impl PaymentRef {
    /// The keys by which the sale is found.
    #[must_use]
    pub fn keys(&self) -> Vec<StripeKey> {
        let intent = self.intent.iter().map(|id| StripeKey::new(KeyKind::PaymentIntent, id.as_str()));
        intent.chain(self.charge.iter().map(|id| StripeKey::new(KeyKind::Charge, id.as_str()))).collect()
    }

    /// The keys that appear with the first refund of the payment, by each of its names.
    #[must_use]
    pub fn refunds_keys(&self) -> Vec<StripeKey> {
        let names = self.charge.iter().chain(&self.intent);
        names.map(|id| StripeKey::new(KeyKind::RefundsOf, id.as_str())).collect()
    }
}

/// A refund as its last event tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// The natural key.
    pub refund_id: String,
    /// Of what.
    pub payment: PaymentRef,
    /// How much, in minor units; 0 or more.
    pub amount: i64,
    /// ISO 4217, lower case.
    pub currency: String,
    /// Stripe's word, kept as it is.
    pub status: String,
}

/// A dispute as its last event tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    /// The natural key.
    pub dispute_id: String,
    /// Of what.
    pub payment: PaymentRef,
    /// How much is disputed, in minor units; 0 or more.
    pub amount: i64,
    /// ISO 4217, lower case.
    pub currency: String,
    /// Stripe's word, kept as it is.
    pub status: String,
    /// Balance transactions: id and amount, below 0 withdrawn, above 0 reinstated, in the settlement's currency.
    pub transactions: Vec<(String, i64)>,
}

/// An early fraud warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The natural key.
    pub warning_id: String,
    /// Of what.
    pub payment: PaymentRef,
    /// Stripe's word, kept as it is.
    pub fraud_type: String,
}

/// Of two words for a refund's state the one that stands: pending < requires_action < succeeded < failed, canceled. A word
/// that is not known stands below all, and between equals the later in the alphabet, so that no order matters.
pub(crate) fn later_refund_status<'a>(one: &'a str, other: &'a str) -> &'a str {
    later(one, other, |status| match status {
        "pending" => 1,
        "requires_action" => 2,
        "succeeded" => 3,
        "failed" | "canceled" => 4,
        // Not known.
        _ => 0,
    })
}

/// Whether the money of a refund in this state has left or will leave: only what failed or was canceled has not. A word
/// that is not known counts.
pub(crate) fn is_live_refund(status: &str) -> bool {
    !matches!(status, "failed" | "canceled")
}

/// Of two words for a dispute's state the one that stands: an inquiry (`warning_…`) < a dispute < lost < won.
pub(crate) fn later_dispute_status<'a>(one: &'a str, other: &'a str) -> &'a str {
    later(one, other, |status| match status {
        "warning_needs_response" => 1,
        "warning_under_review" => 2,
        "warning_closed" => 3,
        "prevented" => 4,
        "needs_response" => 6,
        "under_review" => 7,
        "lost" => 8,
        "won" => 9,
        "" => 0,
        // Not known: more than an inquiry, so that money that was withdrawn counts.
        _ => 5,
    })
}

/// What a dispute withholds, in the sale's minor units. An inquiry, and one that was prevented, withhold nothing; one
/// that is lost withholds all when no transaction says how much.
pub(crate) fn withheld_by(status: &str, amount: i64, transactions: impl IntoIterator<Item = i64>) -> i64 {
    if status.starts_with("warning_") || status == "prevented" {
        return 0;
    }
    let (mut withdrawn, mut reinstated) = (0_i128, 0_i128);
    for transaction in transactions.into_iter().map(i128::from) {
        if transaction < 0 {
            withdrawn = withdrawn.saturating_sub(transaction);
        } else {
            reinstated = reinstated.saturating_add(transaction);
        }
    }
    if withdrawn == 0 && status == "lost" {
        return amount;
    }
    domain::withheld(amount, withdrawn, reinstated)
}

fn later<'a>(one: &'a str, other: &'a str, rank: fn(&str) -> u8) -> &'a str {
    if (rank(one), one) >= (rank(other), other) { one } else { other }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every order of the words gives the last.
    fn settle(words: &[&str], later: for<'a> fn(&'a str, &'a str) -> &'a str) -> String {
        let mut ends = Vec::new();
        for start in 0..words.len() {
            let rotated = words.iter().cycle().skip(start).take(words.len());
            let reversed = words.iter().rev().cycle().skip(start).take(words.len());
            ends.push(rotated.fold("", |stands, word| later(stands, word)));
            ends.push(reversed.fold("", |stands, word| later(stands, word)));
        }
        ends.dedup();
        assert_eq!(ends.len(), 1, "{words:?}: {ends:?}");
        ends.first().copied().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_refunds_state_moves_forward_in_any_order() {
        for (words, stands, live) in [
            (&["pending", "succeeded"][..], "succeeded", true),
            (&["pending", "requires_action", "succeeded", "failed"], "failed", false),
            (&["canceled", "pending"], "canceled", false),
            (&["failed", "canceled", "succeeded"], "failed", false),
            (&["of_a_later_version"], "of_a_later_version", true),
            (&["of_a_later_version", "pending"], "pending", true),
        ] {
            assert_eq!(settle(words, later_refund_status), stands);
            assert_eq!(is_live_refund(stands), live, "{stands}");
        }
    }

    #[test]
    fn a_disputes_state_may_go_from_lost_to_won_and_never_back() {
        for (words, stands) in [
            (&["warning_needs_response", "warning_closed"][..], "warning_closed"),
            (&["warning_under_review", "needs_response", "under_review"], "under_review"),
            (&["needs_response", "lost", "won"], "won"),
            (&["needs_response", "of_a_later_version"], "needs_response"),
            (&["warning_closed", "of_a_later_version"], "of_a_later_version"),
        ] {
            assert_eq!(settle(words, later_dispute_status), stands);
        }
    }

    #[test]
    fn what_a_dispute_withholds_follows_its_transactions_by_sign() {
        for (what, status, transactions, withheld) in [
            ("an inquiry only flags", "warning_needs_response", &[-1000][..], 0),
            ("nothing withdrawn yet", "needs_response", &[], 0),
            ("withdrawn", "needs_response", &[-1000], 1000),
            ("won, and not reinstated yet", "won", &[-1000], 1000),
            ("won and reinstated", "won", &[-1000, 1000], 0),
            ("lost, then won by half", "won", &[-1000, 500], 500),
            ("lost without a word on money", "lost", &[], 1000),
            ("won without a word on money", "won", &[], 0),
            ("an unknown state with money gone", "of_a_later_version", &[-1000], 1000),
        ] {
            assert_eq!(withheld_by(status, 1000, transactions.iter().copied()), withheld, "{what}");
        }
    }
}
