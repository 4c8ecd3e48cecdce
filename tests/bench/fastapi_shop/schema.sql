-- What a shop that keeps its own credits would have: an inbox of events, lots, a balance row, a journal, an outbox.
create table webhook_events (
    event_id    text primary key,
    type        text not null,
    body        bytea not null,
    received_at timestamptz not null default now()
);
create table balances (
    account_id  text primary key,
    available   bigint not null check (available >= 0),
    version     bigint not null
);
create table lots (
    lot_id      uuid primary key,
    account_id  text not null references balances (account_id),
    -- A checkout session grants once, however many events speak of it.
    session_id  text not null unique,
    amount      bigint not null check (amount > 0),
    remaining   bigint not null check (remaining between 0 and amount),
    currency    text not null,
    paid_minor_units bigint not null,
    created_at  timestamptz not null default now()
);
create index lots_of_account on lots (account_id, created_at) where remaining > 0;
create table journal (
    account_id  text not null references balances (account_id),
    version     bigint not null,
    lot_id      uuid not null references lots (lot_id),
    delta       bigint not null,
    available   bigint not null,
    reference   text not null,
    recorded_at timestamptz not null default now(),
    primary key (account_id, version)
);
create table outbox (
    seq         bigint generated always as identity primary key,
    account_id  text not null,
    version     bigint not null,
    event       jsonb not null,
    created_at  timestamptz not null default now()
);
