-- The outbox: every change of a balance, written in the transaction of the change (I4). Insert-only.
-- Sixteen LIST partitions by time slot, all made here: no DDL at run time, since attaching or detaching would
-- take locks behind which one idle writer stops all inserts. A slot is emptied by TRUNCATE of its leaf.

create sequence outbox_seq as bigint cache 64;

create table outbox (
    -- (database time / slot length) mod 16
    slot            smallint not null,
    -- The writing transaction, for the tail's snapshot difference.
    xid             xid8 not null default pg_current_xact_id(),
    -- Orders the rows of one transaction; unique, with gaps; orders nothing across transactions.
    seq             bigint not null default nextval('outbox_seq'),
    account_id      text collate "C" not null,
    unit            text collate "C" not null,
    version         bigint not null,
    operation_index integer not null,
    operation_size  integer not null,
    entry_hash      bytea not null,
    -- tallystick.credits.v1.Entry, encoded.
    event           bytea not null,
    traceparent     text,
    created_at      timestamptz not null,
    constraint outbox_slot_known check (slot between 0 and 15),
    constraint outbox_hash_length check (octet_length(entry_hash) = 32)
) partition by list (slot);

create table outbox_00 partition of outbox for values in (0);
create table outbox_01 partition of outbox for values in (1);
create table outbox_02 partition of outbox for values in (2);
create table outbox_03 partition of outbox for values in (3);
create table outbox_04 partition of outbox for values in (4);
create table outbox_05 partition of outbox for values in (5);
create table outbox_06 partition of outbox for values in (6);
create table outbox_07 partition of outbox for values in (7);
create table outbox_08 partition of outbox for values in (8);
create table outbox_09 partition of outbox for values in (9);
create table outbox_10 partition of outbox for values in (10);
create table outbox_11 partition of outbox for values in (11);
create table outbox_12 partition of outbox for values in (12);
create table outbox_13 partition of outbox for values in (13);
create table outbox_14 partition of outbox for values in (14);
create table outbox_15 partition of outbox for values in (15);

-- The tail reads by transaction id: `xid >= …` and `xid = any(…)`.
create index outbox_xid_seq on outbox (xid, seq);

-- A row trigger, since partitions inherit those; TRUNCATE of a leaf stays possible for the job that empties it.
create trigger outbox_insert_only before update or delete on outbox
    for each row execute function refuse_change();

-- One row: what every replica must agree on.
create table stream_state (
    one             boolean not null default true,
    -- Raised when the database was restored from a dump: streams of another epoch attach anew.
    epoch           bigint not null default 1,
    -- Retention 72 h = slot length × 14, since the current slot and the one being emptied do not count.
    slot_seconds    integer not null default 18515,
    -- Signs resume tokens, so that any replica accepts them.
    token_key       bytea not null default decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'),
    constraint stream_state_pkey primary key (one),
    constraint stream_state_one_row check (one),
    constraint stream_state_slot_seconds_range check (slot_seconds between 1 and 86400)
);
insert into stream_state default values;

-- The columns of Debezium's outbox event router (its documented defaults), for those who read by CDC.
create view outbox_debezium as
select seq as id, account_id || '/' || unit as aggregateid, 'balance' as aggregatetype, 'entry' as type,
       event as payload, traceparent as tracingspancontext, created_at as "timestamp"
from outbox;
