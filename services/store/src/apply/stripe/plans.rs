//! Subscriptions. A paid invoice grants each of its lines once, whichever event says whose the subscription is; what is
//! left of earlier periods rolls over or is taken back; and the end of a subscription takes back what its plan says.
//!
//! What a plan takes back is kept with the line (`taken_back`) and is a floor of the grant's target, beside which refunds
//! and disputes count. Credits that somebody holds at that moment are left to the hold.

use domain::{AccountId, Action, BurnKey, GrantId, IdempotencyKey, Rules};

use super::money::{Done, PREDECESSOR_MISSING, find_lot};
use super::{Claim, Decided, Decisions, Handled, LineRow, Link, Part, Sale, SubscriptionRow};
use crate::apply::State;
use crate::error::StoreError;
use crate::request::EventState;
use crate::stripe_event::{
    Invoice, InvoiceLine, InvoicePayment, KeyKind, Rollover, StripeKey, SubscriptionLink, SubscriptionState,
};

/// The service's own idempotency key of the grant for a line.
pub(super) fn grant_key(line: &StripeKey) -> IdempotencyKey {
    IdempotencyKey::for_stripe(KeyKind::InvoiceLine.name(), &line.id)
}

fn of_account(account: &AccountId) -> Link {
    Link { account_id: Some(account.to_string()), sale: None, is_gone: false }
}

/// Whether an object is known to be another account's.
fn is_of_another(state: &State, key: &StripeKey, account: &AccountId) -> bool {
    let owner = state.stripe.links.get(key).and_then(|link| link.account_id.as_deref());
    owner.is_some_and(|owner| owner != account.as_str())
}

/// Whether the request's account is the fact's: named by it, or by the link of one of these objects.
fn is_owner(state: &State, account: &AccountId, named: Option<&AccountId>, owners: &[StripeKey]) -> bool {
    let is_linked = |key: &StripeKey| {
        state.stripe.links.get(key).is_some_and(|link| {
            // A deleted customer says nothing any more.
            !link.is_gone && link.account_id.as_deref() == Some(account.as_str())
        })
    };
    named == Some(account) || owners.iter().any(is_linked)
}

impl Decisions {
    /// The customer and the subscription are the account's from now on; their parked events are decided next.
    pub(super) fn subscription_link(&mut self, state: &mut State, told: &SubscriptionLink) -> Decided {
        let subscription = StripeKey::new(KeyKind::Subscription, told.subscription.as_str());
        let customer = told.customer.iter().map(|id| StripeKey::new(KeyKind::Customer, id.as_str()));
        let keys: Vec<StripeKey> = std::iter::once(subscription).chain(customer).collect();
        if keys.iter().any(|key| is_of_another(state, key, &told.account)) {
            return Decided::parked("account_mismatch");
        }
        for key in keys {
            self.own(state, key, &told.account);
        }
        Decided::applied("linked", None)
    }

    /// Notes that an object is the account's; what is known of it besides stays.
    fn own(&mut self, state: &mut State, key: StripeKey, account: &AccountId) {
        let known = state.stripe.links.get(&key).cloned().unwrap_or_default();
        self.link(state, key, Link { account_id: of_account(account).account_id, ..known });
    }

