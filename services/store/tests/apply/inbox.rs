//! The inbox's own life: who tries parked events again and when, how long bodies stay, what operators see and do.

use bytes::Bytes;
use sqlx::Connection;
use store::{
    EventFilter, EventState, KeyKind, Measures, Replay, Store, StripeEvent, StripeKey, Unapplied, Wait,
    run_batch,
};

use crate::book::*;
use crate::stripe_events::paid;

fn event(event_id: &str, event_type: &str) -> StripeEvent {
    StripeEvent {
        event_id: event_id.to_owned(),
        event_type: event_type.to_owned(),
        created_s: 1_790_000_000,
        livemode: false,
        api_version: None,
        connect_account: None,
        body: Bytes::from_static(b"{}"),
    }
}

fn intent(id: &str) -> StripeKey {
    StripeKey::new(KeyKind::PaymentIntent, id)
}

fn because(outcome: &str) -> Unapplied<'_> {
    Unapplied { outcome, ..Unapplied::default() }
}

async fn park(store: &Store, event_id: &str, waits: &[StripeKey]) {
    let event = event(event_id, "refund.created");
    store
        .record_event(&event, EventState::Parked, &Unapplied { waits, ..because("predecessor_missing") })
        .await
        .unwrap();
}

/// Seconds until the event is tried again.
async fn due_in(book: &Book, event_id: &str) -> i64 {
    let text = "select round(extract(epoch from next_attempt_at - now()))::bigint from stripe_events where event_id = $1";
    sqlx::query_scalar(text).bind(event_id).fetch_one(book.pool()).await.unwrap()
}

