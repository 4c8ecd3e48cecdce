//! Stripe's rows of a batch: inbox, natural keys, purchases. Events bring a body each and are rare beside spends, so
//! inbox and purchases are written one by one.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use sqlx::types::Uuid;
use time::OffsetDateTime;

use crate::apply::decision::Decisions;
use crate::apply::stripe::{PAID, PENDING};
use crate::error::StoreError;
use crate::request::{EventAnswer, StripeRequest};
use crate::stripe_event::Payment;

pub(super) async fn events_in_tx(
    tx: &mut PgConnection,
    events: &BTreeMap<String, (StripeRequest, EventAnswer)>,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    for (request, answer) in events.values() {
        let account = request.checkout.account.as_str();
        let inbox = crate::inbox::Row {
            event: &request.event,
            state: answer.state,
            outcome: &answer.outcome,
            account_id: Some(account),
            operation_id: answer.operation.as_ref().map(|operation| operation.id),
            traceparent: request.traceparent.as_deref(),
        };
        crate::inbox::upsert_in_tx(tx, &inbox, now).await?;
    }
    Ok(())
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
    let kinds: Vec<String> = claims.iter().map(|((kind, _), _, _)| kind.clone()).collect();
    let ids: Vec<String> = claims.iter().map(|((_, id), _, _)| id.clone()).collect();
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
    for (checkout, operation) in decisions.stripe.purchases.values() {
        let state = match checkout.payment {
            Payment::Pending => PENDING,
            Payment::Paid => PAID,
        };
        sqlx::query!(
            r#"insert into purchases (session_id, account_id, unit, pack, quantity, subtotal_minor_units,
                                      currency, payment_intent, state, operation_id, created_at, updated_at)
               values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)
               on conflict on constraint purchases_pkey do update
               set state = excluded.state, operation_id = excluded.operation_id,
                   payment_intent = coalesce(excluded.payment_intent, purchases.payment_intent),
                   updated_at = excluded.updated_at
               where purchases.state < excluded.state"#,
            checkout.session_id,
            checkout.account.as_str(),
            checkout.unit.as_str(),
            checkout.pack,
            checkout.quantity,
            checkout.subtotal_minor_units,
            checkout.currency,
            checkout.payment_intent,
            state,
            operation.map(|id| id.uuid()),
            now
        )
        .execute(&mut *tx)
        .await
        .map_err(StoreError::during("write purchases"))?;
    }
    Ok(())
}
