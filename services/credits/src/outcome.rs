//! The inbox's states and outcomes as the API names them.

use proto::v1::{StripeEventState, StripeOutcome};
use store::EventState;

pub(crate) const fn state(state: EventState) -> StripeEventState {
    match state {
        EventState::Applied => StripeEventState::Applied,
        EventState::Ignored => StripeEventState::Ignored,
        EventState::Parked => StripeEventState::Parked,
        EventState::Failed => StripeEventState::Failed,
    }
}

/// Stored names that are the API's own are taken as they are; the finer ones fall into the API's classes.
pub(crate) fn outcome(state: EventState, name: &str) -> StripeOutcome {
    let own = StripeOutcome::from_str_name(&format!("STRIPE_OUTCOME_{}", name.to_ascii_uppercase()));
    if let Some(outcome) = own {
        return outcome;
    }
    match (name, state) {
        ("refund_events_say_more", EventState::Ignored) => StripeOutcome::NoChange,
        (name, EventState::Parked) if name.ends_with("_unusable") => StripeOutcome::FieldUnusable,
        // The rules' refusals, under their own names.
        (_, EventState::Parked) => StripeOutcome::LedgerRefused,
        (_, EventState::Ignored) => StripeOutcome::TypeNotHandled,
        (_, EventState::Failed) => StripeOutcome::ProcessingFailed,
        // Of a later version that applied it.
        (_, EventState::Applied) => StripeOutcome::Unspecified,
    }
}

#[cfg(test)]
mod tests {
    use stripe::reason;

    use super::*;

    #[test]
    fn reasons_that_the_api_names_are_passed_on() {
        let cases = [
            (EventState::Applied, "granted", StripeOutcome::Granted),
            (EventState::Applied, "already_granted", StripeOutcome::AlreadyGranted),
            (EventState::Applied, "pending_payment", StripeOutcome::PendingPayment),
            (EventState::Applied, "payment_failed", StripeOutcome::PaymentFailed),
            (EventState::Applied, "session_expired", StripeOutcome::SessionExpired),
            (EventState::Applied, "revoked", StripeOutcome::Revoked),
            (EventState::Applied, "reinstated", StripeOutcome::Reinstated),
            (EventState::Applied, "no_change", StripeOutcome::NoChange),
            (EventState::Applied, "flagged", StripeOutcome::Flagged),
            (EventState::Applied, "unlinked", StripeOutcome::Unlinked),
            (EventState::Applied, "linked", StripeOutcome::Linked),
            (EventState::Applied, "mirrored", StripeOutcome::Mirrored),
            (EventState::Ignored, "no_credits_by_policy", StripeOutcome::NoCreditsByPolicy),
            (EventState::Parked, "plan_unknown", StripeOutcome::PlanUnknown),
            (EventState::Parked, reason::PREDECESSOR_MISSING, StripeOutcome::PredecessorMissing),
            (EventState::Ignored, "refund_events_say_more", StripeOutcome::NoChange),
            (EventState::Ignored, reason::TYPE_NOT_HANDLED, StripeOutcome::TypeNotHandled),
            (EventState::Ignored, reason::LIVEMODE_MISMATCH, StripeOutcome::LivemodeMismatch),
            (EventState::Ignored, reason::MODE_NOT_HANDLED, StripeOutcome::ModeNotHandled),
            (EventState::Ignored, reason::NOT_OURS, StripeOutcome::NotOurs),
            (EventState::Parked, reason::PURCHASE_UNKNOWN, StripeOutcome::PurchaseUnknown),
            (EventState::Parked, reason::PACK_UNKNOWN, StripeOutcome::PackUnknown),
            (EventState::Parked, reason::AMOUNT_MISMATCH, StripeOutcome::AmountMismatch),
            (EventState::Parked, reason::CURRENCY_MISMATCH, StripeOutcome::CurrencyMismatch),
            (EventState::Parked, "account_mismatch", StripeOutcome::AccountMismatch),
            (
                EventState::Parked,
                "payment_intent_already_granted",
                StripeOutcome::PaymentIntentAlreadyGranted,
            ),
        ];
        for (state, name, expected) in cases {
            assert_eq!(outcome(state, name), expected, "{name}");
        }
    }

    #[test]
    fn finer_reasons_fall_into_their_class() {
        let cases = [
            (EventState::Parked, reason::SUBTOTAL_UNUSABLE, StripeOutcome::FieldUnusable),
            (EventState::Parked, "account_closed", StripeOutcome::LedgerRefused),
            (EventState::Parked, "balance_limit_exceeded", StripeOutcome::LedgerRefused),
            (EventState::Ignored, "of_a_later_version", StripeOutcome::TypeNotHandled),
            (EventState::Failed, "whatever", StripeOutcome::ProcessingFailed),
        ];
        for (state, name, expected) in cases {
            assert_eq!(outcome(state, name), expected, "{name}");
        }
    }
}
