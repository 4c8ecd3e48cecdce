//! AdminService: GetAccount, UpdateAccount, EraseAccountData; fields and scopes of all of it.

use proto::v1;
use proto::v1::admin_service_client::AdminServiceClient;
use proto::v1::{AccountState, CrossingDirection};
use tonic::Code;
use tonic::transport::Channel;

use crate::bad_input::{assert_names, moment};
use crate::credentials::{OPERATOR, READER, WRITER, assert_refused, with_key};
use crate::reads::{entries_of, grants_of};
use crate::served::{Served, balance_of, fact, grant, reason, served, spend};
use crate::writes::{adjust, capture, extend, figures, hold, release, reverse, revoke};

type Admin = AdminServiceClient<Channel>;

pub(crate) fn admin(served: &Served) -> Admin {
    AdminServiceClient::new(served.channel.clone())
}

pub(crate) fn account_of(account: &str) -> v1::GetAccountRequest {
    v1::GetAccountRequest { account_id: account.to_owned() }
}

fn update(account: v1::Account, paths: &[&str]) -> v1::UpdateAccountRequest {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    v1::UpdateAccountRequest {
        account: Some(account),
        update_mask: Some(prost_types::FieldMask { paths }),
        reason: "ticket 7".to_owned(),
    }
}

pub(crate) fn state(account: &str, state: AccountState) -> v1::UpdateAccountRequest {
    let account = v1::Account { account_id: account.to_owned(), state: state.into(), ..Default::default() };
    update(account, &["state"])
}

pub(crate) fn thresholds(account: &str, thresholds: &[(&str, i64, i64)]) -> v1::UpdateAccountRequest {
    let threshold = |(name, at, rearm_at): &(&str, i64, i64)| v1::Threshold {
        name: (*name).to_owned(),
        unit: String::new(),
        at: *at,
        rearm_at: *rearm_at,
    };
    let thresholds = thresholds.iter().map(threshold).collect();
    update(v1::Account { account_id: account.to_owned(), thresholds, ..Default::default() }, &["thresholds"])
}

pub(crate) fn erase(account: &str) -> v1::EraseAccountDataRequest {
    v1::EraseAccountDataRequest { account_id: account.to_owned(), reason: "asked for".to_owned() }
}

