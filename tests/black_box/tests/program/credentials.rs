//! API keys of `serve`: who may call what, and on whose account (I10).

use black_box::journal::count;
use black_box::{Options, Program, api, run, scratch};
use harness::TestDatabase;
use tempfile::TempDir;
use tonic::Code;

use crate::assert_healthy;

/// A keys file, and the keys that it has the hashes of.
pub(crate) struct Keys {
    file: TempDir,
    /// Everything, everywhere.
    pub(crate) all: String,
    /// Reads everywhere.
    pub(crate) reader: String,
    /// Everything on accounts that begin with `team_`.
    pub(crate) team: String,
    /// Hands over Stripe's events.
    pub(crate) edge: String,
}

impl Keys {
    /// Made by the program itself.
    pub(crate) async fn new() -> Self {
        let file = scratch::dir();
        let path = file.path().join("keys.toml");
        let make = async |id: &str, scopes: &str, more: &[&str]| {
            let fixed = ["key", "new", "--id", id, "--scopes", scopes, "--keys-file", path.to_str().unwrap()];
            let finished = run(&[&fixed, more].concat()).await;
            assert_eq!(finished.code(), 0, "{finished:?}");
            finished.stdout.concat()
        };
        let all = make("all", "read,grant,spend", &[]).await;
        let reader = make("reader", "read", &[]).await;
        let team = make("team", "read,grant,spend", &["--account-prefix", "team_"]).await;
        let edge = make("edge", "stripe", &[]).await;
        Self { file, all, reader, team, edge }
    }

    /// `serve --roles credits` that accepts these keys only.
    pub(crate) fn serve_on(&self, database: &TestDatabase) -> Options {
        let path = self.file.path().join("keys.toml");
        let options = Options::credits_on(database).without("--insecure-no-auth");
        options.arguments(&["--api-keys-file", path.to_str().unwrap()])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_needs_a_known_key_with_the_scope_for_an_account_that_it_covers() {
    let database = harness::database().await;
    let keys = Keys::new().await;
    let mut program = Program::start(&keys.serve_on(&database)).await;
    let api = api::Api::at(program.ready.grpc());
    let unknown = format!("tsk_{}", "09".repeat(32));
    let cases = [
        (api.clone(), Code::Unauthenticated, "CREDENTIAL_MISSING"),
        (api.clone().with_key(&unknown), Code::Unauthenticated, "CREDENTIAL_INVALID"),
        (api.clone().with_key("x"), Code::Unauthenticated, "CREDENTIAL_INVALID"),
        (api.clone().with_key(&keys.reader), Code::PermissionDenied, "PERMISSION_DENIED"),
        (api.clone().with_key(&keys.team), Code::PermissionDenied, "ACCOUNT_NOT_COVERED"),
    ];
    for (caller, code, reason) in cases {
        let refusal = caller.grant(api::grant("user_1", "k", 1)).await.unwrap_err();
        assert_eq!((refusal.code, refusal.reason.as_str()), (code, reason), "{refusal:?}");
    }
    let strangers = api.clone().with_key(&keys.team);
    let refusal = strangers.balance(api::balance_of("user_1")).await.unwrap_err();
    assert_eq!(refusal.reason, "ACCOUNT_NOT_COVERED");
    let refusal = strangers.watch(api::watch_all_of("user_1")).await.unwrap_err();
    assert_eq!(refusal.reason, "ACCOUNT_NOT_COVERED");
    assert_eq!(count(database.pool(), "accounts").await, 0, "nothing was written");

    strangers.grant(api::grant("team_1", "k", 7)).await.unwrap();
    let reader = api.with_key(&keys.reader);
    let balance = reader.balance(api::balance_of("team_1")).await.unwrap();
    assert_eq!(balance.available, 7);
    let actors = "entries where actor = 'team' and account_id = 'team_1'";
    assert_eq!(count(database.pool(), actors).await, 1, "the actor is the key's id");
    assert_healthy(&mut program).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_the_catalogue_does_not_declare_is_refused_by_serve() {
    let database = harness::database().await;
    let program = Program::start(&Options::credits_on(&database)).await;
    let mut command = api::grant("user_1", "k", 1);
    command.unit = "gems".to_owned();
    let refusal = api::Api::at(program.ready.grpc()).grant(command).await.unwrap_err();
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::InvalidArgument, "UNKNOWN_UNIT"));
    assert_eq!(refusal.facts["unit"], "gems");
}
