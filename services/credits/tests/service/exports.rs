//! ExportEntries: the whole journal, by pages.

use proto::v1;
use tonic::Code;

use crate::bad_input::assert_names;
use crate::credentials::{OPERATOR, READER, WRITER, assert_refused, with_key};
use crate::served::{grant, served, spend};

fn export(prefix: &str) -> v1::ExportEntriesRequest {
    v1::ExportEntriesRequest { account_prefix: prefix.to_owned(), ..v1::ExportEntriesRequest::default() }
}

/// The request for what follows a page.
fn after(request: &v1::ExportEntriesRequest, last: &v1::Entry) -> v1::ExportEntriesRequest {
    v1::ExportEntriesRequest {
        after_account_id: last.account_id.clone(),
        after_unit: last.unit.clone(),
        after_version: last.version,
        ..request.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_is_exported_once_by_account_unit_and_version() {
    let served = served().await;
    let mut client = served.client();
    for account in ["b", "a", "B", "ab"] {
        client.grant_credits(grant(account, "g", 10)).await.unwrap();
        client.spend_credits(spend(account, "s", 1)).await.unwrap();
        let minutes = v1::GrantCreditsRequest { unit: "minutes".to_owned(), ..grant(account, "m", 1) };
        client.grant_credits(minutes).await.unwrap();
    }
    let mut request = v1::ExportEntriesRequest { page_size: 5, ..export("") };
    let mut seen: Vec<v1::Entry> = Vec::new();
    loop {
        let page = client.export_entries(request.clone()).await.unwrap().into_inner();
        assert!(page.entries.len() <= 5);
        seen.extend(page.entries);
        if page.end_reached {
            break;
        }
        request = after(&request, seen.last().unwrap());
    }
    let place = |entry: &v1::Entry| (entry.account_id.clone(), entry.unit.clone(), entry.version);
    let places: Vec<_> = seen.iter().map(place).collect();
    let mut sorted = places.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!((places.len(), &places), (12, &sorted));
    assert_eq!(places[0].0, "B");

    let some = client.export_entries(export("a")).await.unwrap().into_inner();
    assert_eq!((some.entries.len(), some.end_reached), (6, true));
    assert!(some.entries.iter().all(|entry| entry.account_id.starts_with('a')));
    // Nothing of an account but its id: before all units of it.
    let request = v1::ExportEntriesRequest { after_account_id: "b".to_owned(), ..export("") };
    assert_eq!(client.export_entries(request).await.unwrap().into_inner().entries.len(), 3);
    let none = client.export_entries(export("zzz")).await.unwrap().into_inner();
    assert_eq!((none.entries.len(), none.end_reached), (0, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_fields_are_named() {
    let served = served().await;
    let mut client = served.client();
    type Fault = (&'static str, fn(&mut v1::ExportEntriesRequest));
    let faults: &[Fault] = &[
        ("account_prefix", |r| r.account_prefix = "a b".to_owned()),
        ("account_prefix", |r| r.account_prefix = "a".repeat(129)),
        ("account_prefix", |r| r.account_prefix = "a%\0".to_owned()),
        ("after_account_id", |r| r.after_account_id = "a\0".to_owned()),
        ("after_account_id", |r| r.after_unit = "credits".to_owned()),
        ("after_unit", |r| {
            r.after_account_id = "a".to_owned();
            r.after_unit = "A".to_owned();
        }),
        ("after_unit", |r| {
            r.after_account_id = "a".to_owned();
            r.after_version = 1;
        }),
        ("after_version", |r| r.after_version = -1),
        ("page_size", |r| r.page_size = -1),
        ("page_size", |r| r.page_size = 5001),
    ];
    for (field, spoil) in faults {
        let mut request = export("");
        spoil(&mut request);
        assert_names(&client.export_entries(request).await.unwrap_err(), field);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_needs_the_scope_ledger_and_all_accounts_that_it_asks_for() {
    let served = crate::credentials::served().await;
    let mut client = served.client();
    for key in [READER, WRITER] {
        let answer = client.export_entries(with_key(export("user_1"), key)).await;
        assert_refused(answer, Code::PermissionDenied, "PERMISSION_DENIED");
    }
    client.grant_credits(with_key(grant("user_1", "g", 1), WRITER)).await.unwrap();
    let page = client.export_entries(with_key(export(""), OPERATOR)).await.unwrap().into_inner();
    assert_eq!(page.entries.len(), 1);
    let auditor = crate::credentials::AUDITOR;
    for outside in ["", "team", "user_1"] {
        let answer = client.export_entries(with_key(export(outside), auditor)).await;
        assert_refused(answer, Code::PermissionDenied, "ACCOUNT_NOT_COVERED");
    }
    client.export_entries(with_key(export("team_"), auditor)).await.unwrap();
}
