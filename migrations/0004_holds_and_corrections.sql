-- Holds, reversals, revocations, adjustments, thresholds: what the first migration did not have of them. Everything is
-- added beside what the version before uses, so it may serve while this runs.

-- What has expired of a lot: a revocation counts it first. Journal lines have (available, held, scheduled) in a row.
alter table grants add column expired bigint not null default 0;
update grants g
set expired = e.expired
from (
    select entry.account_id, line.grant_id, -sum(entry.line_deltas[3 * line.place - 2])::bigint as expired
    from entries entry
    cross join lateral unnest(entry.line_grants) with ordinality as line(grant_id, place)
    where entry.kind = 3
    group by 1, 2
) e
where g.account_id = e.account_id and g.grant_id = e.grant_id;
-- What was revoked, raise by raise, oldest first: (expired, taken, owed, forgiven) in a row; what was raised last is
-- lowered first. The columns `revoked_…` are its sums.
alter table grants add column raises bigint[];
alter table grants add constraint grants_expired_not_negative check (expired >= 0) not valid;
alter table grants validate constraint grants_expired_not_negative;
alter table grants add constraint grants_raises_whole check (cardinality(raises) % 4 = 0) not valid;
alter table grants validate constraint grants_raises_whole;

-- Due lots of all balances, for the sweeper. On an expression, so that it is no candidate for the statements of apply,
-- which must find the due lots of their own balances.
create index grants_due on grants ((due_at at time zone 'UTC')) where closed_at is null and due_at is not null;

-- 1 open, 2 captured, 3 released, 4 expired
alter table holds add column state smallint not null default 1;
alter table holds add constraint holds_state_known check (state between 1 and 4) not valid;
alter table holds validate constraint holds_state_known;
alter table holds add constraint holds_open_until_closed check ((state = 1) = (closed_at is null)) not valid;
alter table holds validate constraint holds_open_until_closed;
alter table holds add constraint holds_lines_whole check (cardinality(line_grants) = cardinality(line_remaining)) not valid;
alter table holds validate constraint holds_lines_whole;
alter table holds add constraint holds_lifetime check (expires_at <= created_at + interval '30 days') not valid;
alter table holds validate constraint holds_lifetime;
-- Holds of a balance, newest first, for ListHolds.
create unique index holds_by_version on holds (account_id, unit, version);
-- As grants_due.
drop index holds_due;
create index holds_due on holds ((expires_at at time zone 'UTC')) where closed_at is null;
-- As for grants: one account may have many.
alter table holds alter column account_id set (n_distinct = -0.01);

alter table balances add constraint balances_open_holds_limit check (open_holds between 0 and 10000) not valid;
alter table balances validate constraint balances_open_holds_limit;

-- How much of a spend or capture was given back (a reversal gives back no more than was taken). No row: nothing.
create table reversals (
    account_id      text collate "C" not null,
    unit            text collate "C" not null,
    -- Of the spend or capture.
    version         bigint not null,
    reversed        bigint not null,
    -- Of the last reversal.
    last_version    bigint not null,
    constraint reversals_pkey primary key (account_id, unit, version),
    constraint reversals_reversed_positive check (reversed >= 1),
    constraint reversals_later check (last_version > version)
);
alter table reversals alter column account_id set (n_distinct = -0.01);

-- What an answer shows beside its entries and cannot be rebuilt from them: the hold or lot as it was right afterwards.
alter table operations add column result jsonb;

-- The end that an entry gave to its hold.
alter table entries add column hold_expires_at timestamptz;
-- For each line, what a revocation kept of the credits that came back; null when nothing was.
alter table entries add column reclaimed bigint[];
-- Thresholds that the entry crossed: [{"name", "at", "direction"}], direction 1 below, 2 rearmed. A threshold has a name,
-- which the numbers that were planned could not hold; the column was never filled.
alter table entries drop column crossed;
alter table entries add column crossed jsonb;

-- The events of an account, for the erasure of their bodies by chunks.
create index stripe_events_account on stripe_events (account_id, event_id) where account_id is not null;

-- What operators did to an account, outside the journal. Append-only.
create table account_audit (
    account_id      text collate "C" not null,
    audit_id        bigint generated always as identity,
    action          text not null,
    actor           text not null,
    reason          text not null,
    detail          jsonb not null default '{}',
    at              timestamptz not null,
    constraint account_audit_pkey primary key (account_id, audit_id)
);
create trigger account_audit_append_only before update or delete or truncate on account_audit
    for each statement execute function refuse_change();
