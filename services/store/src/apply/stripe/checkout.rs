//! Checkout sessions: a paid one grants once, whichever of its events says so.

use domain::{Action, IdempotencyKey, Operation, OperationId, Rules};

use super::{Claim, Decided, Decisions, Handled, PurchaseWrite};
use crate::apply::State;
use crate::error::StoreError;
use crate::stripe_event::{Checkout, Fact, KeyKind, Payment, SessionEnd, SessionEnded, StripeKey};

/// `purchases.state` of a session whose money is on its way.
const PENDING: i16 = 2;
/// `purchases.state` of a paid session.
const PAID: i16 = 3;
/// `purchases.state` of a session whose delayed payment failed.
const FAILED: i16 = 4;
/// `purchases.state` of a session whose time is over.
const EXPIRED: i16 = 5;

/// A session's states in the order in which they replace each other: what is paid stays paid. The statement that
/// writes them has the same order.
fn rank(state: i16) -> u8 {
    match state {
        PENDING => 1,
        EXPIRED => 2,
        FAILED => 3,
        PAID => 4,
        _ => 0,
    }
}

/// The service's own idempotency key of the grant for a session.
pub(super) fn grant_key(checkout: &Checkout) -> IdempotencyKey {
    IdempotencyKey::for_stripe(KeyKind::CheckoutSession.name(), &checkout.session_id)
}

fn session_key(checkout: &Checkout) -> StripeKey {
    StripeKey::new(KeyKind::CheckoutSession, checkout.session_id.as_str())
}

fn intent_key(checkout: &Checkout) -> Option<StripeKey> {
    checkout.payment_intent.as_ref().map(|id| StripeKey::new(KeyKind::PaymentIntent, id.as_str()))
}

impl Decisions {
    /// The grant that an event's object has made, for the account that it was made for.
    pub(super) fn granted_operation(&self, state: &State, handled: Handled<'_>) -> Option<Operation> {
        let key = match handled.fact {
            Fact::Checkout(checkout) => grant_key(checkout),
            Fact::Invoice(invoice) => {
                super::plans::grant_key(&invoice.lines.first()?.key(&invoice.invoice_id))
            }
            _ => return None,
        };
        let key = (handled.request.account.clone(), key.as_str().to_owned());
        self.lookup_operation(state, &key)
    }

    pub(super) fn checkout(
        &mut self,
        state: &mut State,
        rules: &Rules,
        handled: Handled<'_>,
        checkout: &Checkout,
    ) -> Result<Decided, StoreError> {
        let owner = checkout.account.as_str();
        if let Some(claim) = state.stripe.claims.get(&session_key(checkout)) {
            return Ok(if claim.account_id == owner {
                Decided::applied("already_granted", self.granted_operation(state, handled))
            } else {
                Decided::parked("account_mismatch")
            });
        }
        if is_of_another(state, checkout) {
            return Ok(Decided::parked("account_mismatch"));
        }
        if intent_key(checkout).is_some_and(|key| state.stripe.claims.contains_key(&key)) {
            return Ok(Decided::parked("payment_intent_already_granted"));
        }
        if checkout.payment == Payment::Pending {
            self.purchase(state, checkout, PENDING, None);
            return Ok(Decided::applied("pending_payment", None));
        }
        let action = Action::Grant(checkout.grant.clone());
        let command = handled.command(&checkout.unit, grant_key(checkout), &checkout.session_id, action);
        match self.for_event(state, rules, &command, handled.operation_id(0))? {
            Ok(operation) => {
                self.claim(state, checkout, &operation, &handled.event.event_id);
                self.purchase(state, checkout, PAID, Some(operation.id));
                Ok(Decided::applied("granted", Some(operation)))
            }
            Err(outcome) => Ok(Decided::parked(outcome)),
        }
    }

    /// A session that will not be paid: noted, unless it was paid all the same.
    pub(super) fn session_ended(&mut self, state: &mut State, ended: &SessionEnded) -> Decided {
        let checkout = &ended.checkout;
        if is_of_another(state, checkout) {
            return Decided::parked("account_mismatch");
        }
        let (after, outcome) = match ended.end {
            SessionEnd::PaymentFailed => (FAILED, "payment_failed"),
            SessionEnd::Expired => (EXPIRED, "session_expired"),
        };
        let is_noted = self.purchase(state, checkout, after, None);
        Decided::applied(if is_noted { outcome } else { "no_change" }, None)
    }

    fn claim(&mut self, state: &mut State, checkout: &Checkout, operation: &Operation, event_id: &str) {
        for key in std::iter::once(session_key(checkout)).chain(intent_key(checkout)) {
            let claim = Claim {
                account_id: checkout.account.as_str().to_owned(),
                operation_id: operation.id,
                event_id: event_id.to_owned(),
            };
            state.stripe.claims.insert(key.clone(), claim.clone());
            self.stripe.claims.push((key, claim, checkout.unit.clone()));
        }
    }

    /// Notes the session's state, forward only; says whether it moved.
    fn purchase(
        &mut self,
        state: &mut State,
        checkout: &Checkout,
        after: i16,
        operation: Option<OperationId>,
    ) -> bool {
        let known = state.stripe.purchases.get(&checkout.session_id);
        if known.is_some_and(|(_, before)| rank(*before) >= rank(after)) {
            return false;
        }
        let owner = checkout.account.as_str().to_owned();
        state.stripe.purchases.insert(checkout.session_id.clone(), (owner, after));
        let write = PurchaseWrite { checkout: checkout.clone(), state: after, operation };
        self.stripe.purchases.insert(checkout.session_id.clone(), write);
        true
    }
}

fn is_of_another(state: &State, checkout: &Checkout) -> bool {
    let known = state.stripe.purchases.get(&checkout.session_id);
    known.is_some_and(|(account_id, _)| account_id != checkout.account.as_str())
}
