//! Starting and ending: the ready line, health, an orderly end under load, and settings that are refused.

use std::net::TcpListener;

use black_box::history::{assert_truth, assert_watched, versions};
use black_box::journal::{self, Journal};
use black_box::load::{Load, Plan};
use black_box::{Options, Program, STOP_LIMIT, Watcher, api, http, run, run_with, seed};
use tokio::net::TcpStream;

use crate::{LIMIT, assert_healthy};

#[tokio::test(flavor = "multi_thread")]
async fn dev_prints_one_line_when_it_is_ready_and_takes_its_postgres_with_it() {
    let mut process = Options::dev().start().await;
    let line = process.line(LIMIT * 2).await;
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    let expected = format!(
        r#"{{"ready":true,"grpc":{},"edge":{},"ops":{},"database_url":{},"webhook_secret":"whsec_tallystick_dev"}}"#,
        ready["grpc"], ready["edge"], ready["ops"], ready["database_url"]
    );
    assert_eq!(line, expected);
    for role in ["grpc", "edge", "ops"] {
        let addr: std::net::SocketAddr = ready[role].as_str().unwrap().parse().unwrap();
        assert!(addr.ip().is_loopback() && addr.port() != 0, "{role}: {addr}");
    }
    let (ops, grpc) = (ready["ops"].as_str().unwrap(), ready["grpc"].as_str().unwrap());
    assert_eq!([http::get(ops, "/healthz").await.status, http::get(ops, "/readyz").await.status], [200, 200]);
    let answer = api::Api::at(grpc).grant(api::grant("user_1", "k", 5)).await.unwrap();
    assert_eq!(answer.balance.unwrap().available, 5);
    let url = ready["database_url"].as_str().unwrap();
    let pool = journal::pool(url);
    assert_eq!(
        journal::count(&pool, "accounts where sandbox").await,
        1,
        "dev's accounts are sandbox accounts"
    );
    pool.close().await;

    assert!(process.terminate(STOP_LIMIT).await.success());
    assert_eq!(process.rest(LIMIT).await, Vec::<String>::new(), "nothing else goes to standard output");
    let (_, host) = url.split_once('@').unwrap();
    let host = host.split('/').next().unwrap();
    assert!(TcpStream::connect(host).await.is_err(), "its PostgreSQL is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_with_open_streams_ends_in_time_and_loses_nothing() {
    let seed = seed::choose("drain");
    let database = harness::database().await;
    let mut program = Program::start(&Options::dev_on(&database)).await;
    let addr = program.ready.grpc().to_owned();
    let accounts: Vec<String> = (1..=3).map(|n| format!("user_{n}")).collect();
    let watchers: Vec<Watcher> = (0..3).map(|_| Watcher::start(&addr, None, &accounts)).collect();
    let idle = api::Api::at(&addr);
    let mut idle = idle.watch(api::watch_all_of("nobody")).await.unwrap();
    let load = Load::start(&Plan {
        addrs: vec![addr.clone()],
        api_key: None,
        accounts: accounts.clone(),
        workers: 8,
        seed,
    });
    load.more_acknowledged(200, LIMIT).await;
    assert_healthy(&mut program).await;
    assert!(program.process.terminate(STOP_LIMIT).await.success());
    let calls = load.finish().await;

    // The stream that was idle has ended, not hung.
    let ended = tokio::time::timeout(LIMIT, async { while let Ok(Some(_)) = idle.message().await {} }).await;
    assert!(ended.is_ok());
    let journal = Journal::read(database.url()).await;
    let tally = assert_truth(&calls, &journal);
    // Calls that came too late never reached it: nobody was left without an answer to what was done.
    assert_eq!(tally.written_in_silence, 0, "{tally:?}");
    // What a watcher has seen is a beginning of the journal; a service that starts again tells it the rest.
    let options = Options::dev_on(&database).grpc_addr(&addr);
    let again = Program::start(&options).await;
    for watcher in watchers {
        for (account, version) in versions(&accounts, &journal) {
            watcher.reaches(account, version, LIMIT).await;
        }
        assert_watched(&watcher.finish(), &journal);
    }
    assert!(again.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_the_database_and_health_does_not() {
    let database = harness::database().await;
    let (proxy, url) = harness::Proxy::for_url(database.url()).await;
    let program = Program::start(&Options::dev_on(&database).database_url(&url)).await;
    let ops = program.ready.ops();
    let ready = async |status: u16| {
        harness::eventually(&format!("readiness {status}"), LIMIT, || async {
            http::get(ops, "/readyz").await.status == status
        })
        .await;
    };
    ready(200).await;
    proxy.refuse();
    proxy.cut();
    ready(503).await;
    assert_eq!(http::get(ops, "/healthz").await.status, 200, "a restart would not help");
    proxy.admit();
    ready(200).await;
    assert!(program.stop().await.success());
}

/// Refused before it is ready, as used wrongly; gives what it said.
async fn refused(options: &Options) -> String {
    let finished = options.run().await;
    assert_eq!((finished.code(), finished.stdout.len()), (2, 0), "{options:?}: {finished:?}");
    finished.stderr
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_refuses_to_start_without_credentials() {
    let database = harness::database().await;
    let said = refused(&Options::credits_on(&database).without("--insecure-no-auth")).await;
    assert!(said.contains("--api-keys-file") && said.contains("--insecure-no-auth"), "{said}");
    assert!(!said.contains(database.url()), "no URL with a password in the log: {said}");
    let said = refused(&Options::serve("credits").arguments(&["--insecure-no-auth"])).await;
    assert!(said.contains("TALLYSTICK_DATABASE_URL"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_refuses_no_secret_a_blank_one_and_that_of_dev() {
    let said = refused(&Options::serve("edge").arguments(&["--credits-addr", "127.0.0.1:1"])).await;
    assert!(said.contains("TALLYSTICK_STRIPE_WEBHOOK_SECRETS"), "{said}");
    for secrets in ["", " ", ",", "whsec_a, ,whsec_b", "whsec_tallystick_dev", "whsec_a,whsec_tallystick_dev"]
    {
        let said = refused(&Options::edge_for("127.0.0.1:1", secrets)).await;
        assert!(said.contains("TALLYSTICK_STRIPE_WEBHOOK_SECRETS"), "{secrets:?}: {said}");
        assert!(!said.contains("whsec_a") && !said.contains("whsec_b"), "no secret in the log: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_refuses_roles_that_do_not_exist() {
    for roles in ["credit", "", "credits,"] {
        let said = refused(&Options::serve(roles)).await;
        assert!(said.contains("--roles"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_with_its_flag_and_the_way_out() {
    let database = harness::database().await;
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = held.local_addr().unwrap().to_string();
    let mut process = Options::dev_on(&database).grpc_addr(&addr).start().await;
    assert_eq!(process.ended(LIMIT).await.code(), Some(1));
    assert_eq!(process.rest(LIMIT).await, Vec::<String>::new());
    harness::eventually("a message", LIMIT, || async {
        let said = process.stderr();
        said.contains(&addr) && said.contains("--grpc-addr") && said.contains("try: ")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_there_is_a_failure_that_names_the_setting_and_not_the_password() {
    let url = format!("postgres://tallystick:hidden@127.0.0.1:{}/tallystick", harness::free_port());
    let finished = run_with(&["migrate"], &[("TALLYSTICK_DATABASE_URL", &url)]).await;
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert!(
        finished.stderr.contains("database") && !finished.stderr.contains("hidden"),
        "{}",
        finished.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_command_line_does_not_have_is_a_usage_error() {
    for arguments in [&["frobnicate"][..], &["dev", "--frobnicate"], &["dev", "--grpc-addr", "nowhere"], &[]]
    {
        let finished = run(arguments).await;
        assert_eq!((finished.code(), finished.stdout.len()), (2, 0), "{arguments:?}: {finished:?}");
    }
    assert_eq!(run(&["--version"]).await.code(), 0);
}
