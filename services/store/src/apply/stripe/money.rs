//! Money that goes back: refunds, disputes, warnings. Each is merged into what is known of its sale, in any order; then
//! the target of every grant of the sale is decided anew over all of it, and the grant's `revoked` set to it, up or
//! down.

use domain::{Action, IdempotencyKey, Lot, Operation, Revoke, Rules, revoked_target};

use super::{Decided, Decisions, DisputeRow, Handled, LineRow, Link, Part, RefundRow, Sale};
use crate::apply::State;
use crate::error::StoreError;
use crate::request::EventState;
use crate::stripe_event::{
    Dispute, KeyKind, PaymentRef, Refund, StripeKey, Warning, is_live_refund, later_dispute_status,
    later_refund_status, withheld_by,
};

/// The outcome of an event that names a payment which is not known yet.
pub(super) const PREDECESSOR_MISSING: &str = "predecessor_missing";

/// The refunded charge's own event: its refunds have events of their own, which say more.
pub(super) fn refund_hint(state: &State, payment: &PaymentRef) -> Decided {
    let keys = payment.refunds_keys();
    if keys.iter().any(|key| state.stripe.links.contains_key(key)) {
        Decided::plain(EventState::Ignored, "refund_events_say_more")
    } else {
        Decided::waiting(PREDECESSOR_MISSING, keys)
    }
}

impl Decisions {
    pub(super) fn refund(
        &mut self,
        state: &mut State,
        rules: &Rules,
        handled: Handled<'_>,
        refund: &Refund,
    ) -> Result<Decided, StoreError> {
        let (key, sale) = match sale_of(state, handled, &refund.payment, &refund.currency) {
            Ok(found) => found,
            Err(decided) => return Ok(*decided),
        };
        let known = sale.refunds.get(&refund.refund_id);
        let row = RefundRow {
            amount: known.map_or(refund.amount, |row| row.amount.max(refund.amount)),
            currency: refund.currency.clone(),
            status: known
                .map_or(refund.status.as_str(), |row| later_refund_status(&row.status, &refund.status))
                .to_owned(),
        };
        if known != Some(&row) {
            sale.refunds.insert(refund.refund_id.clone(), row.clone());
            let write = (handled.request.account.clone(), key.clone(), row);
            self.stripe.refunds.insert(refund.refund_id.clone(), write);
        }
        self.paid_for(state, handled, &refund.payment, &key);
        for refunds in refund.payment.refunds_keys() {
            let account_id = Some(handled.request.account.to_string());
            self.link(state, refunds, Link { account_id, sale: Some(key.clone()), is_gone: false });
        }
        self.retarget(state, rules, handled, &key, &refund.refund_id)
    }

    pub(super) fn dispute(
        &mut self,
        state: &mut State,
        rules: &Rules,
        handled: Handled<'_>,
        dispute: &Dispute,
    ) -> Result<Decided, StoreError> {
        let (key, sale) = match sale_of(state, handled, &dispute.payment, &dispute.currency) {
            Ok(found) => found,
            Err(decided) => return Ok(*decided),
        };
        let known = sale.disputes.get(&dispute.dispute_id);
        let known_withheld = known.map_or(0, DisputeRow::withheld);
        let mut row = known.cloned().unwrap_or_default();
        row.amount = row.amount.max(dispute.amount);
        row.currency.clone_from(&dispute.currency);
        row.status = later_dispute_status(&row.status, &dispute.status).to_owned();
        row.transactions.extend(dispute.transactions.iter().cloned());
        if known != Some(&row) {
            sale.disputes.insert(dispute.dispute_id.clone(), row.clone());
            let write = (handled.request.account.clone(), key.clone(), row.clone());
            self.stripe.disputes.insert(dispute.dispute_id.clone(), write);
        }
        self.paid_for(state, handled, &dispute.payment, &key);
        if known_withheld == 0 && row.withheld() == 0 {
            // It moves no money, so what an operator has revoked by hand stays.
            let is_inquiry = row.status.starts_with("warning_");
            return Ok(Decided::applied(if is_inquiry { "flagged" } else { "no_change" }, None));
        }
        let mut decided = self.retarget(state, rules, handled, &key, &dispute.dispute_id)?;
        if row.status.starts_with("warning_") && decided.answer.outcome == "no_change" {
            "flagged".clone_into(&mut decided.answer.outcome);
        }
        Ok(decided)
    }

