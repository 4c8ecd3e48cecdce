//! What the edge lets in: a right signature over these very bytes, now. Nothing else leaves a trace.

use black_box::http::{self, Reply};
use black_box::journal::count;
use black_box::webhook::{self, DEV_SECRET, now_s, paid_checkout, signed};
use black_box::{Options, Program, api};
use harness::{Proxy, TestDatabase};

use crate::LIMIT;
use crate::credentials::Keys;

const SECRETS: &str = "TALLYSTICK_STRIPE_WEBHOOK_SECRETS";
const SECRET: &str = "whsec_black_box";

/// Every table that an accepted event would leave a row in.
const TABLES: [&str; 7] =
    ["stripe_events", "stripe_event_bodies", "stripe_claims", "purchases", "accounts", "entries", "outbox"];

async fn assert_nothing_stored(database: &TestDatabase) {
    for table in TABLES {
        assert_eq!(count(database.pool(), table).await, 0, "{table}");
    }
}

fn body() -> Vec<u8> {
    paid_checkout("evt_1", "cs_1", "user_1").to_string().into_bytes()
}

async fn post(program: &Program, headers: &[String], body: &[u8]) -> Reply {
    http::post(program.ready.edge(), webhook::PATH, headers, body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_changed_in_one_byte_or_signed_with_another_secret_or_long_ago_is_refused_and_not_stored() {
    let database = harness::database().await;
    let program = Program::start(&Options::dev_on(&database)).await;
    let (body, now) = (body(), now_s());
    let good = signed(DEV_SECRET, now, &body);
    let mut changed = body.clone();
    let digit = changed.iter().rposition(|byte| *byte == b'1').unwrap();
    changed[digit] = b'2';
    let shortened = &body[..body.len() - 1];
    let with_newline = [body.as_slice(), b"\n"].concat();
    let cases: [(&str, Vec<String>, &[u8]); 11] = [
        ("one changed byte", vec![good.clone()], &changed),
        ("one byte less", vec![good.clone()], shortened),
        ("one byte more", vec![good.clone()], &with_newline),
        ("another secret", vec![signed("whsec_other", now, &body)], &body),
        ("too old", vec![signed(DEV_SECRET, now - 400, &body)], &body),
        ("from the future", vec![signed(DEV_SECRET, now + 400, &body)], &body),
        ("no signature", vec![], &body),
        ("an empty signature", vec!["Stripe-Signature:".to_owned()], &body),
        ("two signatures", vec![good.clone(), good.clone()], &body),
        ("no timestamp", vec![good.replace("t=", "x=")], &body),
        ("another scheme", vec![good.replace("v1=", "v0=")], &body),
    ];
    for (name, headers, body) in cases {
        let reply = post(&program, &headers, body).await;
        assert_eq!((reply.status, reply.body.as_str()), (400, r#"{"error":"invalid_webhook"}"#), "{name}");
    }
    assert_nothing_stored(&database).await;
    assert_eq!(post(&program, &[good], &body).await.status, 200, "the event itself is right");
    assert_eq!(count(database.pool(), "entries where available = 1000").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_signature_does_not_make_an_event_of_anything() {
    let database = harness::database().await;
    let program = Program::start(&Options::dev_on(&database)).await;
    let deep = format!(r#"{{"id":"evt_1","type":"a","data":{}1{}}}"#, "[".repeat(2000), "]".repeat(2000));
    let long_id = format!(r#"{{"id":"{}","type":"a"}}"#, "x".repeat(256));
    let no_events = [
        "{}",
        "[]",
        "null",
        "x",
        r#"{"id":"evt_1"}"#,
        r#"{"type":"a"}"#,
        r#"{"id":"a","id":"b","type":"c"}"#,
        &deep,
        &long_id,
        "\u{feff}{}",
    ];
    for text in no_events {
        let reply = post(&program, &[signed(DEV_SECRET, now_s(), text.as_bytes())], text.as_bytes()).await;
        assert_eq!(reply.status, 400, "{}", text.get(..40).unwrap_or(text));
    }
    let latin = b"{\"id\":\"evt_\xe9\",\"type\":\"a\"}";
    assert_eq!(post(&program, &[signed(DEV_SECRET, now_s(), latin)], latin).await.status, 400);
    let large = vec![b' '; 513 * 1024];
    assert_eq!(post(&program, &[signed(DEV_SECRET, now_s(), &large)], &large).await.status, 413);
    assert_eq!(http::get(program.ready.edge(), webhook::PATH).await.status, 405);
    assert_eq!(http::get(program.ready.edge(), "/").await.status, 404);
    assert_nothing_stored(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_stored_is_answered_503_and_its_repetition_counts_once() {
    let database = harness::database().await;
    let (proxy, url) = Proxy::for_url(database.url()).await;
    let program = Program::start(&Options::dev_on(&database).database_url(&url)).await;
    let event = paid_checkout("evt_1", "cs_1", "user_1");
    proxy.refuse();
    proxy.cut();
    let reply = webhook::deliver(program.ready.edge(), DEV_SECRET, &event).await;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert_nothing_stored(&database).await;
    proxy.admit();
    harness::eventually("an accepted repetition", LIMIT, || async {
        webhook::deliver(program.ready.edge(), DEV_SECRET, &event).await.status == 200
    })
    .await;
    assert_eq!(webhook::deliver(program.ready.edge(), DEV_SECRET, &event).await.status, 200);
    let balance = api::Api::at(program.ready.grpc()).balance(api::balance_of("user_1")).await.unwrap();
    assert_eq!((balance.available, balance.version), (1000, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_of_its_own_needs_a_secret_and_a_key_with_one_scope_and_no_database() {
    let database = harness::database().await;
    let keys = Keys::new().await;
    let credits = Program::start(&keys.serve_on(&database).variable(SECRETS, SECRET)).await;
    let options = Options::edge_for(credits.ready.grpc(), &format!("whsec_old,{SECRET}"));
    let edge = Program::start(&options.variable("TALLYSTICK_EDGE_API_KEY", &keys.edge)).await;
    let event = paid_checkout("evt_1", "cs_1", "user_1");
    assert_eq!(webhook::deliver(edge.ready.edge(), SECRET, &event).await.status, 200);
    let balance =
        api::Api::at(credits.ready.grpc()).with_key(&keys.reader).balance(api::balance_of("user_1")).await;
    assert_eq!(balance.unwrap().available, 1000);

    // A key without the scope mints nothing, and neither does a secret that only the edge believes in.
    let options = Options::edge_for(credits.ready.grpc(), "whsec_old");
    let other = Program::start(&options.variable("TALLYSTICK_EDGE_API_KEY", &keys.edge)).await;
    let event = paid_checkout("evt_2", "cs_2", "user_1");
    assert_eq!(webhook::deliver(other.ready.edge(), "whsec_old", &event).await.status, 400);
    let options = Options::edge_for(credits.ready.grpc(), SECRET);
    let powerless = Program::start(&options.variable("TALLYSTICK_EDGE_API_KEY", &keys.all)).await;
    assert_eq!(webhook::deliver(powerless.ready.edge(), SECRET, &event).await.status, 503);
    assert_eq!(count(database.pool(), "stripe_events").await, 1);
    for program in [edge, other, powerless, credits] {
        assert!(program.stop().await.success());
    }
}
