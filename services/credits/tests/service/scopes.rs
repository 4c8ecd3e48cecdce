//! The scope of each write beyond grant and spend, alone and in a batch; and whose accounts they may touch.

use proto::v1::Command;
use proto::v1::command::Command as Wish;
use tonic::Code;

use crate::batches::{commands, outcome};
use crate::credentials::{OPERATOR, READER, TEAM, WRITER, assert_refused, served, with_key};
use crate::served::grant;
use crate::writes::{NO_ENTRY, NO_GRANT, NO_HOLD, adjust, capture, extend, hold, release, reverse, revoke};

fn wishes(account: &str) -> Vec<Command> {
    let wishes = [
        Wish::Hold(hold(account, "1", 1)),
        Wish::Capture(capture(account, "2", NO_HOLD, 1)),
        Wish::Extend(extend(account, "3", NO_HOLD, 60)),
        Wish::Release(release(account, "4", NO_HOLD)),
        Wish::Reverse(reverse(account, "5", NO_ENTRY)),
        Wish::Revoke(revoke(account, "6", NO_GRANT, 1)),
        Wish::Adjust(adjust(account, "7", 1)),
    ];
    wishes.into_iter().map(|wish| Command { command: Some(wish) }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_needs_the_scope_of_its_rpc() {
    let served = served().await;
    let mut client = served.client();
    let (code, denied) = (Code::PermissionDenied, "PERMISSION_DENIED");
    for key in [READER, OPERATOR] {
        assert_refused(client.hold_credits(with_key(hold("user_1", "k", 1), key)).await, code, denied);
        let request = capture("user_1", "k", NO_HOLD, 1);
        assert_refused(client.capture_hold(with_key(request, key)).await, code, denied);
        let request = extend("user_1", "k", NO_HOLD, 60);
        assert_refused(client.extend_hold(with_key(request, key)).await, code, denied);
        let request = release("user_1", "k", NO_HOLD);
        assert_refused(client.release_hold(with_key(request, key)).await, code, denied);
        let request = reverse("user_1", "k", NO_ENTRY);
        assert_refused(client.reverse_spend(with_key(request, key)).await, code, denied);
        let request = revoke("user_1", "k", NO_GRANT, 1);
        assert_refused(client.revoke_grant(with_key(request, key)).await, code, denied);
    }
    // Credits out of nothing are not for services that grant what was sold.
    for key in [READER, WRITER] {
        let request = adjust("user_1", "k", 1);
        assert_refused(client.adjust_credits(with_key(request, key)).await, code, denied);
    }
    served.assert_nothing_written().await;
    client.adjust_credits(with_key(adjust("user_1", "k", 1), OPERATOR)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_batch_every_command_needs_its_own_scope() {
    let served = served().await;
    let mut client = served.client();
    let request = with_key(commands(wishes("user_1")), OPERATOR);
    let results = client.apply_batch(request).await.unwrap().into_inner().results;
    let told: Vec<String> = results.iter().map(outcome).collect();
    let denied = "PERMISSION_DENIED";
    assert_eq!(told, [denied, denied, denied, denied, denied, denied, "adjust false v1"]);
    let request = with_key(commands(wishes("user_1")), WRITER);
    let results = client.apply_batch(request).await.unwrap().into_inner().results;
    let told: Vec<String> = results.iter().map(outcome).collect();
    let (hold, grant) = ("HOLD_NOT_FOUND", "GRANT_NOT_FOUND");
    assert_eq!(told, ["hold false v2", hold, hold, hold, "ENTRY_NOT_FOUND", grant, denied]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_writes_only_to_the_accounts_that_it_covers() {
    let served = served().await;
    let mut client = served.client();
    let (code, outside) = (Code::PermissionDenied, "ACCOUNT_NOT_COVERED");
    assert_refused(client.hold_credits(with_key(hold("user_1", "k", 1), TEAM)).await, code, outside);
    let request = capture("user_1", "k", NO_HOLD, 1);
    assert_refused(client.capture_hold(with_key(request, TEAM)).await, code, outside);
    let request = extend("xteam_1", "k", NO_HOLD, 60);
    assert_refused(client.extend_hold(with_key(request, TEAM)).await, code, outside);
    let request = release("team", "k", NO_HOLD);
    assert_refused(client.release_hold(with_key(request, TEAM)).await, code, outside);
    let request = reverse("user_1", "k", NO_ENTRY);
    assert_refused(client.reverse_spend(with_key(request, TEAM)).await, code, outside);
    let request = revoke("user_1", "k", NO_GRANT, 1);
    assert_refused(client.revoke_grant(with_key(request, TEAM)).await, code, outside);
    let mut wishes = wishes("user_1");
    wishes.pop();
    let results = client.apply_batch(with_key(commands(wishes), TEAM)).await.unwrap().into_inner().results;
    assert!(results.iter().all(|result| outcome(result) == outside));
    served.assert_nothing_written().await;
    client.grant_credits(with_key(grant("team_1", "g", 1), TEAM)).await.unwrap();
    client.hold_credits(with_key(hold("team_1", "h", 1), TEAM)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_needs_a_credential() {
    let served = served().await;
    let mut client = served.client();
    let (code, missing) = (Code::Unauthenticated, "CREDENTIAL_MISSING");
    assert_refused(client.hold_credits(hold("a", "k", 1)).await, code, missing);
    assert_refused(client.capture_hold(capture("a", "k", NO_HOLD, 1)).await, code, missing);
    assert_refused(client.extend_hold(extend("a", "k", NO_HOLD, 60)).await, code, missing);
    assert_refused(client.release_hold(release("a", "k", NO_HOLD)).await, code, missing);
    assert_refused(client.reverse_spend(reverse("a", "k", NO_ENTRY)).await, code, missing);
    assert_refused(client.revoke_grant(revoke("a", "k", NO_GRANT, 1)).await, code, missing);
    assert_refused(client.adjust_credits(adjust("a", "k", 1)).await, code, missing);
    served.assert_nothing_written().await;
}
