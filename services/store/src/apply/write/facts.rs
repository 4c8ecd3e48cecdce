//! Stripe's facts beyond sessions: links, refunds, disputes, warnings, subscriptions and their invoices. Each merges with what is stored in the same way as
//! the rules merged it, since two accounts' batches may write one object.

use domain::AccountId;
use sqlx::PgConnection;
use sqlx::types::Uuid;
use time::OffsetDateTime;

use crate::apply::stripe::{DisputeRow, LineRow, Link, RefundRow, StripeWrites, SubscriptionRow};
use crate::error::StoreError;
use crate::inbox;
use crate::stripe_event::StripeKey;

/// Writes them; no statement without facts of its kind.
pub(super) async fn write_in_tx(
    tx: &mut PgConnection,
    writes: &StripeWrites,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let links: Vec<(&StripeKey, &Link)> = writes.links.iter().collect();
    inbox::links_in_tx(tx, &links, now).await?;
    refunds_in_tx(tx, writes, now).await?;
    disputes_in_tx(tx, writes, now).await?;
    warnings_in_tx(tx, writes, now).await?;
    subscriptions_in_tx(tx, writes, now).await?;
    invoices_in_tx(tx, writes, now).await?;
    lines_in_tx(tx, writes).await
}

/// The columns that a fact of a sale begins with: ids, accounts, kinds and ids of the sale.
struct OfSale {
    ids: Vec<String>,
    accounts: Vec<String>,
    sale_kinds: Vec<String>,
    sale_ids: Vec<String>,
}

impl OfSale {
    fn columns<'a>(facts: impl Iterator<Item = (&'a String, &'a AccountId, &'a StripeKey)>) -> Self {
        let mut columns =
            Self { ids: Vec::new(), accounts: Vec::new(), sale_kinds: Vec::new(), sale_ids: Vec::new() };
        for (id, account, sale) in facts {
            columns.ids.push(id.clone());
            columns.accounts.push(account.as_str().to_owned());
            columns.sale_kinds.push(sale.kind.name().to_owned());
            columns.sale_ids.push(sale.id.clone());
        }
        columns
    }
}

async fn refunds_in_tx(
    tx: &mut PgConnection,
    writes: &StripeWrites,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let refunds = &writes.refunds;
    if refunds.is_empty() {
        return Ok(());
    }
    let of_sale = OfSale::columns(refunds.iter().map(|(id, (account, sale, _))| (id, account, sale)));
    let text = |of: fn(&RefundRow) -> &str| -> Vec<String> {
        refunds.values().map(|(_, _, row)| of(row).to_owned()).collect()
    };
    let amounts: Vec<i64> = refunds.values().map(|(_, _, row)| row.amount).collect();
    sqlx::query!(
        r#"insert into stripe_refunds (refund_id, account_id, sale_kind, sale_id, amount_minor_units, currency, status,
                                       updated_at)
           select *, $8 from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[])
           on conflict on constraint stripe_refunds_pkey do update
           set amount_minor_units = excluded.amount_minor_units, status = excluded.status,
               updated_at = excluded.updated_at"#,
        &of_sale.ids,
        &of_sale.accounts,
        &of_sale.sale_kinds,
        &of_sale.sale_ids,
        &amounts,
        &text(|row| &row.currency),
        &text(|row| &row.status),
        now
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("write refunds"))?;
    Ok(())
}

async fn disputes_in_tx(
    tx: &mut PgConnection,
    writes: &StripeWrites,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let disputes = &writes.disputes;
    if disputes.is_empty() {
        return Ok(());
    }
    let of_sale = OfSale::columns(disputes.iter().map(|(id, (account, sale, _))| (id, account, sale)));
    let text = |of: fn(&DisputeRow) -> &str| -> Vec<String> {
        disputes.values().map(|(_, _, row)| of(row).to_owned()).collect()
    };
    let amounts: Vec<i64> = disputes.values().map(|(_, _, row)| row.amount).collect();
    sqlx::query!(
        r#"insert into stripe_disputes (dispute_id, account_id, sale_kind, sale_id, amount_minor_units, currency, status,
                                        updated_at)
           select *, $8 from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[])
           on conflict on constraint stripe_disputes_pkey do update
           set amount_minor_units = excluded.amount_minor_units, status = excluded.status,
               updated_at = excluded.updated_at"#,
        &of_sale.ids,
        &of_sale.accounts,
        &of_sale.sale_kinds,
        &of_sale.sale_ids,
        &amounts,
        &text(|row| &row.currency),
        &text(|row| &row.status),
        now
    )
    .execute(&mut *tx)
    .await
    .map_err(StoreError::during("write disputes"))?;
    let transactions: Vec<(String, String, i64)> = disputes
        .iter()
        .flat_map(|(id, (_, _, row))| row.transactions.iter().map(move |(t, n)| (id.clone(), t.clone(), *n)))
        .collect();
    let disputes: Vec<String> = transactions.iter().map(|(dispute, _, _)| dispute.clone()).collect();
    let ids: Vec<String> = transactions.iter().map(|(_, id, _)| id.clone()).collect();
    let amounts: Vec<i64> = transactions.iter().map(|(_, _, amount)| *amount).collect();
    sqlx::query!(
        r#"insert into stripe_dispute_transactions (dispute_id, transaction_id, amount_minor_units)
           select * from unnest($1::text[], $2::text[], $3::bigint[]) on conflict do nothing"#,
        &disputes,
        &ids,
        &amounts
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("write transactions of disputes"))?;
    Ok(())
}

