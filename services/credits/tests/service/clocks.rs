//! SetTestClock, and what time does to lots and holds.

use proto::v1;
use proto::v1::EntryKind;
use tonic::Code;

use crate::admin::{account_of, admin, clock};
use crate::bad_input::{assert_names, moment};
use crate::credentials::assert_refused;
use crate::reads::entries_of;
use crate::served::{Served, balance_of, fact, grant, reason, served, spend};
use crate::writes::{capture, figures, hold, release, reverse};

impl Served {
    /// Moves the account's clock to so many seconds after its creation.
    pub(crate) async fn pass(&self, account: &str, seconds: i64) -> v1::SetTestClockResponse {
        let found = admin(self).get_account(account_of(account)).await.unwrap().into_inner();
        let created_at = found.account.unwrap().created_at.unwrap();
        let now = prost_types::Timestamp { seconds: created_at.seconds + seconds, ..created_at };
        admin(self).set_test_clock(clock(account, Some(now))).await.unwrap().into_inner()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_clock_moves_forward_and_settles_what_became_due() {
    let served = served().await;
    let mut client = served.client();
    client.grant_credits(grant("a", "forever", 10)).await.unwrap();
    let account = admin(&served).get_account(account_of("a")).await.unwrap().into_inner().account.unwrap();
    let created_at = account.created_at.unwrap();
    let at = |seconds| prost_types::Timestamp { seconds: created_at.seconds + seconds, ..created_at };
    let request = v1::GrantCreditsRequest { expires_at: Some(at(3600)), ..grant("a", "hour", 5) };
    client.grant_credits(request).await.unwrap();

    let set = admin(&served).set_test_clock(clock("a", Some(at(3599)))).await.unwrap().into_inner();
    assert_eq!((set.now, set.settled_operations), (Some(at(3599)), 0));
    let set = admin(&served).set_test_clock(clock("a", Some(at(3600)))).await.unwrap().into_inner();
    assert_eq!(set.settled_operations, 1);
    let balance = client.get_balance(balance_of("a")).await.unwrap().into_inner().balance;
    assert_eq!(figures(balance.as_ref()), (10, 0, 0, 3));
    // It stands still: what is written next has its time.
    let spent = client.spend_credits(spend("a", "s", 1)).await.unwrap().into_inner().entry.unwrap();
    assert_eq!(spent.effective_at, Some(at(3600)));
    let status = admin(&served).set_test_clock(clock("a", Some(at(3599)))).await.unwrap_err();
    assert_names(&status, "now");
    let account = admin(&served).get_account(account_of("a")).await.unwrap().into_inner().account.unwrap();
    assert_eq!(account.test_clock_at, Some(at(3600)));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_sandbox_account_has_a_clock() {
    let served = served().await;
    let unknown = admin(&served).set_test_clock(clock("a", moment(4_000_000_000, 0))).await;
    assert_refused(unknown, Code::NotFound, "ACCOUNT_NOT_FOUND");
    served.client().grant_credits(grant("a", "g", 1)).await.unwrap();
    sqlx::raw_sql("update accounts set sandbox = false").execute(served.database.pool()).await.unwrap();
    let real = admin(&served).set_test_clock(clock("a", moment(4_000_000_000, 0))).await;
    assert_refused(real, Code::FailedPrecondition, "NOT_A_SANDBOX_ACCOUNT");
}

#[tokio::test(flavor = "multi_thread")]
async fn credits_that_end_while_held_end_with_the_hold() {
    let served = served().await;
    let mut client = served.client();
    client.grant_credits(grant("a", "first", 1)).await.unwrap();
    let account = admin(&served).get_account(account_of("a")).await.unwrap().into_inner().account.unwrap();
    let created_at = account.created_at.unwrap();
    let expires_at = Some(prost_types::Timestamp { seconds: created_at.seconds + 600, ..created_at });
    client.grant_credits(v1::GrantCreditsRequest { expires_at, ..grant("a", "g", 10) }).await.unwrap();
    let held = client.hold_credits(hold("a", "h", 10)).await.unwrap().into_inner().hold.unwrap();
    served.pass("a", 601).await;
    let balance = client.get_balance(balance_of("a")).await.unwrap().into_inner().balance;
    assert_eq!(figures(balance.as_ref()), (1, 10, 0, 3));
    let released = client.release_hold(release("a", "r", &held.hold_id)).await.unwrap().into_inner();
    let kinds = crate::writes::kinds(&released.entries);
    assert_eq!(kinds, [EntryKind::Release, EntryKind::Expiry]);
    assert_eq!((released.released, figures(released.balance.as_ref())), (10, (1, 0, 0, 5)));
    assert_eq!(released.entry.as_ref(), released.entries.first());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_ends_by_its_time_and_cannot_be_captured_then() {
    let served = served().await;
    let mut client = served.client();
    client.grant_credits(grant("a", "g", 10)).await.unwrap();
    let held = client.hold_credits(hold("a", "h", 4)).await.unwrap().into_inner().hold.unwrap();
    served.pass("a", 7200).await;
    let status = client.capture_hold(capture("a", "c", &held.hold_id, 1)).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "HOLD_EXPIRED"));
    assert_eq!(fact(&status, "hold_id"), held.hold_id);
    assert_eq!(fact(&status, "expired_at"), held.expires_at.unwrap().to_string());
    let journal = client.list_entries(entries_of("a")).await.unwrap().into_inner().entries;
    assert_eq!(
        (journal[0].kind(), journal[0].hold_id.as_str()),
        (EntryKind::HoldExpiry, held.hold_id.as_str())
    );
    assert_eq!(journal[0].effective_at, held.expires_at);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_return_to_an_expired_lot_becomes_a_compensation() {
    let served = served().await;
    let mut client = served.client();
    client.grant_credits(grant("a", "first", 1)).await.unwrap();
    let account = admin(&served).get_account(account_of("a")).await.unwrap().into_inner().account.unwrap();
    let created_at = account.created_at.unwrap();
    let expires_at = Some(prost_types::Timestamp { seconds: created_at.seconds + 600, ..created_at });
    client.grant_credits(v1::GrantCreditsRequest { expires_at, ..grant("a", "g", 10) }).await.unwrap();
    let spent = client.spend_credits(spend("a", "s", 8)).await.unwrap().into_inner().entry.unwrap();
    served.pass("a", 601).await;
    let request =
        v1::ReverseSpendRequest { reference: "T-7".to_owned(), ..reverse("a", "r", &spent.entry_id) };
    let answer = client.reverse_spend(request).await.unwrap().into_inner();
    assert_eq!((answer.reversed, figures(answer.balance.as_ref())), (8, (9, 0, 0, 5)));
    assert_eq!(answer.grants.len(), 1);
    let lot = &answer.grants[0];
    assert_eq!((lot.kind(), lot.amount, lot.reference.as_str()), (v1::GrantKind::Compensation, 8, "T-7"));
    assert!(lot.expires_at.unwrap().seconds >= created_at.seconds + 601 + 24 * 3600);
}