    pub(super) fn invoice(
        &mut self,
        state: &mut State,
        rules: &Rules,
        handled: Handled<'_>,
        invoice: &Invoice,
    ) -> Result<Decided, StoreError> {
        let account = &handled.request.account;
        let owners = handled.fact.owners();
        if owners.iter().take(1).any(|key| is_of_another(state, key, account)) {
            return Ok(Decided::parked("account_mismatch"));
        }
        if !is_owner(state, account, invoice.named.as_ref(), &owners) {
            return Ok(Decided::waiting(PREDECESSOR_MISSING, owners));
        }
        let key = StripeKey::new(KeyKind::Invoice, invoice.invoice_id.as_str());
        if is_of_another(state, &key, account) {
            return Ok(Decided::parked("account_mismatch"));
        }
        self.sale(state, account, &key, invoice);
        self.paid_for(state, handled, &invoice.payment, &key);
        if !invoice.has_plan && invoice.captured_minor_units > 0 {
            return Ok(Decided::parked("plan_unknown"));
        }
        if invoice.lines.is_empty() {
            return Ok(Decided::plain(EventState::Ignored, "no_credits_by_policy"));
        }
        let mut done = Done::default();
        let mut granted = false;
        for line in &invoice.lines {
            match self.line(state, rules, handled, (invoice, line), &mut done)? {
                Ok(is_new) => granted |= is_new,
                Err(outcome) => return Ok(Decided::parked(outcome)),
            }
        }
        if granted {
            return Ok(Decided::applied("granted", done.first));
        }
        Ok(Decided::applied("already_granted", self.granted_operation(state, handled)))
    }

    /// The invoice as a sale, and what belongs to it.
    fn sale(&mut self, state: &mut State, account: &AccountId, key: &StripeKey, invoice: &Invoice) {
        if !state.stripe.sales.contains_key(key) {
            let sale = Sale {
                account_id: account.to_string(),
                currency: invoice.currency.clone(),
                captured: invoice.captured_minor_units,
                parts: Vec::new(),
                refunds: std::collections::BTreeMap::new(),
                disputes: std::collections::BTreeMap::new(),
            };
            state.stripe.sales.insert(key.clone(), sale);
            self.stripe.invoices.insert(invoice.invoice_id.clone(), (account.clone(), invoice.clone()));
        }
        let link = Link { sale: Some(key.clone()), ..of_account(account) };
        self.link(state, key.clone(), link);
        if let Some(subscription) = &invoice.subscription {
            self.own(state, StripeKey::new(KeyKind::Subscription, subscription.as_str()), account);
        }
    }

