//! Resume tokens: at every bookmark, over other replicas, after a lost history, forged.

use bytes::Bytes;
use relay::{Order, Relay, RelayOptions, SnapshotReason, SubscriptionError, Target};
use tokio::time::Duration;

use crate::ledger::{Ledger, open, target};
use crate::reader::Reader;

fn order(targets: &[Target], token: Bytes) -> Order {
    Order { resume_token: Some(token), ..Order::new(targets.to_vec(), Duration::from_secs(1)) }
}

/// What the reader had when a bookmark came, as targets that say so themselves.
fn seeds(reader: &Reader) -> Vec<Target> {
    let seed = |(name, (version, hash)): (&String, &(i64, domain::EntryHash))| Target {
        after_hash: Some(*hash),
        ..target(name, Some(*version))
    };
    reader.have.iter().map(seed).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_resumes_from_the_token_of_every_bookmark_on_any_replica() {
    let ledger = Ledger::new().await;
    let other = Relay::spawn(open(ledger.database.url()), RelayOptions::default(), ledger.shutdown.clone());
    let mut writer = ledger.writer().await;
    let targets = vec![target("a", None), target("b", None)];
    let mut recorded = Reader::new(ledger.subscribe(targets.clone()), &targets);
    let mut places = Vec::new();
    for _ in 0..4 {
        recorded.until_mark().await;
        places.push((recorded.token.clone().unwrap(), seeds(&recorded)));
        let (a, b) = (writer.append("a", 3, 2).await, writer.append("b", 1, 1).await);
        recorded.until("a", a).await;
        recorded.until("b", b).await;
    }
    for (token, seeds) in places {
        let subscription = other.subscribe(order(&targets, token)).unwrap();
        let mut resumed = Reader::new(subscription, &seeds);
        resumed.until_mark().await;
        assert_eq!(resumed.have, recorded.have);
        assert!(resumed.snapshots.is_empty(), "{:?}", resumed.snapshots);
    }
}

#[tokio::test]
async fn a_target_that_the_token_lacks_starts_anew_and_what_a_target_says_itself_goes_before_the_token() {
    let ledger = Ledger::new().await;
    ledger.writer().await.append("a", 5, 1).await;
    ledger.writer().await.append("b", 5, 1).await;
    let first = vec![target("a", None)];
    let mut reader = Reader::new(ledger.subscribe(first.clone()), &first);
    reader.until_mark().await;
    let targets = vec![target("a", Some(2)), target("b", None)];
    let order = order(&targets, reader.token.clone().unwrap());
    let mut reader = Reader::new(ledger.relay.subscribe(order).unwrap(), &targets);
    reader.until_mark().await;
    assert_eq!(reader.events.len(), 3);
    assert_eq!(reader.snapshots, [("b".to_owned(), SnapshotReason::Initial, 5)]);
}

/// Only the four bytes of the hash that a token has can show this.
#[tokio::test]
async fn a_token_of_another_history_with_the_same_versions_is_reset_and_says_so() {
    let ledger = Ledger::new().await;
    ledger.writer().await.append("a", 5, 1).await;
    let targets = vec![target("a", None)];
    let mut reader = Reader::new(ledger.subscribe(targets.clone()), &targets);
    reader.until_mark().await;
    let (token, seeds) = (reader.token.clone().unwrap(), seeds(&reader));
    ledger.lose("a").await;
    let mut writer = ledger.writer().await;
    writer.history = 2;
    writer.append("a", 7, 1).await;
    let mut resumed = Reader::new(ledger.relay.subscribe(order(&targets, token)).unwrap(), &seeds);
    resumed.until_mark().await;
    assert_eq!(resumed.snapshots, [("a".to_owned(), SnapshotReason::ResetDiverged, 7)]);
}

#[tokio::test]
async fn a_token_of_another_installation_or_a_changed_one_ends_the_stream() {
    let (ledger, other) = (Ledger::new().await, Ledger::new().await);
    // Databases of tests are copies of one, and so are their keys.
    let another = "update stream_state set token_key = decode(repeat('ab', 32), 'hex')";
    sqlx::raw_sql(another).execute(&mut other.superuser().await).await.unwrap();
    let targets = vec![target("a", None)];
    let mut reader = Reader::new(other.subscribe(targets.clone()), &targets);
    reader.until_mark().await;
    for token in [reader.token.clone().unwrap(), Bytes::from_static(b"x")] {
        let mut refused = ledger.relay.subscribe(order(&targets, token)).unwrap();
        let end = refused.next().await.unwrap().unwrap_err();
        assert!(matches!(end, SubscriptionError::BadResumeToken), "{end:?}");
        assert!(refused.next().await.is_none());
    }
}

#[tokio::test]
async fn a_closed_stream_gives_a_token_of_all_that_it_sent() {
    let ledger = Ledger::new().await;
    let last = ledger.writer().await.append("a", 900, 1).await;
    let targets = vec![target("a", Some(0))];
    let mut reader = Reader::new(ledger.subscribe(targets.clone()), &targets);
    reader.step().await.unwrap();
    // Messages of the same page are ready: a token now would pass over them, so there is none.
    while reader.subscription.owes() {
        assert!(reader.subscription.close().is_none());
        reader.step().await.unwrap();
    }
    reader.until_mark().await;
    assert_eq!(reader.version("a"), last);
    let token = reader.subscription.close().unwrap();
    assert!(reader.subscription.next().await.is_none());
    let seeds = seeds(&reader);
    let mut resumed =
        Reader::new(ledger.relay.subscribe(order(&[target("a", None)], token)).unwrap(), &seeds);
    resumed.until_mark().await;
    assert!(resumed.snapshots.is_empty() && resumed.events.is_empty());
}

#[tokio::test]
async fn a_stream_that_is_closed_before_it_began_gives_the_token_back() {
    let ledger = Ledger::new().await;
    ledger.writer().await.append("a", 5, 1).await;
    let targets = vec![target("a", None)];
    let mut reader = Reader::new(ledger.subscribe(targets.clone()), &targets);
    reader.until_mark().await;
    let token = reader.token.clone().unwrap();
    let mut fresh = ledger.relay.subscribe(order(&targets, token.clone())).unwrap();
    assert_eq!(fresh.close().unwrap(), token);
}
