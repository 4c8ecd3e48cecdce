//! The ledger's invariants, as SQL over a whole database: each check selects offenders, and none may be found.

use sqlx::PgPool;

/// Name and offenders of each invariant; see docs/architecture.md, Invariants.
const CHECKS: [(&str, &str); 17] = [
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
        "open lots, open holds and next due time of a balance are those of its lots and holds",
        "select b.account_id, b.unit from balances b
         left join (select account_id, unit, count(*) as n, min(due_at) as due
                    from grants where closed_at is null group by 1, 2) l using (account_id, unit)
         left join (select account_id, unit, count(*) as n, min(expires_at) as due
                    from holds where closed_at is null group by 1, 2) h using (account_id, unit)
         where (b.open_lots, b.open_holds, b.next_due_at)
               is distinct from (coalesce(l.n, 0), coalesce(h.n, 0), least(l.due, h.due))",
    ),
    (
        "I2: what remains of a lot is the sum of its lines",
        "select g.account_id, g.grant_id from grants g
         left join (select e.account_id, line.id, sum(e.line_deltas[3 * line.n - 2] + e.line_deltas[3 * line.n - 1]
                                                      + e.line_deltas[3 * line.n]) as remaining,
                           sum(e.line_deltas[3 * line.n - 1]) as held,
                           -sum(e.line_deltas[3 * line.n - 2]) filter (where e.kind = 3) as expired
                    from entries e cross join lateral unnest(e.line_grants) with ordinality as line(id, n)
                    group by 1, 2) l on l.account_id = g.account_id and l.id = g.grant_id
         where (g.remaining, g.held, g.expired)
               is distinct from (coalesce(l.remaining, 0), coalesce(l.held, 0), coalesce(l.expired, 0))",
    ),
    (
        "I2: what holds reserve of a lot is what the lot has held",
        "select g.account_id, g.grant_id from grants g
         left join (select h.account_id, line.id, sum(h.line_remaining[line.n]) as held
                    from holds h cross join lateral unnest(h.line_grants) with ordinality as line(id, n)
                    group by 1, 2) l on l.account_id = g.account_id and l.id = g.grant_id
         where g.held is distinct from coalesce(l.held, 0)",
    ),
    (
        "a hold has what its lines have, and its entries made it so",
        "select h.account_id, h.hold_id from holds h
         left join (select account_id, hold_id, sum(held_delta) as held, max(version) as last, min(version) as first,
                           -sum(held_delta) filter (where kind = 6) as captured,
                           max(hold_expires_at) as ends
                    from entries where hold_id is not null group by 1, 2) e using (account_id, hold_id)
         where (h.remaining, h.captured, h.version, h.last_version, h.expires_at)
               is distinct from (e.held, coalesce(e.captured, 0), e.first, e.last, e.ends)
            or h.remaining <> (select coalesce(sum(n), 0) from unnest(h.line_remaining) n)
            or (h.closed_at is not null and h.remaining > 0)",
    ),
    (
        "I9: `revoked` of a grant is the sum of its raises and of what its entries say",
        "select g.account_id, g.grant_id from grants g
         left join (select account_id, line_grants[1] as id, sum(revoked[1]) as e, sum(revoked[2]) as t,
                           sum(revoked[3]) as o, sum(revoked[4]) as f
                    from entries where revoked is not null group by 1, 2) r
                on r.account_id = g.account_id and r.id = g.grant_id
         left join (select e.account_id, line.id, sum(e.reclaimed[line.n]) as n
                    from entries e cross join lateral unnest(e.line_grants) with ordinality as line(id, n)
                    where e.reclaimed is not null group by 1, 2) c on c.account_id = g.account_id and c.id = g.grant_id
         left join lateral (select coalesce(sum(n) filter (where o % 4 = 1), 0) as e,
                                   coalesce(sum(n) filter (where o % 4 = 2), 0) as t,
                                   coalesce(sum(n) filter (where o % 4 = 3), 0) as o,
                                   coalesce(sum(n) filter (where o % 4 = 0), 0) as f
                            from unnest(g.raises) with ordinality as x(n, o)) s on true
         where (g.revoked_expired, g.revoked_taken, g.revoked_owed, g.revoked_forgiven)
               is distinct from (coalesce(r.e, 0), coalesce(r.t, 0) + coalesce(c.n, 0), coalesce(r.o, 0),
                                 coalesce(r.f, 0) - coalesce(c.n, 0))
            or (g.revoked_expired, g.revoked_taken, g.revoked_owed, g.revoked_forgiven)
               is distinct from (s.e, s.t, s.o, s.f)",
    ),
    (
        "no spend or capture came back by more than it took, and each by what its reversals say",
        "select e.account_id, e.unit, e.version from entries e
         join (select r.account_id, r.unit, r.related_version as version, max(r.version) as last,
                      sum(r.available_delta - r.debt_delta
                          + (select coalesce(sum(n), 0) from unnest(r.reclaimed) n)) as reversed
               from entries r where r.kind = 10 group by 1, 2, 3) back using (account_id, unit, version)
         left join reversals v using (account_id, unit, version)
         where back.reversed > -(e.available_delta + e.held_delta) or e.kind not in (2, 6)
            or (v.reversed, v.last_version) is distinct from (back.reversed, back.last)",
    ),
    (
        "no reversal is noted that the journal does not have",
        "select v.account_id, v.unit, v.version from reversals v
         where not exists (select from entries r where r.account_id = v.account_id and r.unit = v.unit
                             and r.kind = 10 and r.related_version = v.version)",
    ),
    (
        "a closed hold reserves nothing and an open one is not over when the balance says so",
        "select h.account_id, h.hold_id from holds h join balances b using (account_id, unit)
         where h.closed_at is null and h.expires_at <= b.last_effective_at",
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
