//! What the facts of a batch are decided by, read under its locks: the fewest statements that the facts at hand need.

use std::collections::{BTreeMap, BTreeSet};

use domain::{GrantId, OperationId, Unit};
use sqlx::PgConnection;

use super::lock::{lock_keys_in_tx, lock_numbers};
use super::periods::{lines_in_tx, subscription_of, subscriptions_in_tx};
use super::{Claim, Inbox, LineRow, Link, Part, RefundRow, Sale, StripeState};
use crate::apply::Wait;
use crate::error::StoreError;
use crate::inbox;
use crate::request::{EventState, Request, StripeRequest};
use crate::stripe_event::{Fact, KeyKind, StripeKey};

/// Locks and reads the Stripe keys of the batch; four statements, none without Stripe events, and more for facts about
/// sales.
pub(in crate::apply) async fn state_in_tx(
    tx: &mut PgConnection,
    requests: &[&Request],
    wait: Wait,
) -> Result<StripeState, StoreError> {
    let requests: Vec<&StripeRequest> = requests
        .iter()
        .filter_map(|request| if let Request::Stripe(stripe) = request { Some(&**stripe) } else { None })
        .collect();
    if requests.is_empty() {
        return Ok(StripeState::default());
    }
    let numbers: BTreeSet<i64> = requests.iter().flat_map(|request| lock_numbers(request)).collect();
    let busy = lock_keys_in_tx(tx, &numbers, wait).await?;
    let events = || requests.iter().flat_map(|request| request.events());
    let event_ids: Vec<String> = events().map(|(event, _)| event.event_id.clone()).collect();
    let inbox = inbox_in_tx(tx, &event_ids).await?;
    let mut state = StripeState { busy, inbox, ..StripeState::default() };
    let keys: BTreeSet<StripeKey> = events().flat_map(|(_, fact)| fact.keys()).collect();
    claims_in_tx(tx, &mut state, &keys).await?;
    purchases_in_tx(tx, &mut state, &keys).await?;
    let is_session = |fact: &Fact| matches!(fact, Fact::Checkout(_) | Fact::SessionEnded(_));
    if events().all(|(_, fact)| is_session(fact)) {
        return Ok(state);
    }
    state.links = links(tx, keys.iter()).await?;
    let mut sales: BTreeSet<StripeKey> = state.links.values().filter_map(|link| link.sale.clone()).collect();
    let subscriptions: BTreeSet<String> = events().filter_map(|(_, fact)| subscription_of(fact)).collect();
    subscriptions_in_tx(tx, &mut state, &subscriptions).await?;
    // The sales of a subscription's earlier periods: what is taken back of them depends on their refunds.
    sales.extend(state.lines.values().map(LineRow::sale));
    lines_in_tx(tx, &mut state, &sales).await?;
    sales_in_tx(tx, &mut state, &sales).await?;
    Ok(state)
}

async fn claims_in_tx(
    tx: &mut PgConnection,
    state: &mut StripeState,
    keys: &BTreeSet<StripeKey>,
) -> Result<(), StoreError> {
    let (kinds, ids) = inbox::columns(keys);
    let rows = sqlx::query!(
        r#"select c.kind, c.object_id, c.account_id, c.operation_id, c.event_id
           from unnest($1::text[], $2::text[]) as wanted(kind, object_id)
           join stripe_claims c on c.kind = wanted.kind and c.object_id = wanted.object_id"#,
        &kinds,
        &ids
    )
    .fetch_all(&mut *tx)
    .await
    .map_err(StoreError::during("read natural keys"))?;
    for row in rows {
        let operation_id = OperationId::from_uuid(row.operation_id);
        let claim = Claim { account_id: row.account_id, operation_id, event_id: row.event_id };
        state.claims.insert(StripeKey::new(kind(&row.kind)?, row.object_id), claim);
    }
    Ok(())
}

async fn purchases_in_tx(
    tx: &mut PgConnection,
    state: &mut StripeState,
    keys: &BTreeSet<StripeKey>,
) -> Result<(), StoreError> {
    let sessions = ids_of(keys, KeyKind::CheckoutSession);
    if sessions.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query!(
        "select session_id, account_id, state from purchases where session_id = any($1)",
        &sessions
    )
    .fetch_all(&mut *tx)
    .await
    .map_err(StoreError::during("read purchases"))?;
    state.purchases.extend(rows.into_iter().map(|row| (row.session_id, (row.account_id, row.state))));
    Ok(())
}