    /// Grants one line, unless it was granted before, and settles what that means for other periods. `Err` is the
    /// outcome under which the event is parked; what was granted before it stays.
    fn line(
        &mut self,
        state: &mut State,
        rules: &Rules,
        handled: Handled<'_>,
        (invoice, line): (&Invoice, &InvoiceLine),
        done: &mut Done,
    ) -> Result<Result<bool, &'static str>, StoreError> {
        let key = line.key(&invoice.invoice_id);
        if let Some(claim) = state.stripe.claims.get(&key) {
            let is_own = claim.account_id == handled.request.account.as_str();
            return Ok(if is_own { Ok(false) } else { Err("account_mismatch") });
        }
        let action = Action::Grant(line.grant.clone());
        let command = handled.command(&line.unit, grant_key(&key), &key.id, action);
        let operation = match self.for_event(state, rules, &command, handled.operation_id(done.operations))? {
            Ok(operation) => operation,
            Err(outcome) => return Ok(Err(outcome)),
        };
        let claim = Claim {
            account_id: handled.request.account.to_string(),
            operation_id: operation.id,
            event_id: handled.event.event_id.clone(),
        };
        state.stripe.claims.insert(key.clone(), claim.clone());
        self.stripe.claims.push((key, claim, line.unit.clone()));
        let row = LineRow {
            invoice_id: invoice.invoice_id.clone(),
            line_id: line.line_id.clone(),
            account_id: handled.request.account.to_string(),
            subscription: invoice.subscription.clone(),
            plan: line.plan.clone(),
            unit: line.unit.clone(),
            grant_id: GrantId::from_uuid(operation.id.uuid()),
            credits: line.grant.amount,
            period_start_s: line.period_start_s,
            period_end_s: line.period_end_s,
            ends_with_subscription: line.ends_with_subscription,
            taken_back: 0,
            refilled: 0,
        };
        done.note(operation);
        self.note_line(state, &row);
        if let Some(sale) = state.stripe.sales.get_mut(&row.sale()) {
            sale.parts.push(row.part());
        }
        // Of its money some may have gone back before: the event waited for the catalogue, or for the account.
        let sale = (&row.sale(), &row.part(), row.invoice_id.as_str());
        if let Err(outcome) = self.retarget_part(state, rules, handled, sale, done)? {
            return Ok(Err(outcome));
        }
        if let Some(rollover) = line.rollover
            && let Err(outcome) = self.roll_over(state, rules, handled, (&row, rollover), done)?
        {
            return Ok(Err(outcome));
        }
        if is_ended(state, &row)
            && let Err(outcome) = self.take_back(state, rules, handled, (&row.key(), i64::MAX), done)?
        {
            return Ok(Err(outcome));
        }
        Ok(Ok(true))
    }

    pub(super) fn note_line(&mut self, state: &mut State, row: &LineRow) {
        state.stripe.lines.insert(row.key(), row.clone());
        self.stripe.lines.insert(row.key(), row.clone());
    }

    /// A new period begins: of what is left of earlier ones the plan keeps its share, and takes back the rest, of what
    /// burns first. A period that comes late, behind one that has begun already, is itself an earlier one.
    fn roll_over(
        &mut self,
        state: &mut State,
        rules: &Rules,
        handled: Handled<'_>,
        (new, rollover): (&LineRow, Rollover),
        done: &mut Done,
    ) -> Result<Result<(), &'static str>, StoreError> {
        let siblings = state.stripe.lines.values().filter(|row| {
            new.subscription.is_some()
                && (&row.subscription, &row.plan, &row.unit) == (&new.subscription, &new.plan, &new.unit)
        });
        let latest = siblings.clone().map(|row| row.period_start_s).max().unwrap_or(new.period_start_s);
        let is_late = latest > new.period_start_s;
        let is_of_period = |row: &LineRow| row.period_start_s == new.period_start_s && row.key() != new.key();
        if !is_late && siblings.clone().any(is_of_period) {
            // Another line of the same period has settled the earlier ones.
            return Ok(Ok(()));
        }
        let own_left = |row: &LineRow| -> Option<(BurnKey, i64, StripeKey)> {
            let lot = find_lot(state, handled, &row.part())?;
            Some((lot.burn_key(), lot.unheld().saturating_sub(row.refilled).max(0), row.key()))
        };
        let mut earlier: Vec<(BurnKey, i64, StripeKey)> =
            siblings.filter(|row| row.period_start_s < latest).filter_map(own_left).collect();
        earlier.sort();
        let left: i64 = earlier.iter().map(|(_, left, _)| *left).fold(0, i64::saturating_add);
        let mut excess = if is_late {
            // The share of the others was taken when the later period began; the cap is for all.
            let own = earlier.iter().find(|(_, _, key)| *key == new.key()).map_or(0, |(_, left, _)| *left);
            let others = left.saturating_sub(own);
            let keeps = rollover
                .keeps(own)
                .min(rollover.cap.map_or(i64::MAX, |cap| cap.saturating_sub(others).max(0)));
            earlier.retain(|(_, _, key)| *key == new.key());
            own.saturating_sub(keeps)
        } else {
            left.saturating_sub(rollover.keeps(left))
        };
        let mut takes = Vec::new();
        for (_, left, key) in earlier {
            let take = excess.min(left);
            excess = excess.saturating_sub(take);
            if take > 0 {
                takes.push((key, take));
            }
        }
        for (key, take) in takes {
            if let Err(outcome) = self.take_back(state, rules, handled, (&key, take), done)? {
                return Ok(Err(outcome));
            }
        }
        Ok(Ok(()))
    }

    /// Takes back up to `amount` of what is left of a line's lot, for good: what was taken of the lot so far, by refunds
    /// too, and this; never what others refilled.
    fn take_back(
        &mut self,
        state: &mut State,
        rules: &Rules,
        handled: Handled<'_>,
        (key, amount): (&StripeKey, i64),
        done: &mut Done,
    ) -> Result<Result<(), &'static str>, StoreError> {
        let Some(mut row) = state.stripe.lines.get(key).cloned() else { return Ok(Ok(())) };
        let part: Part = row.part();
        let Some(lot) = find_lot(state, handled, &part) else { return Ok(Err("grant_not_found")) };
        let taken = lot.revoked.parts().taken;
        let own = taken.saturating_add(lot.unheld()).saturating_sub(row.refilled);
        let after = taken.saturating_add(amount.min(lot.unheld())).min(own).min(row.credits);
        if after > row.taken_back {
            row.taken_back = after;
            self.note_line(state, &row);
        }
        let reference = row.subscription.clone().unwrap_or_else(|| row.invoice_id.clone());
        self.retarget_part(state, rules, handled, (&row.sale(), &part, &reference), done)
    }

    /// What paid for an invoice; refunds and disputes of it find their sale from now on.
    pub(super) fn invoice_payment(
        &mut self,
        state: &mut State,
        rules: &Rules,
        handled: Handled<'_>,
        told: &InvoicePayment,
    ) -> Result<Decided, StoreError> {
        let key = StripeKey::new(KeyKind::Invoice, told.invoice.as_str());
        if is_of_another(state, &key, &handled.request.account) {
            return Ok(Decided::parked("account_mismatch"));
        }
        if !state.stripe.sales.contains_key(&key) {
            return Ok(Decided::waiting(PREDECESSOR_MISSING, vec![key]));
        }
        self.paid_for(state, handled, &told.payment, &key);
        let decided = self.retarget(state, rules, handled, &key, &told.invoice)?;
        Ok(match decided.answer.state {
            EventState::Applied => Decided::applied("linked", decided.answer.operation),
            _ => decided,
        })
    }

    pub(super) fn subscription(
        &mut self,
        state: &mut State,
        rules: &Rules,
        handled: Handled<'_>,
        told: &SubscriptionState,
    ) -> Result<Decided, StoreError> {
        let account = &handled.request.account;
        let owners = handled.fact.owners();
        if owners.iter().any(|key| is_of_another(state, key, account)) {
            return Ok(Decided::parked("account_mismatch"));
        }
        if !is_owner(state, account, told.named.as_ref(), &owners) {
            return Ok(Decided::waiting(PREDECESSOR_MISSING, owners));
        }
        for key in owners {
            self.own(state, key, account);
        }
        self.mirror(state, account, told);
        let lines = state.stripe.lines.values();
        let ending =
            lines.filter(|row| row.subscription.as_ref() == Some(&told.subscription) && is_ended(state, row));
        let ending: Vec<StripeKey> = ending.map(LineRow::key).collect();
        let mut done = Done::default();
        for key in ending {
            if let Err(outcome) = self.take_back(state, rules, handled, (&key, i64::MAX), &mut done)? {
                return Ok(Decided::parked(outcome));
            }
        }
        Ok(Decided::applied("mirrored", done.first))
    }

    /// Keeps the telling that stands: an end, then the later one, then the later in the alphabet.
    fn mirror(&mut self, state: &mut State, account: &AccountId, told: &SubscriptionState) {
        let row = SubscriptionRow {
            account_id: account.to_string(),
            customer: told.customer.clone(),
            status: told.status.clone(),
            is_ended: told.is_ended,
            told_at_s: told.told_at_s,
        };
        let order = |row: &SubscriptionRow| (row.is_ended, row.told_at_s, row.status.clone());
        let known = state.stripe.subscriptions.get(&told.subscription);
        if known.is_none_or(|known| order(known) < order(&row)) {
            state.stripe.subscriptions.insert(told.subscription.clone(), row.clone());
            self.stripe.subscriptions.insert(told.subscription.clone(), row);
        }
    }
}

/// Whether what is left of the line's lot goes: its subscription has ended, and its plan says so.
fn is_ended(state: &State, row: &LineRow) -> bool {
    let subscription = row.subscription.as_ref().and_then(|id| state.stripe.subscriptions.get(id));
    row.ends_with_subscription && subscription.is_some_and(|subscription| subscription.is_ended)
}