async fn make_due(book: &Book) {
    sqlx::query("update stripe_events set next_attempt_at = now() where state = 3")
        .execute(book.pool())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_parked_event_is_tried_after_5_s_and_the_pause_doubles_up_to_an_hour() {
    let book = Book::new().await;
    park(&book.store, "evt_1", &[]).await;
    assert!((3..=5).contains(&due_in(&book, "evt_1").await));
    assert!(book.store.take_parked_events(10).await.unwrap().is_empty(), "it is not due yet");
    for (attempts, pause) in (2..).zip([10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600, 3600]) {
        make_due(&book).await;
        let taken = book.store.take_parked_events(10).await.unwrap();
        assert_eq!(
            (taken.len(), taken[0].attempts, taken[0].body.as_deref()),
            (1, attempts, Some(&b"{}"[..]))
        );
        // The try ends as before: neither it nor another delivery changes the schedule.
        park(&book.store, "evt_1", &[]).await;
        assert!((pause - 3..=pause).contains(&due_in(&book, "evt_1").await), "attempt {attempts}");
    }
}

#[tokio::test]
async fn two_replicas_never_take_the_same_event_and_a_look_is_bounded() {
    let book = Book::new().await;
    let other = open(book.database.url());
    for n in 0..50 {
        park(&book.store, &format!("evt_{n}"), &[]).await;
    }
    make_due(&book).await;
    assert_eq!(book.store.take_parked_events(5).await.unwrap().len(), 5);
    let mut taken = Vec::new();
    while taken.len() < 45 {
        let looks =
            (0..4).map(|n| if n % 2 == 0 { &book.store } else { &other }).map(|s| s.take_parked_events(7));
        let looks = futures::future::join_all(looks).await;
        taken.extend(looks.into_iter().flat_map(Result::unwrap).map(|event| event.event_id));
    }
    taken.sort();
    taken.dedup();
    assert_eq!(taken.len(), 45, "each once");
    assert!(book.store.take_parked_events(64).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_key_that_appears_makes_the_events_due_that_wait_for_it_in_the_same_transaction() {
    let book = Book::new().await;
    for (event_id, key) in [("evt_a", "pi_1"), ("evt_b", "pi_1"), ("evt_c", "pi_2")] {
        park(&book.store, event_id, &[intent(key)]).await;
    }
    sqlx::query("update stripe_events set next_attempt_at = now() + interval '1 hour'")
        .execute(book.pool())
        .await
        .unwrap();
    book.apply(paid("evt_1", "cs_1", Some("pi_1"), "user_1")).await.unwrap();
    let mut due: Vec<_> =
        book.store.take_parked_events(9).await.unwrap().into_iter().map(|e| e.event_id).collect();
    due.sort();
    assert_eq!(due, ["evt_a", "evt_b"]);
    // What comes after its key is due at once.
    park(&book.store, "evt_d", &[intent("pi_0"), intent("pi_1")]).await;
    assert_eq!(book.store.take_parked_events(9).await.unwrap().len(), 1);
    assert!(due_in(&book, "evt_c").await > 3000);
    // That a key is nobody's is nothing to wait for again and again.
    let gone = Unapplied { foreign: &[intent("pi_3")], is_gone: true, ..because("not_ours") };
    book.store.record_event(&event("evt_2", "t"), EventState::Ignored, &gone).await.unwrap();
    park(&book.store, "evt_e", &[intent("pi_3")]).await;
    assert!(due_in(&book, "evt_e").await > 2);
}

#[tokio::test]
async fn lock_then_read_of_a_key_that_appears_while_its_event_is_parked() {
    let book = Book::new().await;
    let mut one = sqlx::PgConnection::connect(book.database.url()).await.unwrap();
    let mut open = one.begin().await.unwrap();
    let request = item(paid("evt_1", "cs_1", Some("pi_1"), "user_1"));
    run_batch(&mut open, &[&request], Wait::Block, &policy(), &Measures::default()).await.unwrap();
    let store = book.store.clone();
    let parking = tokio::spawn(async move { park(&store, "evt_a", &[intent("pi_1")]).await });
    blocked(book.pool(), 1).await;
    open.commit().await.unwrap();
    parking.await.unwrap();
    assert_eq!(book.store.take_parked_events(9).await.unwrap().len(), 1, "it has not missed the key");
}

#[tokio::test]
async fn bodies_go_after_90_days_but_for_those_of_parked_events() {
    let book = Book::new().await;
    park(&book.store, "evt_parked", &[]).await;
    for event_id in ["evt_old", "evt_older", "evt_young"] {
        let ignored = event(event_id, "x");
        book.store.record_event(&ignored, EventState::Ignored, &because("not_ours")).await.unwrap();
    }
    sqlx::query(
        "update stripe_event_bodies set stored_at = now() - interval '91 days' where event_id <> 'evt_young'",
    )
    .execute(book.pool())
    .await
    .unwrap();
    assert_eq!(book.store.delete_old_bodies(1).await.unwrap(), 1);
    assert_eq!(book.store.delete_old_bodies(100).await.unwrap(), 1);
    let left: Vec<String> = sqlx::query_scalar("select event_id from stripe_event_bodies order by 1")
        .fetch_all(book.pool())
        .await
        .unwrap();
    assert_eq!(left, ["evt_parked", "evt_young"]);
    book.store.fail_event("evt_parked", "body_gone").await.unwrap();
    assert_eq!(book.store.delete_old_bodies(100).await.unwrap(), 1);
}

#[tokio::test]
async fn another_try_is_for_every_event_that_was_not_applied_and_has_its_body() {
    let book = Book::new().await;
    book.apply(paid("evt_1", "cs_1", Some("pi_1"), "user_1")).await.unwrap();
    let ignored = event("evt_2", "invoice.paid");
    book.store.record_event(&ignored, EventState::Ignored, &because("type_not_handled")).await.unwrap();
    let replay = async |id| book.store.replay_event(id).await.unwrap();
    assert_eq!((replay("evt_0").await, replay("evt_1").await), (Replay::Unknown, Replay::Applied));
    assert_eq!(replay("evt_2").await, Replay::Queued);
    let taken = book.store.take_parked_events(9).await.unwrap();
    assert_eq!(taken[0].event_id, "evt_2");
    book.store.record_event(&ignored, EventState::Ignored, &because("type_not_handled")).await.unwrap();
    assert_eq!(book.store.inbox_level().await.unwrap().parked, 0);
    sqlx::query("delete from stripe_event_bodies where event_id = 'evt_2'")
        .execute(book.pool())
        .await
        .unwrap();
    assert_eq!(replay("evt_2").await, Replay::BodyGone);
}

#[tokio::test]
async fn levels_and_lists_say_what_waits_and_pages_are_bounded() {
    let book = Book::new().await;
    assert_eq!(book.store.inbox_level().await.unwrap(), store::InboxLevel::default());
    for n in 0..5 {
        park(&book.store, &format!("evt_p{n}"), &[]).await;
        let ignored = event(&format!("evt_i{n}"), "charge.updated");
        book.store.record_event(&ignored, EventState::Ignored, &because("type_not_handled")).await.unwrap();
    }
    book.store.fail_event("evt_p0", "body_gone").await.unwrap();
    sqlx::query(
        "update stripe_events set received_at = now() - interval '2 hours' where event_id = 'evt_p1'",
    )
    .execute(book.pool())
    .await
    .unwrap();
    let level = book.store.inbox_level().await.unwrap();
    assert_eq!((level.parked, level.failed), (4, 1));
    assert!((7200.0..7300.0).contains(&level.oldest_parked_s));

    let ids = |page: &store::EventPage| page.events.iter().map(|e| e.event_id.clone()).collect::<Vec<_>>();
    let parked = EventFilter { state: Some(EventState::Parked), ..EventFilter::default() };
    let first = book.store.list_events(&parked, 3).await.unwrap();
    assert_eq!(ids(&first), ["evt_p4", "evt_p3", "evt_p2"]);
    let before = EventFilter { before: first.next, ..parked };
    let last = book.store.list_events(&before, 3).await.unwrap();
    assert_eq!((ids(&last), last.next), (vec!["evt_p1".to_owned()], None));
    let charges = EventFilter { type_prefix: Some("charge.".to_owned()), ..EventFilter::default() };
    assert_eq!(ids(&book.store.list_events(&charges, 2).await.unwrap()), ["evt_i4", "evt_i3"]);
    let nobody = EventFilter { account_id: Some("user_9".to_owned()), ..EventFilter::default() };
    assert!(book.store.list_events(&nobody, 2).await.unwrap().events.is_empty());
    let (shown, body) = book.store.lookup_event("evt_p1").await.unwrap().unwrap();
    assert_eq!((shown.outcome.as_str(), body.as_deref()), ("predecessor_missing", Some(&b"{}"[..])));
    assert!(book.store.lookup_event("evt_9").await.unwrap().is_none());
}
