//! Subscriptions with their latest periods, and invoices with their lines, read under the batch's locks.

use std::collections::{BTreeMap, BTreeSet};

use domain::{GrantId, Unit};
use sqlx::PgConnection;
use sqlx::types::Uuid;

use super::load::ids_of;
use super::{LineRow, Sale, StripeState, SubscriptionRow};
use crate::error::StoreError;
use crate::stripe_event::{Fact, KeyKind, StripeKey};

/// Latest lines of a subscription that rollover and the end look at: eight years of months with one line each, less with
/// more. Lots that lie further back keep what is left of them.
const MAX_PERIODS: i64 = 96;

pub(super) fn subscription_of(fact: &Fact) -> Option<String> {
    match fact {
        Fact::Invoice(invoice) => invoice.subscription.clone(),
        Fact::Subscription(told) => Some(told.subscription.clone()),
        _ => None,
    }
}

/// Subscriptions, and the lines of their latest periods.
pub(super) async fn subscriptions_in_tx(
    tx: &mut PgConnection,
    state: &mut StripeState,
    subscriptions: &BTreeSet<String>,
) -> Result<(), StoreError> {
    if subscriptions.is_empty() {
        return Ok(());
    }
    let ids: Vec<String> = subscriptions.iter().cloned().collect();
    let rows = sqlx::query!(
        r#"select subscription_id, account_id, customer_id, status, is_ended, told_at_s
           from stripe_subscriptions where subscription_id = any($1)"#,
        &ids
    )
    .fetch_all(&mut *tx)
    .await
    .map_err(StoreError::during("read subscriptions"))?;
    for row in rows {
        let known = SubscriptionRow {
            account_id: row.account_id,
            customer: row.customer_id,
            status: row.status,
            is_ended: row.is_ended,
            told_at_s: row.told_at_s,
        };
        state.subscriptions.insert(row.subscription_id, known);
    }
    let rows = sqlx::query_as!(
        StoredLine,
        r#"select l.invoice_id as "invoice_id!", l.line_id as "line_id!", l.account_id as "account_id!", l.subscription_id,
                  l.plan as "plan!", l.unit as "unit!", l.grant_id as "grant_id!", l.credits as "credits!",
                  l.period_start_s as "period_start_s!", l.period_end_s as "period_end_s!",
                  l.ends_with_subscription as "ends_with_subscription!", l.taken_back as "taken_back!",
                  l.refilled as "refilled!"
           from unnest($1::text[]) as wanted(subscription_id)
           cross join lateral (
               select * from stripe_invoice_lines where subscription_id = wanted.subscription_id
               order by subscription_id desc, period_start_s desc, invoice_id desc, line_id desc limit $2
           ) as l"#,
        &ids,
        MAX_PERIODS
    )
    .fetch_all(tx)
    .await
    .map_err(StoreError::during("read periods of subscriptions"))?;
    note_lines(state, rows)
}

/// The lines of invoices.
pub(super) async fn lines_in_tx(
    tx: &mut PgConnection,
    state: &mut StripeState,
    sales: &BTreeSet<StripeKey>,
) -> Result<(), StoreError> {
    let invoices = ids_of(sales, KeyKind::Invoice);
    if invoices.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query_as!(
        StoredLine,
        r#"select invoice_id, line_id, account_id, subscription_id, plan, unit, grant_id, credits, period_start_s,
                  period_end_s, ends_with_subscription, taken_back, refilled
           from stripe_invoice_lines where invoice_id = any($1)"#,
        &invoices
    )
    .fetch_all(&mut *tx)
    .await
    .map_err(StoreError::during("read lines of invoices"))?;
    note_lines(state, rows)?;
    let rows = sqlx::query!(
        r#"select invoice_id, account_id, currency, captured_minor_units
           from stripe_invoices where invoice_id = any($1)"#,
        &invoices
    )
    .fetch_all(tx)
    .await
    .map_err(StoreError::during("read invoices"))?;
    for row in rows {
        let key = StripeKey::new(KeyKind::Invoice, row.invoice_id);
        let parts = state.lines.values().filter(|line| line.sale() == key).map(LineRow::part).collect();
        let sale = Sale {
            account_id: row.account_id,
            currency: row.currency,
            captured: row.captured_minor_units,
            parts,
            refunds: BTreeMap::new(),
            disputes: BTreeMap::new(),
        };
        state.sales.insert(key, sale);
    }
    Ok(())
}

/// A row of `stripe_invoice_lines`.
struct StoredLine {
    invoice_id: String,
    line_id: String,
    account_id: String,
    subscription_id: Option<String>,
    plan: String,
    unit: String,
    grant_id: Uuid,
    credits: i64,
    period_start_s: i64,
    period_end_s: i64,
    ends_with_subscription: bool,
    taken_back: i64,
    refilled: i64,
}

fn note_lines(state: &mut StripeState, rows: Vec<StoredLine>) -> Result<(), StoreError> {
    for row in rows {
        let line = LineRow {
            invoice_id: row.invoice_id,
            line_id: row.line_id,
            account_id: row.account_id,
            subscription: row.subscription_id,
            plan: row.plan,
            unit: Unit::try_new(row.unit)?,
            grant_id: GrantId::from_uuid(row.grant_id),
            credits: row.credits,
            period_start_s: row.period_start_s,
            period_end_s: row.period_end_s,
            ends_with_subscription: row.ends_with_subscription,
            taken_back: row.taken_back,
            refilled: row.refilled,
        };
        state.lines.insert(line.key(), line);
    }
    Ok(())
}