pub(crate) fn clock(account: &str, now: Option<prost_types::Timestamp>) -> v1::SetTestClockRequest {
    v1::SetTestClockRequest { account_id: account.to_owned(), now }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_read_as_it_stands_from_its_first_use_on() {
    let served = served().await;
    let status = admin(&served).get_account(account_of("a")).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "ACCOUNT_NOT_FOUND"));
    assert_eq!(fact(&status, "account_id"), "a");
    served.client().grant_credits(grant("a", "g", 1)).await.unwrap();
    let account = admin(&served).get_account(account_of("a")).await.unwrap().into_inner().account.unwrap();
    assert_eq!((account.account_id.as_str(), account.state()), ("a", AccountState::Active));
    assert!(account.sandbox && account.created_at.is_some());
    assert_eq!((account.thresholds.len(), account.erased_at, account.test_clock_at), (0, None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_account_refuses_what_takes_credits_and_nothing_else() {
    let served = served().await;
    let mut client = served.client();
    let lot = client.grant_credits(grant("a", "g", 100)).await.unwrap().into_inner().grant.unwrap();
    let spent = client.spend_credits(spend("a", "s", 10)).await.unwrap().into_inner().entry.unwrap();
    let held = client.hold_credits(hold("a", "h", 30)).await.unwrap().into_inner().hold.unwrap().hold_id;
    let frozen = admin(&served).update_account(state("a", AccountState::Frozen)).await.unwrap().into_inner();
    assert_eq!(frozen.account.unwrap().state(), AccountState::Frozen);

    let (code, refusal) = (Code::FailedPrecondition, "ACCOUNT_FROZEN");
    assert_refused(client.spend_credits(spend("a", "1", 1)).await, code, refusal);
    assert_refused(client.hold_credits(hold("a", "2", 1)).await, code, refusal);
    assert_refused(client.capture_hold(capture("a", "3", &held, 1)).await, code, refusal);
    client.grant_credits(grant("a", "4", 1)).await.unwrap();
    client.extend_hold(extend("a", "5", &held, 7200)).await.unwrap();
    client.release_hold(release("a", "6", &held)).await.unwrap();
    client.reverse_spend(reverse("a", "7", &spent.entry_id)).await.unwrap();
    client.revoke_grant(revoke("a", "8", &lot.grant_id, 5)).await.unwrap();
    client.adjust_credits(adjust("a", "9", -1)).await.unwrap();

    admin(&served).update_account(state("a", AccountState::Active)).await.unwrap();
    client.spend_credits(spend("a", "1", 1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_account_can_only_be_read() {
    let served = served().await;
    let mut client = served.client();
    let lot = client.grant_credits(grant("a", "g", 100)).await.unwrap().into_inner().grant.unwrap();
    let held = client.hold_credits(hold("a", "h", 30)).await.unwrap().into_inner().hold.unwrap().hold_id;
    admin(&served).update_account(state("a", AccountState::Closed)).await.unwrap();
    let (code, refusal) = (Code::FailedPrecondition, "ACCOUNT_CLOSED");
    assert_refused(client.grant_credits(grant("a", "1", 1)).await, code, refusal);
    assert_refused(client.spend_credits(spend("a", "2", 1)).await, code, refusal);
    assert_refused(client.release_hold(release("a", "3", &held)).await, code, refusal);
    assert_refused(client.revoke_grant(revoke("a", "4", &lot.grant_id, 1)).await, code, refusal);
    assert_refused(client.adjust_credits(adjust("a", "5", 1)).await, code, refusal);
    let balance = client.get_balance(balance_of("a")).await.unwrap().into_inner().balance;
    assert_eq!(figures(balance.as_ref()), (70, 30, 0, 2));
    // What was done stays done: its key still tells it.
    assert!(client.grant_credits(grant("a", "g", 100)).await.unwrap().into_inner().replayed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_tells_which_thresholds_it_crossed() {
    let served = served().await;
    let mut client = served.client();
    client.grant_credits(grant("a", "g", 100)).await.unwrap();
    let updated =
        admin(&served).update_account(thresholds("a", &[("low", 50, 80)])).await.unwrap().into_inner();
    let expected = v1::Threshold { name: "low".to_owned(), unit: "credits".to_owned(), at: 50, rearm_at: 80 };
    assert_eq!(updated.account.unwrap().thresholds, [expected]);
    let crossed = |entry: Option<v1::Entry>| -> Vec<(String, CrossingDirection)> {
        entry.unwrap().crossed.iter().map(|c| (c.name.clone(), c.direction())).collect()
    };
    let entry = client.spend_credits(spend("a", "1", 50)).await.unwrap().into_inner().entry;
    assert_eq!(crossed(entry), []);
    let entry = client.spend_credits(spend("a", "2", 1)).await.unwrap().into_inner().entry;
    assert_eq!(crossed(entry), [("low".to_owned(), CrossingDirection::Below)]);
    let entry = client.grant_credits(grant("a", "3", 30)).await.unwrap().into_inner().entry;
    assert_eq!(crossed(entry), []);
    let entry = client.grant_credits(grant("a", "4", 1)).await.unwrap().into_inner().entry;
    assert_eq!(crossed(entry), [("low".to_owned(), CrossingDirection::Rearmed)]);
    let journal = client.list_entries(entries_of("a")).await.unwrap().into_inner().entries;
    assert_eq!(journal[1].crossed.len() + journal[3].crossed.len(), 0);
    assert_eq!((journal[0].crossed.len(), journal[2].crossed[0].at), (1, 50));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_changes_only_what_its_mask_names() {
    let served = served().await;
    served.client().grant_credits(grant("a", "g", 1)).await.unwrap();
    admin(&served).update_account(thresholds("a", &[("low", 5, 5)])).await.unwrap();
    let updated = admin(&served).update_account(state("a", AccountState::Frozen)).await.unwrap().into_inner();
    assert_eq!(updated.account.as_ref().unwrap().thresholds.len(), 1);
    let cleared = admin(&served).update_account(thresholds("a", &[])).await.unwrap().into_inner();
    let account = cleared.account.unwrap();
    assert_eq!((account.thresholds.len(), account.state()), (0, AccountState::Frozen));
    let unknown = admin(&served).update_account(state("nobody", AccountState::Frozen)).await;
    assert_refused(unknown, Code::NotFound, "ACCOUNT_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_blanks_metadata_and_keeps_figures_references_and_the_chain() {
    let served = served().await;
    let mut client = served.client();
    let request = v1::GrantCreditsRequest {
        metadata: [("name".to_owned(), "Ada".to_owned())].into(),
        reference: "order-7".to_owned(),
        ..grant("a", "g", 10)
    };
    let granted = client.grant_credits(request).await.unwrap().into_inner();
    client.spend_credits(spend("a", "s", 1)).await.unwrap();
    let erased = admin(&served).erase_account_data(erase("a")).await.unwrap().into_inner();
    assert_eq!(erased.erased_entries, 1);
    let grants = client.list_grants(grants_of("a")).await.unwrap().into_inner().grants;
    assert_eq!((grants[0].metadata.len(), grants[0].reference.as_str()), (0, "order-7"));
    let journal = client.list_entries(entries_of("a")).await.unwrap().into_inner().entries;
    assert_eq!(journal[1], granted.entry.unwrap());
    let account = admin(&served).get_account(account_of("a")).await.unwrap().into_inner().account.unwrap();
    assert_eq!(account.erased_at, erased.erased_at);
    let again = admin(&served).erase_account_data(erase("a")).await.unwrap().into_inner();
    assert_eq!(again.erased_entries, 0);
    let unknown = admin(&served).erase_account_data(erase("nobody")).await;
    assert_refused(unknown, Code::NotFound, "ACCOUNT_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_fields_are_named() {
    let served = served().await;
    served.client().grant_credits(grant("a", "g", 1)).await.unwrap();
    let mut admin = admin(&served);
    assert_names(&admin.get_account(account_of("a b")).await.unwrap_err(), "account_id");
    type Fault = (&'static str, fn(&mut v1::UpdateAccountRequest));
    let faults: &[Fault] = &[
        ("account", |r| r.account = None),
        ("account.account_id", |r| r.account = Some(v1::Account { state: 2, ..Default::default() })),
        ("account.state", |r| r.account.as_mut().unwrap().state = 0),
        ("account.state", |r| r.account.as_mut().unwrap().state = 4),
        ("update_mask", |r| r.update_mask = None),
        ("update_mask", |r| r.update_mask.as_mut().unwrap().paths.push("sandbox".to_owned())),
        ("account.thresholds", |r| {
            r.update_mask.as_mut().unwrap().paths.push("thresholds".to_owned());
            let thresholds = &mut r.account.as_mut().unwrap().thresholds;
            *thresholds = vec![v1::Threshold::default(); 17];
        }),
        ("account.thresholds[0].name", |r| {
            r.update_mask.as_mut().unwrap().paths.push("thresholds".to_owned());
            let threshold = v1::Threshold { at: 1, rearm_at: 1, ..Default::default() };
            r.account.as_mut().unwrap().thresholds.push(threshold);
        }),
        ("reason", |r| r.reason = String::new()),
        ("reason", |r| r.reason = "r".repeat(256)),
    ];
    for (field, spoil) in faults {
        let mut request = state("a", AccountState::Frozen);
        spoil(&mut request);
        assert_names(&admin.update_account(request).await.unwrap_err(), field);
    }
    let request = v1::EraseAccountDataRequest { reason: String::new(), ..erase("a") };
    assert_names(&admin.erase_account_data(request).await.unwrap_err(), "reason");
    let status = admin.erase_account_data(erase("")).await.unwrap_err();
    assert_names(&status, "account_id");
    for bad in [None, moment(-1, 0), moment(i64::MAX, 0), moment(1, 0)] {
        assert_names(&admin.set_test_clock(clock("a", bad)).await.unwrap_err(), "now");
    }
    let account = admin.get_account(account_of("a")).await.unwrap().into_inner().account.unwrap();
    assert_eq!((account.state(), account.test_clock_at), (AccountState::Active, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_it_needs_the_scope_admin() {
    let served = crate::credentials::served().await;
    served.client().grant_credits(with_key(grant("user_1", "g", 1), WRITER)).await.unwrap();
    let mut admin = admin(&served);
    let (code, denied) = (Code::PermissionDenied, "PERMISSION_DENIED");
    for key in [READER, WRITER] {
        assert_refused(admin.get_account(with_key(account_of("user_1"), key)).await, code, denied);
        let request = state("user_1", AccountState::Closed);
        assert_refused(admin.update_account(with_key(request, key)).await, code, denied);
        assert_refused(admin.erase_account_data(with_key(erase("user_1"), key)).await, code, denied);
        let request = clock("user_1", moment(4_000_000_000, 0));
        assert_refused(admin.set_test_clock(with_key(request, key)).await, code, denied);
    }
    assert_refused(
        admin.get_account(account_of("user_1")).await,
        Code::Unauthenticated,
        "CREDENTIAL_MISSING",
    );
    admin.get_account(with_key(account_of("user_1"), OPERATOR)).await.unwrap();
}
