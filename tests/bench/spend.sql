-- The reference: one spend of one credit as one would write it by hand, on the product's own schema, one transaction
-- each. For pgbench -M prepared. `compare` runs it; by hand:
--   pgbench -n -M prepared -f spend.sql -D accounts=100000 -D prefix=bench_ -D run=$RANDOM -D i=0 \
--           -D event_bytes=240 -D actor=bench -c 16 -j 2 -T 60 DATABASE
-- Every account has one open lot that does not expire, as `compare` funds them. The journal row is complete;
-- its hash is SHA-256 of the one before and this row's values, which keeps the cost of the chain but not the
-- product's exact encoding. The outbox carries as many bytes of event as the product's own rows.
\set n random(0, :accounts - 1)
\set i :i + 1
begin;
-- 1 the key: was this done before?
select count(*) as done from operations
where account_id = :prefix || :n::text
  and idempotency_key = :run::text || '-' || :client_id::text || '-' || :i::text \gset
-- 2 lock the account, with the outbox slot length beside it
select a.account_id, a.state, s.slot_seconds from accounts a cross join stream_state s
where a.account_id = :prefix || :n::text for no key update of a \gset
-- 3 the balance, and the time under the lock
select available, held, scheduled, debt, version + 1 as version, encode(entry_hash, 'hex') as previous, open_lots,
       clock_timestamp() as now
from balances where account_id = :account_id and unit = 'credits' \gset
-- 4 the lots that burn first
select grant_id, remaining from grants
where account_id = :account_id and unit = 'credits' and closed_at is null and active
order by priority, expires_at, kind, version limit 32 \gset
-- 5 burn
update grants set remaining = :remaining::bigint - 1, last_version = :version,
       closed_at = case when :remaining::bigint = 1 then :now::timestamptz end
where account_id = :account_id and grant_id = :grant_id::uuid;
-- 6 the balance; a shortage is refused by its check constraint
update balances set available = :available::bigint - 1, version = :version, last_effective_at = :now::timestamptz,
       open_lots = :open_lots::int - (:remaining::bigint = 1)::int, next_due_at = null,
       entry_hash = sha256(decode(:previous, 'hex')
                           || convert_to(:account_id || :version::text || :available::text || :now, 'UTF8'))
where account_id = :account_id and unit = 'credits'
returning encode(entry_hash, 'hex') as hash, gen_random_uuid() as operation_id \gset
-- 7 the key, kept for ever
insert into operations (account_id, idempotency_key, operation_id, unit, rpc, rule_version, fingerprint, first_version,
                        entry_count, created_at)
values (:account_id, :run::text || '-' || :client_id::text || '-' || :i::text, :operation_id::uuid, 'credits',
        'SpendCredits', 1, sha256(convert_to('SpendCredits' || :account_id, 'UTF8')), :version, 1, :now::timestamptz);
-- 8 the journal
insert into entries (account_id, unit, version, operation_id, operation_index, operation_size, kind, available_delta,
                     held_delta, scheduled_delta, debt_delta, available, held, scheduled, debt, line_grants,
                     line_deltas, reference, actor, on_behalf_of, reason, effective_at, recorded_at, traceparent,
                     metadata_digest, entry_hash)
values (:account_id, 'credits', :version, :operation_id::uuid, 0, 1, 2, -1, 0, 0, 0, :available::bigint - 1, :held,
        :scheduled, :debt, array[:grant_id::uuid], array[-1, 0, 0]::bigint[], '', :actor, '', '', :now::timestamptz,
        :now::timestamptz, null, null, decode(:hash, 'hex'));
-- 9 the outbox
insert into outbox (slot, account_id, unit, version, operation_index, operation_size, entry_hash, event, traceparent,
                    created_at)
values (floor(extract(epoch from :now::timestamptz) / :slot_seconds::int)::bigint % 16, :account_id, 'credits',
        :version, 0, 1, decode(:hash, 'hex'), decode(repeat('5a', :event_bytes::int), 'hex'), null,
        :now::timestamptz);
commit;
