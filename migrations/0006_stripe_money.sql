-- The life of the inbox, and Stripe events that move money beyond the checkout. Everything is added beside what the
-- version before uses, so it may serve while this runs.

-- Retention: bodies are found by their own age, so that the walk passes none that are gone.
alter table stripe_event_bodies add column stored_at timestamptz not null default now();
update stripe_event_bodies b set stored_at = e.received_at from stripe_events e where e.event_id = b.event_id;
create index stripe_event_bodies_stored on stripe_event_bodies (stored_at);

-- What is parked (3) or given up (4), by age: for the inbox's levels and for operators' lists.
create index stripe_events_unresolved on stripe_events (received_at, event_id) where state in (3, 4);
-- All events by age, for operators' lists; in place of the index on the time alone.
create index stripe_events_by_age on stripe_events (received_at, event_id);
drop index stripe_events_received;
-- The keys of an event that is resolved, for their removal.
create index stripe_event_waits_event on stripe_event_waits (event_id);

-- What was captured of a session, tax included, and what it granted: from these a refund's share follows. Null in rows of
-- the version before: the subtotal and the lot's own amount then.
alter table purchases add column captured_minor_units bigint;
alter table purchases add column credits bigint;

-- What Stripe's objects belong to. A payment intent or charge paid for a sale (a checkout session or an invoice); a
-- customer, subscription or invoice belongs to an account. No account: none of ours, known not to be.
create table stripe_links (
    kind            text collate "C" not null,
    object_id       text collate "C" not null,
    account_id      text collate "C",
    sale_kind       text collate "C",
    sale_id         text collate "C",
    linked_at       timestamptz not null,
    -- The customer is gone.
    unlinked_at     timestamptz,
    constraint stripe_links_pkey primary key (kind, object_id),
    constraint stripe_links_sale_whole check ((sale_kind is null) = (sale_id is null))
);

-- Refunds as facts. `status` is Stripe's own word and moves forward only; the amount never shrinks.
create table stripe_refunds (
    refund_id       text collate "C" not null,
    account_id      text collate "C" not null,
    sale_kind       text collate "C" not null,
    sale_id         text collate "C" not null,
    amount_minor_units bigint not null,
    currency        text not null,
    status          text not null,
    updated_at      timestamptz not null,
    constraint stripe_refunds_pkey primary key (refund_id),
    constraint stripe_refunds_amount_not_negative check (amount_minor_units >= 0)
);
-- All refunds of a sale: the target is decided over them.
create index stripe_refunds_of_sale on stripe_refunds (sale_kind, sale_id, refund_id);

-- Disputes as facts, likewise.
create table stripe_disputes (
    dispute_id      text collate "C" not null,
    account_id      text collate "C" not null,
    sale_kind       text collate "C" not null,
    sale_id         text collate "C" not null,
    amount_minor_units bigint not null,
    currency        text not null,
    status          text not null,
    updated_at      timestamptz not null,
    constraint stripe_disputes_pkey primary key (dispute_id),
    constraint stripe_disputes_amount_not_negative check (amount_minor_units >= 0)
);
create index stripe_disputes_of_sale on stripe_disputes (sale_kind, sale_id, dispute_id);

-- The balance transactions of a dispute, a set by id: what was withdrawn (below 0) and reinstated (above 0), in the
-- settlement's currency.
create table stripe_dispute_transactions (
    dispute_id      text collate "C" not null,
    transaction_id  text collate "C" not null,
    amount_minor_units bigint not null,
    constraint stripe_dispute_transactions_pkey primary key (dispute_id, transaction_id),
    constraint stripe_dispute_transactions_dispute_fkey foreign key (dispute_id) references stripe_disputes (dispute_id)
);

-- Early fraud warnings: flags, which move no credits.
create table stripe_fraud_warnings (
    warning_id      text collate "C" not null,
    account_id      text collate "C" not null,
    sale_kind       text collate "C" not null,
    sale_id         text collate "C" not null,
    fraud_type      text not null,
    flagged_at      timestamptz not null,
    constraint stripe_fraud_warnings_pkey primary key (warning_id)
);

-- Subscriptions as they were last told. What has ended stays so.
create table stripe_subscriptions (
    subscription_id text collate "C" not null,
    account_id      text collate "C" not null,
    customer_id     text collate "C",
    status          text not null,
    is_ended        boolean not null,
    told_at_s       bigint not null,
    updated_at      timestamptz not null,
    constraint stripe_subscriptions_pkey primary key (subscription_id)
);

-- Paid invoices as sales.
create table stripe_invoices (
    invoice_id      text collate "C" not null,
    account_id      text collate "C" not null,
    subscription_id text collate "C",
    captured_minor_units bigint not null,
    currency        text not null,
    created_at      timestamptz not null,
    constraint stripe_invoices_pkey primary key (invoice_id)
);

-- What their lines granted, one lot each.
create table stripe_invoice_lines (
    invoice_id      text collate "C" not null,
    line_id         text collate "C" not null,
    account_id      text collate "C" not null,
    subscription_id text collate "C",
    plan            text not null,
    unit            text collate "C" not null,
    grant_id        uuid not null,
    credits         bigint not null,
    period_start_s  bigint not null,
    period_end_s    bigint not null,
    ends_with_subscription boolean not null,
    -- What the plan took back by itself: at the end of the subscription, or since it did not roll over. Only grows.
    taken_back      bigint not null default 0,
    -- Credits of other lots that came into this one when a refund that took them failed: the plan takes none of these.
    -- Only grows.
    refilled        bigint not null default 0,
    constraint stripe_invoice_lines_pkey primary key (invoice_id, line_id),
    constraint stripe_invoice_lines_taken_back_range check (taken_back between 0 and credits),
    constraint stripe_invoice_lines_refilled_not_negative check (refilled >= 0)
);
-- Earlier periods of a subscription, latest first: for rollover and the end.
create index stripe_invoice_lines_of_subscription on stripe_invoice_lines (subscription_id, period_start_s, invoice_id, line_id)
    where subscription_id is not null;
