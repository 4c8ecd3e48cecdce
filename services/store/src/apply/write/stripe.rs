//! Stripe's rows of a batch: inbox, natural keys, purchases; set-based like the ledger.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use sqlx::types::Uuid;
use time::OffsetDateTime;

use crate::apply::decision::Decisions;
use crate::apply::stripe::Written;
use crate::error::StoreError;
use crate::inbox;
use crate::stripe_event::Checkout;

pub(super) async fn events_in_tx(
    tx: &mut PgConnection,
    events: &BTreeMap<String, Written>,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let rows: Vec<_> = events.values().map(row).collect();
    inbox::upsert_in_tx(tx, &rows, now).await
}

fn row(written: &Written) -> inbox::Row<'_> {
    let Written { event, answer, account, traceparent, waits } = written;
    inbox::Row {
        event,
        state: answer.state,
        outcome: &answer.outcome,
        account_id: Some(account.as_str()),
        operation_id: answer.operation.as_ref().map(|operation| operation.id),
        traceparent: traceparent.as_deref(),
        waits,
        is_due: false,
    }
}

pub(super) async fn claims_in_tx(
    tx: &mut PgConnection,
    decisions: &Decisions,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let claims = &decisions.stripe.claims;
    if claims.is_empty() {
        return Ok(());
    }
    let (kinds, ids) = inbox::columns(claims.iter().map(|(key, _, _)| key));
    let accounts: Vec<String> = claims.iter().map(|(_, claim, _)| claim.account_id.clone()).collect();
    let units: Vec<String> = claims.iter().map(|(_, _, unit)| unit.as_str().to_owned()).collect();
    let operations: Vec<Uuid> = claims.iter().map(|(_, claim, _)| claim.operation_id.uuid()).collect();
    let events: Vec<String> = claims.iter().map(|(_, claim, _)| claim.event_id.clone()).collect();
    sqlx::query!(
        r#"insert into stripe_claims (kind, object_id, account_id, unit, operation_id, event_id, claimed_at)
           select *, $7 from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::text[])"#,
        &kinds,
        &ids,
        &accounts,
        &units,
        &operations,
        &events,
        now
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("write natural keys"))?;
    Ok(())
}

pub(super) async fn purchases_in_tx(
    tx: &mut PgConnection,
    decisions: &Decisions,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let purchases: Vec<_> = decisions.stripe.purchases.values().collect();
    if purchases.is_empty() {
        return Ok(());
    }
    let text = |of: fn(&Checkout) -> &str| -> Vec<String> {
        purchases.iter().map(|purchase| of(&purchase.checkout).to_owned()).collect()
    };
    let number = |of: fn(&Checkout) -> i64| -> Vec<i64> {
        purchases.iter().map(|purchase| of(&purchase.checkout)).collect()
    };
    let payment_intents: Vec<Option<String>> =
        purchases.iter().map(|purchase| purchase.checkout.payment_intent.clone()).collect();
    let states: Vec<i16> = purchases.iter().map(|purchase| purchase.state).collect();
    let operations: Vec<Option<Uuid>> =
        purchases.iter().map(|purchase| purchase.operation.map(|id| id.uuid())).collect();
    sqlx::query!(
        r#"insert into purchases (session_id, account_id, unit, pack, quantity, subtotal_minor_units, currency,
                                  payment_intent, state, operation_id, captured_minor_units, credits,
                                  created_at, updated_at)
           select *, $11, $11
           from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[],
                       $8::text[], $9::smallint[], $10::uuid[], $12::bigint[], $13::bigint[])
           on conflict on constraint purchases_pkey do update
           set state = excluded.state, operation_id = excluded.operation_id,
               payment_intent = coalesce(excluded.payment_intent, purchases.payment_intent),
               captured_minor_units = excluded.captured_minor_units, credits = excluded.credits,
               updated_at = excluded.updated_at
           -- The order of `rank` in apply/stripe/checkout.rs.
           where array_position(array[1, 2, 5, 4, 3]::smallint[], purchases.state)
                 < array_position(array[1, 2, 5, 4, 3]::smallint[], excluded.state)"#,
        &text(|checkout| &checkout.session_id),
        &text(|checkout| checkout.account.as_str()),
        &text(|checkout| checkout.unit.as_str()),
        &text(|checkout| &checkout.pack),
        &number(|checkout| checkout.quantity),
        &number(|checkout| checkout.subtotal_minor_units),
        &text(|checkout| &checkout.currency),
        &payment_intents as &[Option<String>],
        &states,
        &operations as &[Option<Uuid>],
        now,
        &number(|checkout| checkout.captured_minor_units),
        &number(|checkout| checkout.grant.amount)
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("write purchases"))?;
    Ok(())
}
