-- WatchLedger: what the outbox has lost to its retention, and snapshots on the way of readers who are far behind. Everything
-- is added beside what the version before uses, so it may serve while this runs.

-- What no reader can get from the outbox any more. A trigger writes it, so that no TRUNCATE goes unrecorded: neither one of the
-- version before, nor an operator's.
-- - emptied_xid: the highest transaction of a row that was emptied; null: none was.
-- - emptied_in: a snapshot under the last TRUNCATE's lock. A transaction in progress then held no lock on the leaf and so had
--   no row in it; nor in those that were emptied before.
-- - kept_since: a reader needs a token that was taken later. For the reader's eyes; nothing is decided by it.
alter table stream_state add column emptied_xid xid8;
alter table stream_state add column emptied_in pg_snapshot;
alter table stream_state add column kept_since timestamptz not null default clock_timestamp();

create function record_emptied() returns trigger language plpgsql as $$
declare
    newest record;
begin
    -- TRUNCATE holds its lock already: who had rows here has ended, and a statement of its own sees them all.
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'table % is emptied in read committed transactions only', tg_table_name
            using errcode = 'restrict_violation';
    end if;
    -- Rows of a dump may have transactions that this server has not reached: those were nobody's to read.
    execute format('select xid, created_at from %I.%I where xid < pg_snapshot_xmax(pg_current_snapshot())
                    order by xid desc limit 1', tg_table_schema, tg_table_name) into newest;
    if newest.xid is not null then
        update stream_state
        set emptied_xid = greatest(emptied_xid, newest.xid), emptied_in = pg_current_snapshot(),
            kept_since = greatest(kept_since, newest.created_at);
    end if;
    return null;
end
$$;

-- A statement trigger, since TRUNCATE has no other; partitions do not inherit those.
create trigger outbox_00_emptied before truncate on outbox_00 for each statement execute function record_emptied();
create trigger outbox_01_emptied before truncate on outbox_01 for each statement execute function record_emptied();
create trigger outbox_02_emptied before truncate on outbox_02 for each statement execute function record_emptied();
create trigger outbox_03_emptied before truncate on outbox_03 for each statement execute function record_emptied();
create trigger outbox_04_emptied before truncate on outbox_04 for each statement execute function record_emptied();
create trigger outbox_05_emptied before truncate on outbox_05 for each statement execute function record_emptied();
create trigger outbox_06_emptied before truncate on outbox_06 for each statement execute function record_emptied();
create trigger outbox_07_emptied before truncate on outbox_07 for each statement execute function record_emptied();
create trigger outbox_08_emptied before truncate on outbox_08 for each statement execute function record_emptied();
create trigger outbox_09_emptied before truncate on outbox_09 for each statement execute function record_emptied();
create trigger outbox_10_emptied before truncate on outbox_10 for each statement execute function record_emptied();
create trigger outbox_11_emptied before truncate on outbox_11 for each statement execute function record_emptied();
create trigger outbox_12_emptied before truncate on outbox_12 for each statement execute function record_emptied();
create trigger outbox_13_emptied before truncate on outbox_13 for each statement execute function record_emptied();
create trigger outbox_14_emptied before truncate on outbox_14 for each statement execute function record_emptied();
create trigger outbox_15_emptied before truncate on outbox_15 for each statement execute function record_emptied();

-- What transaction ids of the outbox mean something in: the server's system identifier, the timeline that it writes, the database
-- and the outbox itself, which restores make anew. The name of a log file has the timeline at once; the control file has that
-- of its last checkpoint, which may be minutes older than a promotion.
create function outbox_source() returns text language sql stable as $$
    select concat_ws('/', c.system_identifier, left(pg_walfile_name(pg_current_wal_lsn()), 8), d.oid, 'outbox'::regclass::oid)
    from pg_control_system() as c, pg_database as d
    where d.datname = current_database()
$$;

-- Snapshots of this server, one about every 5000 changes: a reader who is far behind goes from one to the next, so that no
-- step has to sort more than lies between two.
create table outbox_marks (
    -- pg_snapshot_xmax of the snapshot: grows with time.
    next_xid        xid8 not null,
    snapshot        pg_snapshot not null,
    taken_at        timestamptz not null,
    -- outbox_source() when it was taken: xids of another one mean nothing here.
    source          text not null,
    constraint outbox_marks_pkey primary key (source, next_xid)
);
