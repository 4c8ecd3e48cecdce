//! Pages of the journal and of lots: nothing twice, nothing left out, and no page that looks at everything.

use domain::{Entry, EntryKind, Timestamp};
use store::{EntryFilter, Page, StoredGrant};

use crate::book::{Book, account, command, credits, grant, operation, spend};

/// Puts `count` entries into the journal of `long`, one a second from 1970 on: SPEND, every 1000th a GRANT. The
/// third has reference `rare`.
async fn long_journal(book: &Book, count: i64) {
    let sql =
        "insert into entries (account_id, unit, version, operation_id, operation_index, operation_size, kind,
                   available_delta, held_delta, scheduled_delta, debt_delta, available, held, scheduled, debt,
                   line_grants, line_deltas, reference, actor, effective_at, recorded_at, entry_hash)
               select 'long', 'credits', v, gen_random_uuid(), 0, 1, case when v % 1000 = 0 then 1 else 2 end,
                      0, 0, 0, 0, 0, 0, 0, 0, '{}', '{}', case when v = 3 then 'rare' else '' end, 'test',
                      to_timestamp(v), to_timestamp(v), sha256(v::text::bytea)
               from generate_series(1, $1) as v";
    sqlx::query(sql).bind(count).execute(book.pool()).await.unwrap();
}

async fn page(book: &Book, filter: &EntryFilter, before: i64, limit: i64) -> Page<Entry> {
    let page = book.store.entries_page((&account("long"), &credits()), filter, before, limit).await;
    page.unwrap().unwrap()
}

fn versions(page: &Page<Entry>) -> Vec<i64> {
    page.items.iter().map(|entry| entry.version).collect()
}

fn second(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp::from_micros(seconds * 1_000_000))
}

#[tokio::test]
async fn pages_of_the_journal_come_newest_first_and_join_up() {
    let book = Book::new().await;
    long_journal(&book, 10).await;
    let all = EntryFilter::default();
    let first = page(&book, &all, 11, 4).await;
    assert_eq!((versions(&first), first.next_before), (vec![10, 9, 8, 7], Some(7)));
    let second = page(&book, &all, 7, 4).await;
    assert_eq!((versions(&second), second.next_before), (vec![6, 5, 4, 3], Some(3)));
    let last = page(&book, &all, 3, 4).await;
    assert_eq!((versions(&last), last.next_before), (vec![2, 1], None));
    let exact = page(&book, &all, 11, 10).await;
    assert_eq!((exact.items.len(), exact.next_before), (10, None));
    let none = page(&book, &all, 1, 10).await;
    assert_eq!((none.items.len(), none.next_before), (0, None));
}

#[tokio::test]
async fn a_page_looks_at_no_more_than_10_000_entries_and_may_be_empty() {
    let book = Book::new().await;
    long_journal(&book, 25_000).await;
    let rare = EntryFilter { reference: Some("rare".to_owned()), ..EntryFilter::default() };
    let first = page(&book, &rare, 25_001, 10).await;
    assert_eq!((first.items.len(), first.next_before), (0, Some(15_001)));
    let second = page(&book, &rare, 15_001, 10).await;
    assert_eq!((second.items.len(), second.next_before), (0, Some(5_001)));
    let third = page(&book, &rare, 5_001, 10).await;
    assert_eq!((versions(&third), third.next_before), (vec![3], None));
    let grants = EntryFilter { kinds: vec![EntryKind::Grant], ..EntryFilter::default() };
    let few = page(&book, &grants, 25_001, 2).await;
    assert_eq!((versions(&few), few.next_before), (vec![25_000, 24_000], Some(24_000)));
}

#[tokio::test]
async fn times_are_found_without_looking_at_what_lies_between() {
    let book = Book::new().await;
    long_journal(&book, 25_000).await;
    let span = |from, until| EntryFilter {
        recorded_from: second(from),
        recorded_until: second(until),
        ..EntryFilter::default()
    };
    // (from, until, newest and oldest version in it)
    let cases = [
        (3, 6, Some((5, 3))),
        (1, 2, Some((1, 1))),
        (0, 1, None),
        (24_999, 99_999, Some((25_000, 24_999))),
        (25_001, 99_999, None),
        (12_345, 12_346, Some((12_345, 12_345))),
        (0, 99_999, Some((25_000, 24_001))),
    ];
    for (from, until, expected) in cases {
        let found = versions(&page(&book, &span(from, until), 25_001, 1000).await);
        let ends = found.first().zip(found.last()).map(|(newest, oldest)| (*newest, *oldest));
        assert_eq!(ends, expected, "{from}..{until}");
    }
    // Nothing between two entries, and nothing of what later pages have seen.
    let between = EntryFilter {
        recorded_from: Some(Timestamp::from_micros(5_000_001)),
        recorded_until: Some(Timestamp::from_micros(5_999_999)),
        ..EntryFilter::default()
    };
    assert_eq!(page(&book, &between, 25_001, 10).await, Page { items: vec![], next_before: None });
    let rest = page(&book, &span(3, 6), 4, 10).await;
    assert_eq!((versions(&rest), rest.next_before), (vec![3], None));
}