async fn warnings_in_tx(
    tx: &mut PgConnection,
    writes: &StripeWrites,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let warnings = &writes.warnings;
    if warnings.is_empty() {
        return Ok(());
    }
    let of_sale = OfSale::columns(warnings.iter().map(|(id, (account, sale, _))| (id, account, sale)));
    let types: Vec<String> = warnings.values().map(|(_, _, warning)| warning.fraud_type.clone()).collect();
    sqlx::query!(
        r#"insert into stripe_fraud_warnings (warning_id, account_id, sale_kind, sale_id, fraud_type, flagged_at)
           select *, $6 from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
           on conflict do nothing"#,
        &of_sale.ids,
        &of_sale.accounts,
        &of_sale.sale_kinds,
        &of_sale.sale_ids,
        &types,
        now
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("write fraud warnings"))?;
    Ok(())
}

async fn subscriptions_in_tx(
    tx: &mut PgConnection,
    writes: &StripeWrites,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let subscriptions = &writes.subscriptions;
    if subscriptions.is_empty() {
        return Ok(());
    }
    let ids: Vec<String> = subscriptions.keys().cloned().collect();
    let text = |of: fn(&SubscriptionRow) -> &str| -> Vec<String> {
        subscriptions.values().map(|row| of(row).to_owned()).collect()
    };
    let customers: Vec<Option<String>> = subscriptions.values().map(|row| row.customer.clone()).collect();
    let ended: Vec<bool> = subscriptions.values().map(|row| row.is_ended).collect();
    let told: Vec<i64> = subscriptions.values().map(|row| row.told_at_s).collect();
    sqlx::query!(
        r#"insert into stripe_subscriptions (subscription_id, account_id, customer_id, status, is_ended, told_at_s,
                                             updated_at)
           select *, $7 from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bool[], $6::bigint[])
           on conflict on constraint stripe_subscriptions_pkey do update
           set customer_id = excluded.customer_id, status = excluded.status, is_ended = excluded.is_ended,
               told_at_s = excluded.told_at_s, updated_at = excluded.updated_at"#,
        &ids,
        &text(|row| &row.account_id),
        &customers as &[Option<String>],
        &text(|row| &row.status),
        &ended,
        &told,
        now
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("write subscriptions"))?;
    Ok(())
}

async fn invoices_in_tx(
    tx: &mut PgConnection,
    writes: &StripeWrites,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let invoices = &writes.invoices;
    if invoices.is_empty() {
        return Ok(());
    }
    let ids: Vec<String> = invoices.keys().cloned().collect();
    let accounts: Vec<String> = invoices.values().map(|(account, _)| account.as_str().to_owned()).collect();
    let subscriptions: Vec<Option<String>> =
        invoices.values().map(|(_, invoice)| invoice.subscription.clone()).collect();
    let captured: Vec<i64> = invoices.values().map(|(_, invoice)| invoice.captured_minor_units).collect();
    let currencies: Vec<String> = invoices.values().map(|(_, invoice)| invoice.currency.clone()).collect();
    sqlx::query!(
        r#"insert into stripe_invoices (invoice_id, account_id, subscription_id, captured_minor_units, currency,
                                        created_at)
           select *, $6 from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[])
           on conflict do nothing"#,
        &ids,
        &accounts,
        &subscriptions as &[Option<String>],
        &captured,
        &currencies,
        now
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("write invoices"))?;
    Ok(())
}

async fn lines_in_tx(tx: &mut PgConnection, writes: &StripeWrites) -> Result<(), StoreError> {
    let lines: Vec<&LineRow> = writes.lines.values().collect();
    if lines.is_empty() {
        return Ok(());
    }
    let text =
        |of: fn(&LineRow) -> &str| -> Vec<String> { lines.iter().map(|row| of(row).to_owned()).collect() };
    let number = |of: fn(&LineRow) -> i64| -> Vec<i64> { lines.iter().map(|row| of(row)).collect() };
    let subscriptions: Vec<Option<String>> = lines.iter().map(|row| row.subscription.clone()).collect();
    let grants: Vec<Uuid> = lines.iter().map(|row| row.grant_id.uuid()).collect();
    let ends: Vec<bool> = lines.iter().map(|row| row.ends_with_subscription).collect();
    sqlx::query!(
        r#"insert into stripe_invoice_lines (invoice_id, line_id, account_id, subscription_id, plan, unit, grant_id,
                                             credits, period_start_s, period_end_s, ends_with_subscription, taken_back,
                                             refilled)
           select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::uuid[],
                                $8::bigint[], $9::bigint[], $10::bigint[], $11::bool[], $12::bigint[], $13::bigint[])
           on conflict on constraint stripe_invoice_lines_pkey do update
           set taken_back = greatest(stripe_invoice_lines.taken_back, excluded.taken_back),
               refilled = greatest(stripe_invoice_lines.refilled, excluded.refilled)"#,
        &text(|row| &row.invoice_id),
        &text(|row| &row.line_id),
        &text(|row| &row.account_id),
        &subscriptions as &[Option<String>],
        &text(|row| &row.plan),
        &text(|row| row.unit.as_str()),
        &grants,
        &number(|row| row.credits),
        &number(|row| row.period_start_s),
        &number(|row| row.period_end_s),
        &ends,
        &number(|row| row.taken_back),
        &number(|row| row.refilled)
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("write lines of invoices"))?;
    Ok(())
}
