//! The Stripe side of a batch: inbox rows, natural keys and facts, read under their locks and decided with the ledger in
//! one transaction. An object grants at most once, however often its events arrive (I8).
//!
//! | file | what |
//! | --- | --- |
//! | `lock.rs` | locks of inbox ids and natural keys |
//! | `rows.rs` | what is known of the objects |
//! | `load.rs`, `periods.rs` | what the facts are decided by |
//! | `checkout.rs` | sessions |
//! | `money.rs` | refunds, disputes, warnings: what is revoked of a sale's grants |
//! | `plans.rs` | subscriptions: links, invoices, their payments, rollover and the end |
//!
//! A fact is written even when the ledger refuses what follows from it: its event stays parked, and the next try, or the
//! next fact of the same sale, decides over all that is known.

mod checkout;
mod load;
mod lock;
mod money;
mod periods;
mod plans;
mod rows;

use std::collections::{BTreeMap, BTreeSet};

use domain::{AccountId, Action, Command, Context, IdempotencyKey, Operation, OperationId, Rules, Unit};
use sha2::{Digest, Sha256};

use super::decision::Decisions;
use super::{Item, State};
use crate::error::{ApplyError, StoreError};
use crate::request::{Answer, EventAnswer, EventState, StripeRequest};
use crate::stripe_event::{Checkout, Fact, Invoice, StripeEvent, StripeKey, Warning};

pub(crate) use load::links;
pub(super) use load::state_in_tx;
pub(super) use lock::lock_event_in_tx;
pub(crate) use rows::Link;
pub(super) use rows::{Claim, DisputeRow, LineRow, RefundRow, Sale, SubscriptionRow};
use rows::{Inbox, Part};

/// Stripe's rows, read under their locks; kept up to date while the batch is decided.
#[derive(Debug, Default)]
pub(crate) struct StripeState {
    /// Locks that others hold; their events leave the batch.
    busy: BTreeSet<i64>,
    inbox: BTreeMap<String, Inbox>,
    claims: BTreeMap<StripeKey, Claim>,
    /// Account and state of sessions.
    purchases: BTreeMap<String, (String, i16)>,
    links: BTreeMap<StripeKey, Link>,
    sales: BTreeMap<StripeKey, Sale>,
    /// Lines of these sales, and the latest of these subscriptions.
    lines: BTreeMap<StripeKey, LineRow>,
    subscriptions: BTreeMap<String, SubscriptionRow>,
}

/// An event to write.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) event: StripeEvent,
    pub(super) answer: EventAnswer,
    pub(super) account: AccountId,
    pub(super) traceparent: Option<String>,
    pub(super) waits: Vec<StripeKey>,
}

/// A session to write: its state, and the operation that granted it.
#[derive(Debug)]
pub(super) struct PurchaseWrite {
    pub(super) checkout: Checkout,
    pub(super) state: i16,
    pub(super) operation: Option<OperationId>,
}

/// Stripe's rows to write.
#[derive(Debug, Default)]
pub(super) struct StripeWrites {
    pub(super) events: BTreeMap<String, Written>,
    pub(super) claims: Vec<(StripeKey, Claim, Unit)>,
    pub(super) purchases: BTreeMap<String, PurchaseWrite>,
    pub(super) links: BTreeMap<StripeKey, Link>,
    /// With account and sale.
    pub(super) refunds: BTreeMap<String, (AccountId, StripeKey, RefundRow)>,
    pub(super) disputes: BTreeMap<String, (AccountId, StripeKey, DisputeRow)>,
    pub(super) warnings: BTreeMap<String, (AccountId, StripeKey, Warning)>,
    pub(super) subscriptions: BTreeMap<String, SubscriptionRow>,
    pub(super) invoices: BTreeMap<String, (AccountId, Invoice)>,
    pub(super) lines: BTreeMap<StripeKey, LineRow>,
}

impl StripeWrites {
    /// Keys that this batch makes appear: parked events wait for them.
    pub(super) fn appeared(&self) -> Vec<StripeKey> {
        self.claims.iter().map(|(key, _, _)| key).chain(self.links.keys()).cloned().collect()
    }
}