    pub(super) fn warning(&mut self, state: &mut State, handled: Handled<'_>, warning: &Warning) -> Decided {
        let key = match sale_key(state, handled, &warning.payment) {
            Ok(key) => key,
            Err(decided) => return *decided,
        };
        self.paid_for(state, handled, &warning.payment, &key);
        let write = (handled.request.account.clone(), key, warning.clone());
        self.stripe.warnings.insert(warning.warning_id.clone(), write);
        Decided::applied("flagged", None)
    }

    pub(super) fn customer_gone(&mut self, state: &mut State, customer: &str) -> Decided {
        let key = StripeKey::new(KeyKind::Customer, customer);
        let known = state.stripe.links.get(&key).cloned().unwrap_or_default();
        let outcome = if known.is_gone { "no_change" } else { "unlinked" };
        self.link(state, key, Link { is_gone: true, ..known });
        Decided::applied(outcome, None)
    }

    /// Remembers both names of a payment, where only one led to its sale.
    pub(super) fn paid_for(
        &mut self,
        state: &mut State,
        handled: Handled<'_>,
        payment: &PaymentRef,
        sale: &StripeKey,
    ) {
        let is_linked = |state: &State, key: &StripeKey| {
            state.stripe.links.get(key).is_some_and(|link| link.sale.is_some())
        };
        for key in payment.keys() {
            if !is_linked(state, &key) {
                let account_id = Some(handled.request.account.to_string());
                self.link(state, key, Link { account_id, sale: Some(sale.clone()), is_gone: false });
            }
        }
    }

    /// Sets `revoked` of every grant of the sale to what its lost money says. `reference` is the object that asks.
    pub(super) fn retarget(
        &mut self,
        state: &mut State,
        rules: &Rules,
        handled: Handled<'_>,
        key: &StripeKey,
        reference: &str,
    ) -> Result<Decided, StoreError> {
        let Some(sale) = state.stripe.sales.get(key) else {
            return Ok(Decided::parked(PREDECESSOR_MISSING));
        };
        let parts = sale.parts.clone();
        let mut done = Done::default();
        for part in &parts {
            if let Err(outcome) =
                self.retarget_part(state, rules, handled, (key, part, reference), &mut done)?
            {
                return Ok(Decided::parked(outcome));
            }
        }
        let outcome = match done.revoked {
            0 => "no_change",
            1.. => "revoked",
            _ => "reinstated",
        };
        Ok(Decided::applied(outcome, done.first))
    }

    /// Sets `revoked` of one grant of a sale; `Err` is the outcome under which the event is parked.
    pub(super) fn retarget_part(
        &mut self,
        state: &mut State,
        rules: &Rules,
        handled: Handled<'_>,
        (key, part, reference): (&StripeKey, &Part, &str),
        done: &mut Done,
    ) -> Result<Result<(), &'static str>, StoreError> {
        let Some(sale) = state.stripe.sales.get(key) else { return Ok(Err(PREDECESSOR_MISSING)) };
        let (lost, captured) = (sale.lost(), sale.captured);
        let line = part.line.as_ref().and_then(|line| state.stripe.lines.get(line));
        let taken_back = line.map_or(0, |line| line.taken_back);
        let Some(lot) = find_lot(state, handled, part) else { return Ok(Err("grant_not_found")) };
        let target = revoked_target(lot.amount, lost, captured, taken_back);
        let change = target.saturating_sub(lot.revoked.total());
        if change == 0 {
            return Ok(Ok(()));
        }
        // A lot has each version once, so the key names this one change.
        let name = format!("{}/{}", part.grant_id.uuid(), lot.last_version);
        let action = Action::Revoke(Revoke { grant_id: part.grant_id, revoked: target, shortfall: None });
        let key = IdempotencyKey::for_stripe("revocation", &name);
        let command = handled.command(&part.unit, key, reference, action);
        let operation = match self.for_event(state, rules, &command, handled.operation_id(done.operations))? {
            Ok(operation) => operation,
            Err(outcome) => return Ok(Err(outcome)),
        };
        let refilled = refilled(&operation);
        if let Some(row) =
            part.line.as_ref().filter(|_| refilled > 0).and_then(|line| state.stripe.lines.get(line))
        {
            let row = LineRow { refilled: row.refilled.saturating_add(refilled), ..row.clone() };
            self.note_line(state, &row);
        }
        done.note(operation);
        done.revoked = done.revoked.saturating_add(change);
        Ok(Ok(()))
    }
}