#[tokio::test]
async fn entries_with_many_lines_make_short_pages_that_join_up() {
    let book = Book::new().await;
    long_journal(&book, 5).await;
    let sql = "alter table entries disable trigger entries_append_only;
               update entries set line_grants = array_fill(gen_random_uuid(), array[9000]),
                                  line_deltas = array_fill(0::bigint, array[27000]);";
    sqlx::raw_sql(sql).execute(book.pool()).await.unwrap();
    let all = EntryFilter::default();
    let (mut seen, mut before) = (Vec::new(), 6);
    loop {
        let page = page(&book, &all, before, 1000).await;
        assert!((1..=2).contains(&page.items.len()));
        seen.extend(versions(&page));
        let Some(next) = page.next_before else { break };
        before = next;
    }
    assert_eq!(seen, [5, 4, 3, 2, 1]);
}

#[tokio::test]
async fn a_grants_entries_are_those_that_touched_it_and_no_other_balance_has_it() {
    let book = Book::new().await;
    let (first, _) = operation(book.apply(grant("a", "g1", 10)).await);
    operation(book.apply(grant("a", "g2", 10)).await);
    operation(book.apply(spend("a", "s1", 4)).await);
    operation(book.apply(spend("a", "s2", 8)).await);
    operation(book.apply(spend("a", "s3", 1)).await);
    operation(book.apply(grant("b", "g1", 10)).await);
    let id = first.grants[0].grant_id;
    let filter = EntryFilter { grant: Some(id), ..EntryFilter::default() };
    let of = |id: &str| account(id);
    let page = book.store.entries_page((&of("a"), &credits()), &filter, 6, 10).await.unwrap().unwrap();
    assert_eq!((versions(&page), page.next_before), (vec![4, 3, 1], None));
    let foreign = book.store.entries_page((&of("b"), &credits()), &filter, 6, 10).await.unwrap();
    assert_eq!(foreign, Err(store::Unknown::Grant(id)));
    let gems = domain::Unit::try_new("gems").unwrap();
    let other_unit = book.store.entries_page((&of("a"), &gems), &filter, 6, 10).await.unwrap();
    assert_eq!(other_unit, Err(store::Unknown::Grant(id)));
}

fn grants_of(page: &Page<StoredGrant>) -> Vec<(i64, i64, bool)> {
    let facts = |grant: &StoredGrant| (grant.lot.version, grant.lot.remaining, grant.closed_at.is_some());
    page.items.iter().map(facts).collect()
}

#[tokio::test]
async fn pages_of_lots_come_newest_first_with_or_without_the_closed_ones() {
    let book = Book::new().await;
    for (key, amount) in [("g1", 1), ("g2", 2), ("g3", 3)] {
        operation(book.apply(grant("a", key, amount)).await);
    }
    operation(book.apply(spend("a", "s", 2)).await);
    let promotion = domain::Action::Grant(domain::Grant {
        kind: domain::GrantKind::Promotion,
        ..crate::book::a_grant(7)
    });
    operation(book.apply(command("a", "g4", promotion)).await);
    let of = (&account("a"), &credits());
    let open = book.store.open_grants_page(of, &[], i64::MAX, 10).await.unwrap();
    assert_eq!(
        (grants_of(&open), open.next_before),
        (vec![(5, 7, false), (3, 3, false), (2, 1, false)], None)
    );
    let all = book.store.grants_page(of, &[], i64::MAX, 3).await.unwrap();
    assert_eq!(grants_of(&all), [(5, 7, false), (3, 3, false), (2, 1, false)]);
    let rest = book.store.grants_page(of, &[], all.next_before.unwrap(), 3).await.unwrap();
    assert_eq!((grants_of(&rest), rest.next_before), (vec![(1, 0, true)], None));
    let purchases = [domain::GrantKind::Purchase];
    let two = book.store.open_grants_page(of, &purchases, i64::MAX, 1).await.unwrap();
    assert_eq!((grants_of(&two), two.next_before), (vec![(3, 3, false)], Some(3)));
    let promotions = book.store.grants_page(of, &[domain::GrantKind::Promotion], 5, 10).await.unwrap();
    assert_eq!(promotions, Page { items: vec![], next_before: None });
}

#[tokio::test]
async fn a_page_of_lots_looks_at_no_more_than_10_000() {
    let book = Book::new().await;
    long_journal(&book, 10_001).await;
    let sql = "insert into grants (account_id, unit, grant_id, version, last_version, kind, priority, amount,
                   remaining, effective_at, active, created_at, closed_at)
               select account_id, unit, gen_random_uuid(), version, version, case when version = 1 then 1 else 5 end,
                      50, 1, 0, recorded_at, true, recorded_at, recorded_at
               from entries";
    sqlx::query(sql).execute(book.pool()).await.unwrap();
    let of = (&account("long"), &credits());
    let promotion = [domain::GrantKind::Promotion];
    let first = book.store.grants_page(of, &promotion, i64::MAX, 10).await.unwrap();
    assert_eq!((first.items.len(), first.next_before), (0, Some(2)));
    let second = book.store.grants_page(of, &promotion, 2, 10).await.unwrap();
    assert_eq!((grants_of(&second), second.next_before), (vec![(1, 0, true)], None));
    let open = book.store.open_grants_page(of, &[], i64::MAX, 10).await.unwrap();
    assert_eq!(open, Page { items: vec![], next_before: None });
}
