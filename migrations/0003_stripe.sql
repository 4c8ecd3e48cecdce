-- Stripe's side: keyed by the Stripe object, joined with no ledger table.

create table stripe_events (
    event_id        text collate "C" not null,
    type            text not null,
    created_at      timestamptz not null,
    livemode        boolean not null,
    api_version     text,
    connect_account text,
    -- 1 applied, 2 ignored, 3 parked, 4 failed
    state           smallint not null,
    outcome         text not null,
    attempts        integer not null default 1,
    next_attempt_at timestamptz,
    account_id      text collate "C",
    operation_id    uuid,
    traceparent     text,
    received_at     timestamptz not null,
    resolved_at     timestamptz,
    constraint stripe_events_pkey primary key (event_id),
    constraint stripe_events_state_known check (state in (1, 2, 3, 4)),
    constraint stripe_events_id_length check (octet_length(event_id) between 1 and 255)
);

-- Parked events that are due for another try, and the age of the oldest.
create index stripe_events_parked on stripe_events (next_attempt_at, received_at) where state = 3;
-- Retention of bodies.
create index stripe_events_received on stripe_events (received_at);

-- Raw bodies, byte for byte; kept 90 days, those of parked events until they are resolved.
create table stripe_event_bodies (
    event_id        text collate "C" not null,
    body            bytea not null,
    constraint stripe_event_bodies_pkey primary key (event_id),
    constraint stripe_event_bodies_event_fkey foreign key (event_id) references stripe_events (event_id)
);

-- Keys that a parked event waits for.
create table stripe_event_waits (
    event_id        text collate "C" not null,
    kind            text collate "C" not null,
    object_id       text collate "C" not null,
    constraint stripe_event_waits_pkey primary key (kind, object_id, event_id),
    constraint stripe_event_waits_event_fkey foreign key (event_id) references stripe_events (event_id)
);

-- Natural keys: a Stripe object grants at most once, however often and in whatever order its events arrive (I8).
create table stripe_claims (
    kind            text collate "C" not null,
    object_id       text collate "C" not null,
    account_id      text collate "C" not null,
    unit            text collate "C" not null,
    operation_id    uuid not null,
    event_id        text collate "C" not null,
    claimed_at      timestamptz not null,
    constraint stripe_claims_pkey primary key (kind, object_id)
);

create trigger stripe_claims_append_only before update or delete or truncate on stripe_claims
    for each statement execute function refuse_change();

-- Checkout sessions as we know them. State moves forward only: 1 open, 2 pending, 3 paid, 4 failed, 5 expired.
create table purchases (
    session_id      text collate "C" not null,
    account_id      text collate "C" not null,
    unit            text collate "C" not null,
    pack            text not null,
    quantity        bigint not null,
    subtotal_minor_units bigint not null,
    currency        text not null,
    payment_intent  text collate "C",
    state           smallint not null,
    operation_id    uuid,
    created_at      timestamptz not null,
    updated_at      timestamptz not null,
    constraint purchases_pkey primary key (session_id),
    constraint purchases_state_known check (state between 1 and 5),
    constraint purchases_quantity_positive check (quantity >= 1)
);

-- From a refund's or dispute's payment intent to what it paid for.
create index purchases_payment_intent on purchases (payment_intent) where payment_intent is not null;