/// How much came into a lot that a revocation had taken from others: of what was owed, all that did not lower debt.
fn refilled(operation: &Operation) -> i64 {
    let lowered =
        operation.entries.iter().filter_map(|entry| Some((entry.revocation?.owed, entry.delta.debt)));
    lowered
        .filter(|(owed, _)| *owed < 0)
        .map(|(owed, debt)| debt.saturating_sub(owed))
        .fold(0, i64::saturating_add)
}

/// What an event has done so far.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Operations so far.
    pub(super) operations: u8,
    /// The first of them.
    pub(super) first: Option<Operation>,
    /// By how much `revoked` went up, in all.
    revoked: i64,
}

impl Done {
    pub(super) fn note(&mut self, operation: Operation) {
        self.operations = self.operations.saturating_add(1);
        self.first.get_or_insert(operation);
    }
}

impl Sale {
    /// What went back of the captured money, in minor units: live refunds, and what disputes withhold.
    fn lost(&self) -> i64 {
        let refunds = self.refunds.values().filter(|row| is_live_refund(&row.status)).map(|row| row.amount);
        let disputes = self.disputes.values().map(DisputeRow::withheld);
        refunds.chain(disputes).fold(0, i64::saturating_add)
    }
}

impl DisputeRow {
    fn withheld(&self) -> i64 {
        withheld_by(&self.status, self.amount, self.transactions.values().copied())
    }
}

/// The sale that a payment was for; or what becomes of an event that finds none.
fn sale_key(state: &State, handled: Handled<'_>, payment: &PaymentRef) -> Result<StripeKey, Box<Decided>> {
    let keys = payment.keys();
    let links = keys.iter().filter_map(|key| state.stripe.links.get(key));
    let Some((account_id, sale)) =
        links.clone().find_map(|link| link.account_id.as_ref().zip(link.sale.as_ref()))
    else {
        return Err(Box::new(if links.count() > 0 {
            Decided::plain(EventState::Ignored, "not_ours")
        } else {
            Decided::waiting(PREDECESSOR_MISSING, keys)
        }));
    };
    if account_id != handled.request.account.as_str() {
        return Err(Box::new(Decided::parked("account_mismatch")));
    }
    Ok(sale.clone())
}

fn sale_of<'s>(
    state: &'s mut State,
    handled: Handled<'_>,
    payment: &PaymentRef,
    currency: &str,
) -> Result<(StripeKey, &'s mut Sale), Box<Decided>> {
    let key = sale_key(state, handled, payment)?;
    let Some(sale) = state.stripe.sales.get_mut(&key) else {
        return Err(Box::new(Decided::waiting(PREDECESSOR_MISSING, payment.keys())));
    };
    if sale.currency != currency {
        return Err(Box::new(Decided::parked("currency_mismatch")));
    }
    Ok((key, sale))
}

pub(super) fn find_lot<'s>(state: &'s State, handled: Handled<'_>, part: &Part) -> Option<&'s Lot> {
    let balance = state.balances.get(&(handled.request.account.clone(), part.unit.clone()))?;
    balance.lots.iter().chain(&balance.closed).find(|lot| lot.grant_id == part.grant_id)
}