pub(super) fn ids_of<'a>(keys: impl IntoIterator<Item = &'a StripeKey>, kind: KeyKind) -> Vec<String> {
    keys.into_iter().filter(|key| key.kind == kind).map(|key| key.id.clone()).collect()
}

fn kind(name: &str) -> Result<KeyKind, StoreError> {
    KeyKind::lookup(name).ok_or(StoreError::Corrupt("kind of a natural key"))
}

/// What these objects belong to. A payment intent that has no link of its own paid for the session that names it.
pub(crate) async fn links(
    connection: &mut PgConnection,
    keys: impl Iterator<Item = &StripeKey> + Clone,
) -> Result<BTreeMap<StripeKey, Link>, StoreError> {
    let (kinds, ids) = inbox::columns(keys.clone());
    let rows = sqlx::query!(
        r#"select l.kind, l.object_id, l.account_id, l.sale_kind, l.sale_id, l.unlinked_at is not null as "is_gone!"
           from unnest($1::text[], $2::text[]) as wanted(kind, object_id)
           cross join lateral (
               select * from stripe_links where kind = wanted.kind and object_id = wanted.object_id limit 1
           ) as l"#,
        &kinds,
        &ids
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(StoreError::during("read links"))?;
    let mut links = BTreeMap::new();
    for row in rows {
        let sale = row.sale_kind.zip(row.sale_id);
        let sale =
            sale.map(|(name, id)| Ok::<_, StoreError>(StripeKey::new(kind(&name)?, id))).transpose()?;
        let link = Link { account_id: row.account_id, sale, is_gone: row.is_gone };
        links.insert(StripeKey::new(kind(&row.kind)?, row.object_id), link);
    }
    let intents = ids_of(keys, KeyKind::PaymentIntent);
    if intents.is_empty() {
        return Ok(links);
    }
    let rows = sqlx::query!(
        r#"select wanted.id as "intent!", p.session_id, p.account_id
           from unnest($1::text[]) as wanted(id)
           cross join lateral (
               select session_id, account_id from purchases where payment_intent = wanted.id and state = 3 limit 1
           ) as p"#,
        &intents
    )
    .fetch_all(connection)
    .await
    .map_err(StoreError::during("read what intents paid for"))?;
    for row in rows {
        let sale = Some(StripeKey::new(KeyKind::CheckoutSession, row.session_id));
        let link = Link { account_id: Some(row.account_id), sale, is_gone: false };
        links.insert(StripeKey::new(KeyKind::PaymentIntent, row.intent), link);
    }
    Ok(links)
}

/// The sales with their grants, and every refund and dispute of them.
async fn sales_in_tx(
    tx: &mut PgConnection,
    state: &mut StripeState,
    sales: &BTreeSet<StripeKey>,
) -> Result<(), StoreError> {
    if sales.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query!(
        r#"select session_id, account_id, unit, currency, operation_id as "operation_id!", credits,
                  coalesce(captured_minor_units, subtotal_minor_units) as "captured!"
           from purchases where session_id = any($1) and operation_id is not null"#,
        &ids_of(sales, KeyKind::CheckoutSession)
    )
    .fetch_all(&mut *tx)
    .await
    .map_err(StoreError::during("read sold packs"))?;
    for row in rows {
        let grant_id = GrantId::from_uuid(row.operation_id);
        let part = Part { unit: Unit::try_new(row.unit)?, grant_id, credits: row.credits, line: None };
        let sale = Sale {
            account_id: row.account_id,
            currency: row.currency,
            captured: row.captured,
            parts: vec![part],
            refunds: BTreeMap::new(),
            disputes: BTreeMap::new(),
        };
        state.sales.insert(StripeKey::new(KeyKind::CheckoutSession, row.session_id), sale);
    }
    refunds_in_tx(tx, state).await?;
    disputes_in_tx(tx, state).await
}

async fn refunds_in_tx(tx: &mut PgConnection, state: &mut StripeState) -> Result<(), StoreError> {
    let (kinds, ids) = inbox::columns(state.sales.keys());
    let rows = sqlx::query!(
        r#"select r.refund_id, r.sale_kind, r.sale_id, r.amount_minor_units, r.currency, r.status
           from unnest($1::text[], $2::text[]) as sale(kind, id)
           join stripe_refunds r on r.sale_kind = sale.kind and r.sale_id = sale.id"#,
        &kinds,
        &ids
    )
    .fetch_all(tx)
    .await
    .map_err(StoreError::during("read refunds"))?;
    for row in rows {
        let Some(sale) = state.sales.get_mut(&StripeKey::new(kind(&row.sale_kind)?, row.sale_id)) else {
            continue;
        };
        let refund = RefundRow { amount: row.amount_minor_units, currency: row.currency, status: row.status };
        sale.refunds.insert(row.refund_id, refund);
    }
    Ok(())
}

async fn disputes_in_tx(tx: &mut PgConnection, state: &mut StripeState) -> Result<(), StoreError> {
    let (kinds, ids) = inbox::columns(state.sales.keys());
    let rows = sqlx::query!(
        r#"select d.dispute_id, d.sale_kind, d.sale_id, d.amount_minor_units, d.currency, d.status,
                  t.transaction_id as "transaction_id?", t.amount_minor_units as "transaction_amount?"
           from unnest($1::text[], $2::text[]) as sale(kind, id)
           join stripe_disputes d on d.sale_kind = sale.kind and d.sale_id = sale.id
           left join stripe_dispute_transactions t on t.dispute_id = d.dispute_id"#,
        &kinds,
        &ids
    )
    .fetch_all(tx)
    .await
    .map_err(StoreError::during("read disputes"))?;
    for row in rows {
        let Some(sale) = state.sales.get_mut(&StripeKey::new(kind(&row.sale_kind)?, row.sale_id)) else {
            continue;
        };
        let dispute = sale.disputes.entry(row.dispute_id).or_default();
        (dispute.amount, dispute.currency, dispute.status) =
            (row.amount_minor_units, row.currency, row.status);
        dispute.transactions.extend(row.transaction_id.zip(row.transaction_amount));
    }
    Ok(())
}

async fn inbox_in_tx(
    tx: &mut PgConnection,
    event_ids: &[String],
) -> Result<BTreeMap<String, Inbox>, StoreError> {
    let rows = sqlx::query!(
        "select event_id, state, outcome, operation_id from stripe_events where event_id = any($1)",
        event_ids
    )
    .fetch_all(tx)
    .await
    .map_err(StoreError::during("read the inbox"))?;
    let mut inbox = BTreeMap::new();
    for row in rows {
        let state = EventState::lookup(row.state).ok_or(StoreError::Corrupt("event state"))?;
        let operation_id = row.operation_id.map(OperationId::from_uuid);
        inbox.insert(row.event_id, Inbox { state, outcome: row.outcome, operation_id });
    }
    Ok(inbox)
}

/// A lot that a fact may change, and the most that it may burn of others.
pub(in crate::apply) struct WantedLot {
    pub(in crate::apply) unit: Unit,
    pub(in crate::apply) grant_id: GrantId,
    pub(in crate::apply) demand: i64,
}

impl StripeState {
    /// The lots of all sales that the request's facts are about, and the units of what they grant.
    pub(in crate::apply) fn wanted_lots(&self, request: &StripeRequest) -> Vec<WantedLot> {
        let keys: BTreeSet<StripeKey> = request.events().flat_map(|(_, fact)| fact.keys()).collect();
        let mut sales: BTreeSet<StripeKey> =
            keys.iter().filter_map(|key| self.links.get(key)?.sale.clone()).collect();
        let subscriptions: BTreeSet<String> =
            request.events().filter_map(|(_, fact)| subscription_of(fact)).collect();
        let lines = self.lines.values();
        let lines =
            lines.filter(|line| line.subscription.as_ref().is_some_and(|id| subscriptions.contains(id)));
        sales.extend(lines.map(LineRow::sale));
        let sales = sales.iter().filter_map(|key| self.sales.get(key));
        let sales = sales.filter(|sale| sale.account_id == request.account.as_str());
        let parts = sales.flat_map(|sale| &sale.parts);
        parts
            .map(|part| WantedLot {
                unit: part.unit.clone(),
                grant_id: part.grant_id,
                demand: part.credits.unwrap_or(domain::MAX_AMOUNT),
            })
            .collect()
    }

    /// The units of what the request's facts grant.
    pub(in crate::apply) fn granted_units(request: &StripeRequest) -> BTreeSet<Unit> {
        let invoices = request.events().filter_map(|(_, fact)| match fact {
            Fact::Invoice(invoice) => Some(invoice),
            _ => None,
        });
        invoices.flat_map(|invoice| &invoice.lines).map(|line| line.unit.clone()).collect()
    }
}
