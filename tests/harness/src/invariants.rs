//! The ledger's invariants, as SQL over a whole database: each check selects offenders, and none may be found.

use sqlx::PgPool;

/// Name and offenders of each invariant; see docs/architecture.md, Invariants.
const CHECKS: [(&str, &str); 10] = [
    (
        "I1: figures are never negative, and debt leaves nothing available",
        "select account_id, unit from balances
         where least(available, held, scheduled, debt) < 0 or (debt > 0 and available > 0)",
    ),
    (
        "I2: the figures equal what the lots have left",
        "select b.account_id, b.unit from balances b
         left join (select account_id, unit,
                           sum(case when active then remaining - held else 0 end) as available,
                           sum(held) as held,
                           sum(case when active then 0 else remaining end) as scheduled
                    from grants group by 1, 2) l using (account_id, unit)
         where (b.available, b.held, b.scheduled)
               is distinct from (coalesce(l.available, 0), coalesce(l.held, 0), coalesce(l.scheduled, 0))",
    ),
    (
        "I2: the figures equal the sum of the journal's deltas and its last values",
        "select b.account_id, b.unit from balances b
         left join (select account_id, unit, sum(available_delta) as a, sum(held_delta) as h,
                           sum(scheduled_delta) as s, sum(debt_delta) as d
                    from entries group by 1, 2) e using (account_id, unit)
         left join entries l on l.account_id = b.account_id and l.unit = b.unit and l.version = b.version
         where (b.available, b.held, b.scheduled, b.debt) is distinct from (e.a, e.h, e.s, e.d)
            or (b.available, b.held, b.scheduled, b.debt)
               is distinct from (l.available, l.held, l.scheduled, l.debt)",
    ),
    (
        "I2: the lines of an entry sum to its deltas",
        "select account_id, unit, version from entries e
         cross join lateral (select coalesce(sum(d) filter (where o % 3 = 1), 0) as a,
                                    coalesce(sum(d) filter (where o % 3 = 2), 0) as h,
                                    coalesce(sum(d) filter (where o % 3 = 0), 0) as s
                             from unnest(e.line_deltas) with ordinality as u(d, o)) l
         where (available_delta, held_delta, scheduled_delta) is distinct from (l.a, l.h, l.s)",
    ),
    (
        "I3: an operation's entries are there, consecutive and its own",
        "select o.account_id, o.idempotency_key from operations o
         where o.entry_count <> (select count(*) from entries e
                                 where e.account_id = o.account_id and e.unit = o.unit
                                   and e.operation_id = o.operation_id
                                   and e.version between o.first_version and o.first_version + o.entry_count - 1)",
    ),
    (
        "I4: every entry has one outbox row, and every outbox row its entry",
        "select account_id, unit, version from entries e full join outbox o using (account_id, unit, version)
         where e.entry_hash is distinct from o.entry_hash
         union all
         select account_id, unit, version from outbox group by 1, 2, 3 having count(*) > 1",
    ),
    (
        "I5: versions are dense from 1, and the balance has the last one with its hash",
        "select b.account_id, b.unit from balances b
         left join (select account_id, unit, count(*) as n, min(version) as first, max(version) as last
                    from entries group by 1, 2) e using (account_id, unit)
         left join entries l on l.account_id = b.account_id and l.unit = b.unit and l.version = b.version
         where (b.version, b.version, 1) is distinct from (e.n, e.last, e.first)
            or l.entry_hash is distinct from b.entry_hash",
    ),
    (
        "I5: no entry without a balance",
        "select distinct account_id, unit from entries e
         where not exists (select from balances b where b.account_id = e.account_id and b.unit = e.unit)",
    ),
    (
        "open lots and next due time of a balance are those of its lots",
        "select b.account_id, b.unit from balances b
         left join (select account_id, unit, count(*) as n, min(due_at) as due
                    from grants where closed_at is null group by 1, 2) l using (account_id, unit)
         where (b.open_lots, b.next_due_at) is distinct from (coalesce(l.n, 0), l.due)",
    ),
    (
        "I8: a Stripe object grants at most once",
        "select account_id, reference from entries
         where kind = 1 and reason like 'stripe:%' group by 1, 2 having count(*) > 1",
    ),
];

/// Checks every invariant over all accounts of a database.
///
/// # Panics
/// When one does not hold, with its name and some offenders; when the database cannot be read.
pub async fn assert_invariants(pool: &PgPool) {
    for (name, offenders) in CHECKS {
        let text = format!(
            "select coalesce(string_agg(x::text, ', '), '') from (select * from ({offenders}) y limit 5) x"
        );
        let query = sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(text));
        let found = query.fetch_one(pool).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(found.is_empty(), "{name}: {found}");
    }
}
