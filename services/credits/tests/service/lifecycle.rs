//! Health, reflection, overload, a lost database, and the end of a server.

use std::time::Duration;

use credits::{Limits, ServerConfig};
use futures::StreamExt;
use proto::v1;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1 as reflection, v1alpha};
use tonic_types::StatusExt;

use crate::served::{LIMIT, Served, config, grant, reason, served, served_on, served_with};

const SERVICE: &str = "tallystick.credits.v1.CreditService";
const ADMIN: &str = "tallystick.credits.v1.AdminService";

async fn health(served: &Served, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(served.channel.clone()).check(request).await.unwrap().into_inner().status()
}

fn watch_user_1() -> v1::WatchCreditsRequest {
    let target = v1::WatchTarget { account_id: "user_1".to_owned(), ..v1::WatchTarget::default() };
    v1::WatchCreditsRequest { targets: vec![target], ..v1::WatchCreditsRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_needs_no_credential_and_says_serving() {
    let ring =
        "[[keys]]\nid = \"a\"\nhash = \"sha256:".to_owned() + &"0".repeat(64) + "\"\nscopes = [\"read\"]\n";
    let ring = std::sync::Arc::new(credits::KeyRing::parse(&ring).unwrap());
    let authentication = credits::Authentication::Keys(ring);
    let served = served_with(ServerConfig { authentication, ..config() }).await;
    assert_eq!(health(&served, "").await, ServingStatus::Serving);
    assert_eq!(health(&served, SERVICE).await, ServingStatus::Serving);
    assert_eq!(health(&served, ADMIN).await, ServingStatus::Serving);
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_shows_the_service_in_both_versions() {
    let served = served().await;
    let ask = reflection::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(reflection::server_reflection_request::MessageRequest::FileContainingSymbol(
            SERVICE.to_owned(),
        )),
    };
    let mut client =
        reflection::server_reflection_client::ServerReflectionClient::new(served.channel.clone());
    let mut answers = client.server_reflection_info(futures::stream::iter([ask])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let reflection::server_reflection_response::MessageResponse::FileDescriptorResponse(files) = answer
    else {
        panic!("{answer:?}");
    };
    assert!(!files.file_descriptor_proto.is_empty());

    let list = v1alpha::server_reflection_request::MessageRequest::ListServices(String::new());
    let ask = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(served.channel.clone());
    let mut answers = client.server_reflection_info(futures::stream::iter([ask])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let v1alpha::server_reflection_response::MessageResponse::ListServicesResponse(list) = answer else {
        panic!("{answer:?}");
    };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    for name in [SERVICE, ADMIN, "grpc.health.v1.Health"] {
        assert!(names.iter().any(|known| known == name), "{names:?}");
    }
}

/// The first call waits for an account lock that the test holds, and takes the only place.
#[tokio::test(flavor = "multi_thread")]
async fn beyond_its_limit_the_service_refuses_at_once_and_says_when_to_come_again() {
    let limits = Limits { concurrent_calls: 1, ..Limits::default() };
    let served = served_with(ServerConfig { limits, ..config() }).await;
    let mut client = served.client();
    client.grant_credits(grant("user_1", "k0", 1)).await.unwrap();
    let mut lock = served.database.pool().begin().await.unwrap();
    sqlx::raw_sql("select 1 from accounts for update").execute(&mut *lock).await.unwrap();
    let mut blocked = served.client();
    let waiting = tokio::spawn(async move { blocked.grant_credits(grant("user_1", "k1", 1)).await });
    harness::eventually("the first call waits for the lock", LIMIT, || async {
        let waits = "select exists (select 1 from pg_stat_activity
                     where datname = current_database() and wait_event_type = 'Lock')";
        sqlx::query_scalar(waits).fetch_one(served.database.pool()).await.unwrap()
    })
    .await;
    let refused = client.get_balance(crate::served::balance_of("nobody")).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "OVERLOADED"));
    assert!(refused.get_details_retry_info().unwrap().retry_delay.is_some());
    assert_eq!(health(&served, "").await, ServingStatus::Serving);
    let event = crate::served::signed(crate::stripe_events::checkout("1", "s", "user_2").body());
    client.apply_stripe_event(event).await.unwrap();
    lock.rollback().await.unwrap();
    waiting.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_database_is_unavailable_and_not_internal() {
    let database = harness::database().await;
    let (proxy, url) = harness::Proxy::for_url(database.url()).await;
    let served = served_on(database, &url, config()).await;
    let mut client = served.client();
    client.grant_credits(grant("user_1", "k0", 1)).await.unwrap();
    proxy.refuse();
    proxy.cut();
    let mut request = Request::new(grant("user_1", "k1", 1));
    request.set_timeout(Duration::from_secs(2));
    let status = client.grant_credits(request).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "DATABASE_UNAVAILABLE"));
    proxy.admit();
    client.grant_credits(grant("user_1", "k1", 1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_says_so_ends_its_streams_and_is_gone() {
    let served = served().await;
    let mut stream = served.client().watch_credits(watch_user_1()).await.unwrap().into_inner();
    assert!(stream.next().await.unwrap().is_ok());
    let mut checks = HealthClient::new(served.channel.clone());
    let request = HealthCheckRequest { service: SERVICE.to_owned() };
    let mut checks = checks.watch(request).await.unwrap().into_inner();
    assert_eq!(checks.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    served.shutdown.cancel();
    assert_eq!(checks.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    drop(checks);
    let end = loop {
        match stream.next().await {
            Some(Ok(_)) => {}
            Some(Err(status)) => break status,
            None => panic!("the stream ended without a status"),
        }
    };
    assert_eq!((end.code(), reason(&end).as_str()), (Code::Unavailable, "SHUTTING_DOWN"));
    assert!(end.get_details_retry_info().unwrap().retry_delay.is_some());
    tokio::time::timeout(LIMIT, served.server).await.unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_keeps_a_stream_open_does_not_keep_the_server() {
    let limits = Limits { drain: Duration::from_millis(200), ..Limits::default() };
    let served = served_with(ServerConfig { limits, ..config() }).await;
    // The health service's own stream never ends by itself.
    let request = HealthCheckRequest { service: String::new() };
    let _open = HealthClient::new(served.channel.clone()).watch(request).await.unwrap().into_inner();
    served.shutdown.cancel();
    tokio::time::timeout(LIMIT, served.server).await.unwrap().unwrap().unwrap();
}
