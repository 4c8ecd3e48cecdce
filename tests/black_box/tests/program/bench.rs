//! The load generator against a running program: what it measures adds up, what it checks holds, and its flags have
//! limits that it names.

use black_box::{Options, Program, run};
use serde_json::Value;

use crate::assert_healthy;

const SHORT: [&str; 5] = ["--warm-up", "0s", "--duration", "1s", "--json"];

async fn bench(arguments: &[&str]) -> Value {
    run(&[&["bench"], arguments, &SHORT].concat()).await.json()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// What every bench promises of its result.
fn assert_measured(result: &Value, name: &str, mode: &str) {
    assert_eq!((&result["bench"], &result["loop"]), (&name.into(), &mode.into()));
    let completed = number(&result["completed"]);
    assert!(completed > 0, "{result}");
    let series: Vec<u64> = result["per_second_series"].as_array().unwrap().iter().map(number).collect();
    assert_eq!((series.len(), series.iter().sum::<u64>()), (1, completed), "{result}");
    assert_eq!(result["duration_s"], 1.0);
    assert_eq!(number(&result["refused"]["count"]), 0, "{result}");
    assert_eq!(number(&result["unsent"]), 0, "{result}");
    let latency = &result["latency_us"];
    let quantiles: Vec<u64> = ["p50", "p90", "p99", "p999", "max"].map(|name| number(&latency[name])).into();
    assert!(quantiles.is_sorted() && quantiles[0] > 0, "{result}");
    assert!(latency["mean"].as_f64().unwrap() > 0.0);
    assert!(result["generator_cpu_us_per_call"].as_f64().unwrap() > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bench_measures_a_running_program() {
    let database = harness::database().await;
    let mut program = Program::start(&Options::dev_on(&database)).await;
    let addr = ["--addr", program.ready.grpc()];

    let flags = ["spend", "--accounts", "700", "--in-flight", "8", "--connections", "2", "--seed", "7"];
    let spend = bench(&[&flags[..], &addr].concat()).await;
    assert_measured(&spend, "spend", "closed");
    assert_eq!((&spend["in_flight"], &spend["rate"]), (&8.into(), &Value::Null));
    let sizes = [&spend["connections"], &spend["accounts"], &spend["seed"]];
    assert_eq!(sizes, [&Value::from(2), &700.into(), &7.into()]);

    let flags = ["spend", "--accounts", "700", "--skip-funding", "--rate", "100"];
    let open = bench(&[&flags[..], &addr].concat()).await;
    assert_measured(&open, "spend", "open");
    assert!((80..=100).contains(&number(&open["completed"])), "{open}");

    let grant = bench(&[&["grant", "--accounts", "10", "--in-flight", "4"][..], &addr].concat()).await;
    assert_measured(&grant, "grant", "closed");

    let flags = ["hold", "--accounts", "700", "--in-flight", "4", "--account-prefix", "bench_hold_"];
    let hold = bench(&[&flags[..], &addr].concat()).await;
    assert_measured(&hold, "hold", "closed");

    let flags = ["watch", "--streams", "3", "--watches", "30", "--accounts", "15", "--rate", "100"];
    let watch = bench(&[&flags[..], &addr].concat()).await;
    assert_measured(&watch, "watch", "open");
    // Every account is watched twice.
    assert!(number(&watch["delivered"]) >= number(&watch["completed"]) * 2, "{watch}");
    assert!(number(&watch["before_ack"]) <= number(&watch["delivered"]));
    for fault in ["lost", "duplicates", "out_of_order", "reconnects"] {
        assert_eq!(number(&watch[fault]), 0, "{fault}: {watch}");
    }
    for time in ["recorded_to_subscriber_us", "ack_to_subscriber_us", "call_to_subscriber_us"] {
        assert!(number(&watch[time]["p50"]) <= number(&watch[time]["max"]), "{time}: {watch}");
    }

    let url = format!("http://{}/api/v1/webhooks/stripe", program.ready.edge());
    let webhook = bench(&["webhook", "--accounts", "10", "--in-flight", "4", "--url", &url]).await;
    assert_measured(&webhook, "webhook", "closed");
    assert_healthy(&mut program).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_at_one_replica_can_be_watched_at_another() {
    let database = harness::database().await;
    let options = Options::credits_on(&database);
    let (writer, reader) = tokio::join!(Program::start(&options), Program::start(&options));
    let addrs = ["--addr", writer.ready.grpc(), "--watch-addr", reader.ready.grpc()];
    let flags = ["watch", "--streams", "4", "--watches", "20", "--accounts", "10", "--rate", "50"];
    let watch = bench(&[&flags[..], &addrs].concat()).await;
    assert_measured(&watch, "watch", "open");
    assert!(number(&watch["delivered"]) >= number(&watch["completed"]) * 2, "{watch}");
    assert!(writer.stop().await.success() && reader.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_counted_as_what_the_edge_said_and_fails() {
    let database = harness::database().await;
    let program = Program::start(&Options::dev_on(&database)).await;
    let url = format!("http://{}/api/v1/webhooks/stripe", program.ready.edge());
    let flags = ["bench", "webhook", "--in-flight", "1", "--webhook-secret", "whsec_wrong", "--url", &url];
    let finished = run(&[&flags[..], &SHORT].concat()).await;
    assert_eq!(finished.code(), 1, "{finished:?}");
    let result: Value = serde_json::from_str(&finished.stdout[0]).unwrap();
    assert!(number(&result["refused"]["by_reason"]["HTTP_400"]) > 0, "{result}");
    assert!(finished.stderr.contains("most often HTTP_400"), "{finished:?}");
    assert!(finished.stderr.contains("--webhook-secret-file"), "{finished:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_out_of_range_are_refused_by_name() {
    for (bench, flags, named) in [
        ("spend", &["--in-flight", "0"][..], "--in-flight"),
        ("spend", &["--in-flight", "10001"], "--in-flight"),
        ("spend", &["--connections", "1001"], "--connections"),
        ("spend", &["--rate", "0"], "--rate"),
        ("spend", &["--rate", "5", "--in-flight", "5"], "--in-flight"),
        ("spend", &["--max-outstanding", "5"], "--rate"),
        ("spend", &["--duration", "0s"], "--duration"),
        ("spend", &["--warm-up", "5"], "--warm-up"),
        ("spend", &["--accounts", "0"], "--accounts"),
        ("spend", &["--account-prefix", "a b"], "--account-prefix"),
        ("spend", &["--addr", "nowhere"], "--addr"),
        ("grant", &["--unit", "Credits"], "--unit"),
        ("grant", &["--amount", "0"], "--amount"),
        ("watch", &["--streams", "5", "--watches", "4"], "--watches"),
        ("watch", &["--streams", "1", "--watches", "1001"], "--streams"),
        ("watch", &["--accounts", "99"], "--accounts"),
        ("watch", &["--streams", "1001", "--watches", "1001", "--connections", "1"], "--connections"),
        ("watch", &["--rate", "100000", "--duration", "10m"], "--rate"),
        ("webhook", &["--url", "https://127.0.0.1/hook"], "--url"),
        ("webhook", &["--pack", "none"], "--pack"),
        ("webhook", &["--webhook-secret", ""], "--webhook-secret"),
    ] {
        let finished = run(&[&["bench", bench], flags].concat()).await;
        assert_eq!(finished.code(), 2, "{bench} {flags:?}: {finished:?}");
        assert!(finished.stderr.contains(named), "{bench} {flags:?}: {finished:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_funding_that_is_refused_says_what_to_do() {
    let database = harness::database().await;
    let program = Program::start(&Options::credits_on(&database)).await;
    let flags = ["bench", "spend", "--unit", "unheard_of", "--accounts", "5", "--addr", program.ready.grpc()];
    let finished = run(&flags).await;
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert!(finished.stderr.contains("bench_0 could not be given credits: UNKNOWN_UNIT"), "{finished:?}");
    assert!(finished.stderr.contains("--skip-funding"), "{finished:?}");
}
