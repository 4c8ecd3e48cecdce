//! One trace from the webhook that comes in to the message of each subscriber, over two processes.

use std::time::{Duration, Instant};

use black_box::webhook::{self, now_s, paid_checkout, signed};
use black_box::{Options, Program, Watcher, http};
use harness::TestDatabase;
use proto::v1::Entry;

use super::collector::{Collector, Received, hex};
use crate::LIMIT;

const SECRETS: &str = "TALLYSTICK_STRIPE_WEBHOOK_SECRETS";
const SECRET: &str = "whsec_traces";
const RPC: &str = "tallystick.credits.v1.CreditService/ApplyStripeEvent";
const HTTP: &str = "POST /api/v1/webhooks/stripe";
/// `Span.SpanKind` of OTLP.
const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const PRODUCER: i32 = 4;

/// A credits role and an edge in processes of their own.
struct Pair {
    credits: Program,
    edge: Program,
}

impl Pair {
    async fn start(database: &TestDatabase, collector: &str) -> Self {
        let named = |options: Options, name| options.traced_to(collector).variable("OTEL_SERVICE_NAME", name);
        let options = named(Options::credits_on(database).variable(SECRETS, SECRET), "credits");
        let credits = Program::start(&options).await;
        let options = named(Options::edge_for(credits.ready.grpc(), SECRET), "edge");
        Self { edge: Program::start(&options).await, credits }
    }

    fn watch(&self, account: &str) -> Watcher {
        Watcher::start(self.credits.ready.grpc(), None, &[account.to_owned()])
    }

    /// Delivers a paid checkout as a caller with this trace context.
    async fn deliver(&self, event: &str, account: &str, traceparent: &str) {
        let body = paid_checkout(event, &format!("cs_{event}"), account).to_string().into_bytes();
        let headers = [signed(SECRET, now_s(), &body), format!("traceparent: {traceparent}")];
        let reply = http::post(self.edge.ready.edge(), webhook::PATH, &headers, &body).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }

    async fn stop(self) {
        assert!(self.edge.stop().await.success());
        assert!(self.credits.stop().await.success());
    }
}

fn only_entry(watcher: Watcher, account: &str) -> Entry {
    let mut entries = watcher.finish().entries.remove(account).unwrap();
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries.remove(0)
}

/// The child hangs below the parent, in the same trace.
fn assert_below(child: &Received, parent: &Received) {
    assert_eq!(
        hex(&child.span.trace_id),
        hex(&parent.span.trace_id),
        "{} is in another trace",
        child.span.name
    );
    let (has, wants) = (hex(&child.span.parent_span_id), hex(&parent.span.span_id));
    assert_eq!(has, wants, "{} hangs elsewhere than below {}", child.span.name, parent.span.name);
}

