-- The ledger: everything that is keyed by account. `apply` (services/store/src/apply.rs) is the only writer.
-- An append-only table cannot be back-filled, so the journal has every column that later rules need.

create table accounts (
    -- Collation "C": locks are taken in byte order, in the service and here alike.
    account_id      text collate "C" not null,
    state           smallint not null default 1,
    sandbox         boolean not null default false,
    -- A sandbox account's own clock, for tests of expiry and renewal.
    test_clock_at   timestamptz,
    thresholds      jsonb,
    created_at      timestamptz not null,
    erased_at       timestamptz,
    constraint accounts_pkey primary key (account_id),
    constraint accounts_id_length check (octet_length(account_id) between 1 and 128),
    -- 1 active, 2 frozen, 3 closed
    constraint accounts_state_known check (state in (1, 2, 3))
);

create table balances (
    account_id      text collate "C" not null,
    unit            text collate "C" not null,
    available       bigint not null,
    held            bigint not null,
    scheduled       bigint not null,
    debt            bigint not null,
    version         bigint not null,
    entry_hash      bytea not null,
    last_effective_at timestamptz not null,
    open_lots       integer not null,
    open_holds      integer not null default 0,
    -- When the balance changes by itself next. Not indexed, so that a spend stays a HOT update; the sweeper
    -- finds due lots, not balances.
    next_due_at     timestamptz,
    -- Which thresholds are armed, for edge-triggered crossings.
    armed           jsonb,
    constraint balances_pkey primary key (account_id, unit),
    constraint balances_account_fkey foreign key (account_id) references accounts (account_id),
    -- I1
    constraint balances_figures_sound check (
        available >= 0 and held >= 0 and scheduled >= 0 and debt >= 0
        and (debt = 0 or available = 0)
        and available + held + scheduled <= 9000000000000000
    ),
    constraint balances_version_positive check (version >= 1),
    constraint balances_hash_length check (octet_length(entry_hash) = 32),
    constraint balances_open_lots_limit check (open_lots between 0 and 10000)
) with (fillfactor = 70);

create table grants (
    account_id      text collate "C" not null,
    unit            text collate "C" not null,
    grant_id        uuid not null,
    -- Version of the granting entry: the last word of the burn order.
    version         bigint not null,
    -- Version of the last entry that touched the lot: bounds a walk of the journal for one grant.
    last_version    bigint not null,
    kind            smallint not null,
    priority        smallint not null,
    amount          bigint not null,
    remaining       bigint not null,
    held            bigint not null default 0,
    -- What a revocation took, by where it came from; together they are `revoked` (I9).
    revoked_expired bigint not null default 0,
    revoked_taken   bigint not null default 0,
    revoked_owed    bigint not null default 0,
    revoked_forgiven bigint not null default 0,
    effective_at    timestamptz not null,
    expires_at      timestamptz,
    active          boolean not null,
    -- The lot's next change by itself: activation, then expiry of what is not held.
    due_at          timestamptz,
    cost_currency   text,
    cost_minor_units bigint,
    created_at      timestamptz not null,
    closed_at       timestamptz,
    constraint grants_pkey primary key (account_id, grant_id),
    constraint grants_kind_known check (kind between 1 and 5),
    constraint grants_priority_range check (priority between 0 and 100),
    constraint grants_amount_range check (amount between 1 and 1000000000000000),
    constraint grants_remaining_range check (remaining >= 0 and held >= 0 and held <= remaining and remaining <= amount),
    constraint grants_closed_when_empty check ((remaining = 0) = (closed_at is not null)),
    constraint grants_expiry_after_effect check (expires_at is null or expires_at > effective_at),
    constraint grants_scheduled_is_not_held check (active or held = 0),
    -- I9
    constraint grants_revoked_range check (
        revoked_expired >= 0 and revoked_taken >= 0 and revoked_owed >= 0 and revoked_forgiven >= 0
        and revoked_expired + revoked_taken + revoked_owed + revoked_forgiven <= amount
    ),
    constraint grants_cost_whole check ((cost_currency is null) = (cost_minor_units is null))
) with (fillfactor = 80);

-- Lots of a balance in burn order, for the lot load of apply. No column of it changes while a lot is open.
create index grants_burn_order on grants (account_id, unit, priority, expires_at, kind, version)
    where closed_at is null;
-- Due lots of one balance, and its next due time, for apply. An index on due_at alone (for a sweeper) must not
-- be a candidate for these statements: with young statistics the planner would walk it for all balances.
create index grants_due_of_balance on grants (account_id, unit, due_at)
    where closed_at is null and due_at is not null;
