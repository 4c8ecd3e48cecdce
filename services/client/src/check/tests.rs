use super::*;

fn target(after_version: Option<i64>) -> WatchTarget {
    WatchTarget { account_id: "a".to_owned(), after_version, ..WatchTarget::default() }
}

fn places(after_version: Option<i64>, mode: WatchMode) -> Places {
    let mut places = Places::new(mode, false);
    assert!(places.add(target(after_version)) && !places.add(target(after_version)));
    places.ask();
    places
}

/// Entries as (version, operation, index, size).
fn changes(entries: &[(i64, &str, i32, i32)]) -> Changes {
    let entry = |&(version, operation, operation_index, operation_size): &(i64, &str, i32, i32)| Entry {
        account_id: "a".to_owned(),
        unit: "credits".to_owned(),
        version,
        operation_id: operation.to_owned(),
        operation_index,
        operation_size,
        entry_hash: Bytes::from(vec![7; 32]),
        ..Entry::default()
    };
    let entries = entries.iter().map(entry).collect();
    Changes { account_id: "a".to_owned(), unit: "credits".to_owned(), entries }
}

fn snapshot(version: i64, reason: SnapshotReason) -> Snapshot {
    let (account_id, unit) = ("a".to_owned(), "credits".to_owned());
    Snapshot {
        balance: Some(Balance { account_id, unit, version, ..Balance::default() }),
        reason: reason.into(),
    }
}

#[test]
fn versions_are_dense_and_operations_whole() {
    // What follows version 4, and whether it may.
    // Version, operation, its place there, its size.
    type Entries = &'static [(i64, &'static str, i32, i32)];
    let cases: [(Entries, bool); 11] = [
        (&[(5, "x", 0, 1)], true),
        (&[(5, "x", 0, 2), (6, "x", 1, 2), (7, "y", 0, 1)], true),
        (&[(5, "x", 1, 2), (6, "y", 0, 1)], true), // resumed inside x
        (&[(6, "x", 0, 1)], false),                // a gap
        (&[(4, "x", 0, 1)], false),                // once more
        (&[(5, "x", 0, 1), (5, "x", 0, 1)], false),
        (&[(5, "x", 0, 2)], false), // half of one
        (&[(5, "x", 0, 2), (6, "y", 0, 1)], false),
        (&[(5, "x", 0, 2), (6, "y", 1, 2)], false),
        (&[(5, "x", 0, 1), (6, "y", 1, 2)], false),
        (&[], false),
    ];
    for (entries, sound) in cases {
        let mut places = places(Some(4), WatchMode::EveryChange);
        assert_eq!(places.changes(&changes(entries)).is_ok(), sound, "{entries:?}");
    }
    let mut places = places(Some(4), WatchMode::EveryChange);
    places.changes(&changes(&[(5, "x", 0, 1)])).unwrap();
    assert!(places.changes(&changes(&[(6, "y", 1, 2)])).is_err(), "only the first may begin inside");
}

#[test]
fn snapshots_come_only_where_they_may() {
    use SnapshotReason::{Conflated, Initial, ResetDiverged, ResetTooOld};
    use WatchMode::{EveryChange, Latest};
    let cases = [
        (None, EveryChange, Initial, true),
        (Some(4), EveryChange, Initial, false),
        (Some(4), EveryChange, ResetTooOld, true),
        (Some(4), EveryChange, ResetDiverged, true),
        (Some(2), EveryChange, Conflated, false),
        (Some(2), Latest, Conflated, true),
        (Some(4), Latest, Conflated, false),
    ];
    for (after, mode, reason, sound) in cases {
        let result = places(after, mode).snapshot(snapshot(3, reason));
        assert_eq!(result.is_ok(), sound, "{after:?} {mode:?} {reason:?}");
    }
    let mut places = places(None, EveryChange);
    places.snapshot(snapshot(3, Initial)).unwrap();
    assert!(places.snapshot(snapshot(3, Initial)).is_err(), "asked for once");
}

#[test]
fn the_next_stream_goes_on_after_the_last_entry_with_its_hash() {
    let mut places = places(None, WatchMode::EveryChange);
    assert!(places.changes(&changes(&[(1, "x", 0, 1)])).is_err(), "nothing to build on");
    places.snapshot(snapshot(3, SnapshotReason::Initial)).unwrap();
    places.changes(&changes(&[(4, "x", 0, 1)])).unwrap();
    let asked = places.ask();
    assert_eq!((asked[0].after_version, &asked[0].after_hash[..]), (Some(4), &[7; 32][..]));
    places.remove("a", "credits");
    assert!(places.is_empty() && places.changes(&changes(&[(5, "x", 0, 1)])).is_err());
}