/// What a fact comes to, and the keys that its event waits for when it is parked.
#[derive(Debug)]
struct Decided {
    answer: EventAnswer,
    waits: Vec<StripeKey>,
}

impl Decided {
    fn plain(state: EventState, outcome: &str) -> Self {
        let answer = EventAnswer { state, outcome: outcome.to_owned(), duplicate: false, operation: None };
        Self { answer, waits: Vec::new() }
    }

    fn applied(outcome: &str, operation: Option<Operation>) -> Self {
        let mut decided = Self::plain(EventState::Applied, outcome);
        decided.answer.operation = operation;
        decided
    }

    fn parked(outcome: &str) -> Self {
        Self::plain(EventState::Parked, outcome)
    }

    fn waiting(outcome: &str, waits: Vec<StripeKey>) -> Self {
        Self { waits, ..Self::parked(outcome) }
    }
}

/// One event of a request while it is decided.
#[derive(Clone, Copy)]
struct Handled<'a> {
    event: &'a StripeEvent,
    fact: &'a Fact,
    request: &'a StripeRequest,
    item: &'a Item,
    /// Others of the request came before it.
    is_follower: bool,
}

impl Handled<'_> {
    /// The id of its n-th operation; that of the request's first is the item's own, by which a retry knows it.
    fn operation_id(&self, n: u8) -> OperationId {
        let own = self.item.operation_id;
        if n == 0 && !self.is_follower {
            return own;
        }
        let mut hasher = Sha256::new();
        hasher.update(own.uuid().as_bytes());
        hasher.update(self.event.event_id.as_bytes());
        hasher.update([0, n]);
        let digest: [u8; 32] = hasher.finalize().into();
        let (halves, _) = digest.as_chunks::<16>();
        let bytes = halves.first().copied().unwrap_or_default();
        OperationId::from_uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    fn command(&self, unit: &Unit, key: IdempotencyKey, reference: &str, action: Action) -> Command {
        let context = Context {
            actor: self.request.actor.clone(),
            reference: reference.to_owned(),
            reason: format!("stripe:{}", self.event.event_type),
            traceparent: self.request.traceparent.clone(),
            ..Context::default()
        };
        Command { account: self.request.account.clone(), unit: unit.clone(), key, context, action }
    }
}

impl Decisions {
    /// Decides the events of a request in their order, and notes what the inbox shall say of them. The answer is that of
    /// the first.
    pub(super) fn stripe_request(
        &mut self,
        state: &mut State,
        rules: &Rules,
        request: &StripeRequest,
        item: &Item,
    ) -> Result<EventAnswer, StoreError> {
        let first = Handled { event: &request.event, fact: &request.fact, request, item, is_follower: false };
        let answer = self.stripe_event(state, rules, first)?;
        for (event, fact) in &request.followers {
            self.stripe_event(state, rules, Handled { event, fact, request, item, is_follower: true })?;
        }
        Ok(answer)
    }

    fn stripe_event(
        &mut self,
        state: &mut State,
        rules: &Rules,
        handled: Handled<'_>,
    ) -> Result<EventAnswer, StoreError> {
        let event_id = &handled.event.event_id;
        // A parked event is tried again when it is delivered again; any other state is final. One that has caused this
        // very operation was stored by an earlier try of this call.
        if let Some(known) =
            state.stripe.inbox.get(event_id).filter(|known| known.state != EventState::Parked)
        {
            return Ok(EventAnswer {
                state: known.state,
                outcome: known.outcome.clone(),
                duplicate: known.operation_id != Some(handled.operation_id(0)),
                operation: self.granted_operation(state, handled),
            });
        }
        let Decided { answer, waits } = self.fact(state, rules, handled)?;
        let operation_id = answer.operation.as_ref().map(|operation| operation.id);
        let inbox = Inbox { state: answer.state, outcome: answer.outcome.clone(), operation_id };
        state.stripe.inbox.insert(event_id.clone(), inbox);
        let written = Written {
            event: handled.event.clone(),
            answer: answer.clone(),
            account: handled.request.account.clone(),
            traceparent: handled.request.traceparent.clone(),
            waits,
        };
        self.stripe.events.insert(event_id.clone(), written);
        Ok(answer)
    }