-- Grants of a balance, newest first, for ListGrants and for the ids of one entry.
create unique index grants_by_version on grants (account_id, unit, version);

-- One account may have many lots among many accounts with few, which no sample shows: without this an index on the
-- account alone looks as good as a unique one. Acts at the next ANALYZE.
alter table grants alter column account_id set (n_distinct = -0.01);

create table holds (
    account_id      text collate "C" not null,
    hold_id         uuid not null,
    unit            text collate "C" not null,
    version         bigint not null,
    last_version    bigint not null,
    amount          bigint not null,
    remaining       bigint not null,
    captured        bigint not null default 0,
    -- Lots and what is reserved of each, in burn order: grant ids and amounts side by side.
    line_grants     uuid[] not null,
    line_remaining  bigint[] not null,
    created_at      timestamptz not null,
    expires_at      timestamptz not null,
    closed_at       timestamptz,
    constraint holds_pkey primary key (account_id, hold_id),
    constraint holds_remaining_range check (remaining >= 0 and captured >= 0 and remaining <= amount)
) with (fillfactor = 80);

-- Holds of one balance, and those that are due.
create index holds_open on holds (account_id, unit, expires_at) where closed_at is null;
create index holds_due on holds (expires_at) where closed_at is null;

-- One row per accepted command that carried a key: the key itself, kept for ever (I3). The answer is rebuilt
-- from the journal. Settlements have no key and no row.
create table operations (
    account_id      text collate "C" not null,
    idempotency_key text collate "C" not null,
    operation_id    uuid not null,
    unit            text collate "C" not null,
    rpc             text not null,
    rule_version    smallint not null,
    fingerprint     bytea not null,
    first_version   bigint not null,
    entry_count     integer not null,
    created_at      timestamptz not null,
    constraint operations_pkey primary key (account_id, idempotency_key),
    constraint operations_key_length check (octet_length(idempotency_key) between 1 and 600),
    constraint operations_fingerprint_length check (octet_length(fingerprint) = 32),
    constraint operations_entries_positive check (first_version >= 1 and entry_count >= 1)
);

-- The journal. Permanent: the history of every balance, and what a stream resumes from.
create table entries (
    account_id      text collate "C" not null,
    unit            text collate "C" not null,
    version         bigint not null,
    operation_id    uuid not null,
    operation_index integer not null,
    operation_size  integer not null,
    kind            smallint not null,
    available_delta bigint not null,
    held_delta      bigint not null,
    scheduled_delta bigint not null,
    debt_delta      bigint not null,
    available       bigint not null,
    held            bigint not null,
    scheduled       bigint not null,
    debt            bigint not null,
    -- What moved in which lot: grant ids, and for each (available, held, scheduled) in a row.
    line_grants     uuid[] not null,
    line_deltas     bigint[] not null,
    reference       text not null default '',
    actor           text not null,
    on_behalf_of    text not null default '',
    reason          text not null default '',
    effective_at    timestamptz not null,
    recorded_at     timestamptz not null,
    traceparent     text,
    metadata_digest bytea,
    entry_hash      bytea not null,
    -- Filled by later rules.
    hold_id         uuid,
    related_version bigint,
    crossed         bigint[],
    revoked         bigint[],
    budget_id       uuid,
    parent_operation_id uuid,
    constraint entries_pkey primary key (account_id, unit, version),
    constraint entries_version_positive check (version >= 1),
    constraint entries_place_in_operation check (operation_index >= 0 and operation_index < operation_size),
    constraint entries_figures_sound check (
        available >= 0 and held >= 0 and scheduled >= 0 and debt >= 0 and (debt = 0 or available = 0)
    ),
    constraint entries_lines_whole check (cardinality(line_deltas) = 3 * cardinality(line_grants)),
    constraint entries_hash_length check (octet_length(entry_hash) = 32)
);

-- Metadata lies beside the journal: its digest is in the chain, its text can be blanked by an audited erasure.
create table entry_metadata (
    account_id      text collate "C" not null,
    unit            text collate "C" not null,
    version         bigint not null,
    metadata        jsonb,
    erased_at       timestamptz,
    constraint entry_metadata_pkey primary key (account_id, unit, version),
    constraint entry_metadata_entry_fkey foreign key (account_id, unit, version)
        references entries (account_id, unit, version)
);

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'table % is append-only: % is refused', tg_table_name, tg_op
        using errcode = 'restrict_violation';
end
$$;

create trigger entries_append_only before update or delete or truncate on entries
    for each statement execute function refuse_change();
create trigger operations_append_only before update or delete or truncate on operations
    for each statement execute function refuse_change();