fn is_linked(from: &Received, to: &Received) -> bool {
    from.span.links.iter().any(|link| link.trace_id == to.span.trace_id && link.span_id == to.span.span_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_a_webhook_to_the_message_of_each_subscriber() {
    let (database, collector) = (harness::database().await, Collector::start().await);
    let pair = Pair::start(&database, &collector.url).await;
    let watchers = [pair.watch("user_1"), pair.watch("user_1")];
    for watcher in &watchers {
        watcher.in_sync(LIMIT).await;
    }
    let event = paid_checkout("evt_1", "cs_1", "user_1");
    assert_eq!(webhook::deliver(pair.edge.ready.edge(), SECRET, &event).await.status, 200);
    for watcher in &watchers {
        watcher.reaches("user_1", 1, LIMIT).await;
    }

    let receive = collector.only("edge", HTTP, SERVER).await;
    assert!(receive.span.parent_span_id.is_empty(), "a root");
    assert_eq!(receive.text("http.route"), webhook::PATH);
    assert_eq!(receive.number("http.response.status_code"), 200);
    let call = collector.only("edge", RPC, CLIENT).await;
    assert_below(&call, &receive);
    assert_eq!(call.text("rpc.response.status_code"), "OK");
    let serve = collector.only("credits", RPC, SERVER).await;
    assert_below(&serve, &call);
    assert_eq!(serve.text("rpc.system.name"), "grpc");
    assert_eq!(serve.text("rpc.response.status_code"), "OK");

    let queue = collector.only("credits", "queue", INTERNAL).await;
    assert_below(&queue, &serve);
    let apply = collector.only("credits", "apply", INTERNAL).await;
    assert_below(&apply, &serve);
    assert!(queue.span.end_time_unix_nano <= apply.span.end_time_unix_nano);
    // The batch serves many, so it has a trace of its own, with links both ways.
    let batch = collector.only("credits", "batch", INTERNAL).await;
    assert_ne!(batch.span.trace_id, serve.span.trace_id);
    assert!(is_linked(&batch, &serve) && is_linked(&apply, &batch));
    assert_eq!(batch.number("messaging.batch.message_count"), 1);
    for phase in ["begin", "lock", "read", "decide", "write", "commit"] {
        assert_below(&collector.only("credits", phase, INTERNAL).await, &batch);
    }

    let stored: String =
        sqlx::query_scalar("select traceparent from entries").fetch_one(database.pool()).await.unwrap();
    assert_eq!(stored, serve.traceparent());
    let delivered = collector.wait("two deliveries", 2, |one| one.span.name == "deliver").await;
    assert_eq!(delivered.len(), 2);
    for deliver in &delivered {
        assert_below(deliver, &serve);
        assert_eq!((deliver.span.kind, deliver.number("tallystick.version")), (PRODUCER, 1));
    }
    let mut received = watchers.map(|watcher| only_entry(watcher, "user_1").traceparent);
    let mut sent: Vec<String> = delivered.iter().map(Received::traceparent).collect();
    received.sort();
    sent.sort();
    assert_eq!(sent, received, "each message has the context of its own delivery");
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_decides_whether_its_trace_is_recorded_and_it_is_carried_on_either_way() {
    let (database, collector) = (harness::database().await, Collector::start().await);
    let pair = Pair::start(&database, &collector.url).await;
    let unseen = "00-000000000000000000000000000000aa-00000000000000bb-00";
    let seen = "00-000000000000000000000000000000cc-00000000000000dd-01";
    let (quiet, loud) = (pair.watch("quiet"), pair.watch("loud"));
    pair.deliver("evt_1", "quiet", unseen).await;
    pair.deliver("evt_2", "loud", seen).await;
    quiet.reaches("quiet", 1, LIMIT).await;
    loud.reaches("loud", 1, LIMIT).await;
    let receive = collector.only("edge", HTTP, SERVER).await;
    assert_eq!(format!("00-{}-{}-01", hex(&receive.span.trace_id), hex(&receive.span.parent_span_id)), seen);
    let traceparent = only_entry(quiet, "quiet").traceparent;
    assert_eq!((&traceparent[..36], &traceparent[52..]), (&unseen[..36], "-00"));
    assert!(only_entry(loud, "loud").traceparent.starts_with(&seen[..36]));
    pair.stop().await;
    // Everything was flushed at the end.
    let spans = collector.spans();
    assert!(spans.iter().any(|one| one.span.name == "deliver"));
    assert!(!spans.iter().any(|one| hex(&one.span.trace_id) == unseen[3..35]), "{spans:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_costs_a_request_nothing_and_does_not_hold_up_the_end() {
    let database = harness::database().await;
    let nobody = format!("http://127.0.0.1:{}", harness::free_port());
    let pair = Pair::start(&database, &nobody).await;
    let began = Instant::now();
    for number in 0..20 {
        let event = paid_checkout(&format!("evt_{number}"), &format!("cs_{number}"), "user_1");
        assert_eq!(webhook::deliver(pair.edge.ready.edge(), SECRET, &event).await.status, 200);
    }
    // A single wait for the collector would be 5 s.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_the_context_of_a_caller_goes_through_unchanged() {
    let database = harness::database().await;
    let pair = Pair::start(&database, "").await;
    let watcher = pair.watch("user_1");
    let given = "00-000000000000000000000000000000cc-00000000000000dd-01";
    pair.deliver("evt_1", "user_1", given).await;
    watcher.reaches("user_1", 1, LIMIT).await;
    assert_eq!(only_entry(watcher, "user_1").traceparent, given);
    pair.stop().await;
}