    fn fact(
        &mut self,
        state: &mut State,
        rules: &Rules,
        handled: Handled<'_>,
    ) -> Result<Decided, StoreError> {
        match handled.fact {
            Fact::Checkout(checkout) => self.checkout(state, rules, handled, checkout),
            Fact::SessionEnded(ended) => Ok(self.session_ended(state, ended)),
            Fact::Refund(refund) => self.refund(state, rules, handled, refund),
            Fact::RefundHint(payment) => Ok(refund_hint(state, payment)),
            Fact::Dispute(dispute) => self.dispute(state, rules, handled, dispute),
            Fact::Warning(warning) => Ok(self.warning(state, handled, warning)),
            Fact::CustomerGone { customer } => Ok(self.customer_gone(state, customer)),
            Fact::Link(link) => Ok(self.subscription_link(state, link)),
            Fact::Invoice(invoice) => self.invoice(state, rules, handled, invoice),
            Fact::InvoicePayment(payment) => self.invoice_payment(state, rules, handled, payment),
            Fact::Subscription(told) => self.subscription(state, rules, handled, told),
        }
    }

    /// Runs a command for an event; `Err` is the outcome under which the event is parked.
    fn for_event(
        &mut self,
        state: &mut State,
        rules: &Rules,
        command: &Command,
        operation_id: OperationId,
    ) -> Result<Result<Operation, &'static str>, StoreError> {
        match self.command(state, rules, command, operation_id)? {
            Ok(Answer::Operation { operation, .. }) => Ok(Ok(operation)),
            Ok(_) => Err(StoreError::Broken("an event's command is no operation")),
            Err(ApplyError::Denied(denied)) => Ok(Err(denied_outcome(denied))),
            Err(_) => Ok(Err("key_conflict")),
        }
    }

    /// Notes what objects belong to, and lets their events go on.
    fn link(&mut self, state: &mut State, key: StripeKey, link: Link) {
        if state.stripe.links.get(&key) != Some(&link) {
            state.stripe.links.insert(key.clone(), link.clone());
            self.stripe.links.insert(key, link);
        }
    }
}

use money::refund_hint;

/// The service's own idempotency keys of what a request may grant.
pub(super) fn grant_keys(request: &StripeRequest) -> Vec<(AccountId, String)> {
    let keys = request.events().flat_map(|(_, fact)| match fact {
        Fact::Checkout(checkout) => vec![checkout::grant_key(checkout)],
        Fact::Invoice(invoice) => {
            invoice.lines.iter().map(|line| plans::grant_key(&line.key(&invoice.invoice_id))).collect()
        }
        _ => Vec::new(),
    });
    keys.map(|key| (request.account.clone(), key.as_str().to_owned())).collect()
}

/// A command that the rules refuse parks its event under the refusal's name; somebody has paid.
const fn denied_outcome(denied: domain::Denied) -> &'static str {
    match denied {
        domain::Denied::AccountClosed => "account_closed",
        domain::Denied::AccountFrozen => "account_frozen",
        domain::Denied::InsufficientCredits { .. } => "insufficient_credits",
        domain::Denied::ExpiryNotInFuture { .. } => "expiry_not_in_future",
        domain::Denied::TooManyOpenLots { .. } => "too_many_open_lots",
        domain::Denied::BalanceLimitExceeded { .. } => "balance_limit_exceeded",
        domain::Denied::HoldExceeded { .. } => "hold_exceeded",
        domain::Denied::HoldExpired { .. } => "hold_expired",
        domain::Denied::HoldClosed { .. } => "hold_closed",
        domain::Denied::HoldLifetimeExceeded { .. } => "hold_lifetime_exceeded",
        domain::Denied::TooManyOpenHolds { .. } => "too_many_open_holds",
        domain::Denied::ReversalExceeded { .. } => "reversal_exceeded",
        domain::Denied::RevocationOutOfRange { .. } => "revocation_out_of_range",
        domain::Denied::HoldNotFound { .. } => "hold_not_found",
        domain::Denied::GrantNotFound { .. } => "grant_not_found",
        domain::Denied::EntryNotFound { .. } => "entry_not_found",
    }
}
