//! `tallystick bench`: puts load on a running service and tells what it does under it; docs/bench.md explains how to
//! size an installation with it.

use clap::Subcommand;
use futures::{StreamExt, TryStreamExt, stream};

use crate::client::{Client, ClientArgs};
use crate::error::Error;
use crate::process::Stop;

mod accounts;
mod calls;
mod cpu;
mod drive;
mod fund;
pub(crate) mod grant;
pub(crate) mod hold;
mod latency;
mod load;
mod meter;
mod pacer;
mod refusal;
mod report;
mod schedule;
pub(crate) mod spend;
mod tally;
pub(crate) mod watch;
pub(crate) mod webhook;

use accounts::Accounts;

/// Calls in flight without a flag.
const DEFAULT_IN_FLIGHT: u64 = 64;
/// Most credits of a call: the credits that an account is given last for 10^8 of them.
const MAX_AMOUNT: i64 = 1_000_000;
/// Connections that are opened at once.
const CONNECTING: usize = 16;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Spends
    Spend(Box<spend::SpendArgs>),
    /// Grants
    Grant(Box<grant::GrantArgs>),
    /// Holds, each with its capture
    Hold(Box<hold::HoldArgs>),
    /// How fast changes reach those who watch, and whether each arrives once
    Watch(Box<watch::WatchArgs>),
    /// Signed Stripe events
    Webhook(Box<webhook::WebhookArgs>),
}

impl Bench {
    /// Measures.
    ///
    /// # Errors
    /// [`Error`], to be shown to the user.
    pub(crate) async fn run(self) -> Result<(), Error> {
        match self {
            Self::Spend(args) => spend::run(*args).await,
            Self::Grant(args) => grant::run(*args).await,
            Self::Hold(args) => hold::run(*args).await,
            Self::Watch(args) => watch::run(*args).await,
            Self::Webhook(args) => webhook::run(*args).await,
        }
    }

    /// Whether its user is a program.
    pub(crate) fn wants_json(&self) -> bool {
        match self {
            Self::Spend(args) => args.calls.client.json,
            Self::Grant(args) => args.calls.client.json,
            Self::Hold(args) => args.calls.client.json,
            Self::Watch(args) => args.client.json,
            Self::Webhook(args) => args.json,
        }
    }
}

/// The `--json` of the client commands, as a bench means it.
fn json_of_bench(flag: clap::Arg) -> clap::Arg {
    flag.help("Print the result as one JSON object, whose fields docs/bench.md explains")
}

/// This many connections, each with a client of its own.
async fn connect(args: &ClientArgs, count: usize) -> Result<Vec<Client>, Error> {
    connect_to(args, "--addr", &args.addr, count).await
}

/// The same to another address than `--addr`, which `setting` gives.
async fn connect_to(
    args: &ClientArgs,
    setting: &'static str,
    addr: &str,
    count: usize,
) -> Result<Vec<Client>, Error> {
    let connecting = stream::iter(0..count).map(|_| Client::connect_to(args, setting, addr));
    connecting.buffered(CONNECTING).try_collect().await
}

/// Gives the accounts credits.
///
/// # Errors
/// As [`fund::fund`]; [`Error::Bench`] when the user ends it.
async fn fund_unless_stopped(
    clients: &[Client],
    addr: &str,
    accounts: &Accounts,
    stop: &Stop,
) -> Result<(), Error> {
    tokio::select! {
        done = fund::fund(clients, addr, accounts) => done,
        () = stop.asked() => Err(Error::Bench {
            problem: "stopped while the accounts were given credits: nothing was measured".to_owned(),
            hint: Some("the same command goes on where it was"),
        }),
    }
}
