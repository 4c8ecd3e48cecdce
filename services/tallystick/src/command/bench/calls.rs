//! What `bench spend`, `bench grant` and `bench hold` share: calls on accounts that are chosen by chance, over gRPC connections.

use clap::Args;

use super::accounts::{Accounts, MAX_ACCOUNTS, NameArgs};
use super::drive::{Work, drive};
use super::load::{LoadArgs, MAX_CONNECTIONS};
use super::meter::Meter;
use super::report::Report;
use super::{DEFAULT_IN_FLIGHT, MAX_AMOUNT, connect, fund_unless_stopped};
use crate::client::{Client, ClientArgs};
use crate::error::Error;
use crate::process::Stop;

/// Which calls.
#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    /// How many accounts the calls are spread over, each with the same chance; 1 is a hot account.
    #[arg(
        long,
        default_value_t = 100_000,
        value_parser = clap::value_parser!(u64).range(1..=MAX_ACCOUNTS),
        value_name = "N",
        help_heading = "Accounts"
    )]
    accounts: u64,
    #[command(flatten)]
    names: NameArgs,
    /// Credits of each call.
    #[arg(
        long,
        default_value_t = 1,
        value_parser = clap::value_parser!(i64).range(1..=MAX_AMOUNT),
        value_name = "AMOUNT",
        help_heading = "Load"
    )]
    amount: i64,
    /// gRPC connections that the calls are spread over.
    #[arg(
        long,
        default_value_t = 4,
        value_parser = clap::value_parser!(u64).range(1..=MAX_CONNECTIONS),
        value_name = "C",
        help_heading = "Load"
    )]
    connections: u64,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

/// One client of the run, with what a call needs.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) client: Client,
    pub(super) amount: i64,
    accounts: Accounts,
    run: String,
}

impl Caller {
    /// The account of a call.
    pub(super) fn account(&self, number: u64) -> String {
        self.accounts.name(self.accounts.choose(number))
    }

    /// What is counted.
    pub(super) fn unit(&self) -> String {
        self.accounts.unit().to_owned()
    }

    /// The idempotency key of a call.
    pub(super) fn key(&self, number: u64) -> String {
        format!("{}-{number}", self.run)
    }
}

/// Measures calls of one kind; `funds` gives the accounts credits first.
///
/// # Errors
/// [`Error::Config`], [`Error::Call`] when the service is not there, [`Error::Bench`] when the accounts cannot be given
/// credits or no call was answered OK.
pub(super) async fn measure<W: Work>(
    bench: &'static str,
    args: CallArgs,
    funds: bool,
    work: impl Fn(Caller) -> W,
) -> Result<(), Error> {
    let load = args.load.load(DEFAULT_IN_FLIGHT);
    let accounts = args.names.accounts(args.accounts, load.seed)?;
    let stop = Stop::listen()?;
    let clients = connect(&args.client, load.connections(args.connections)).await?;
    if funds {
        fund_unless_stopped(&clients, &args.client.addr, &accounts, &stop).await?;
    }
    let caller =
        |client| Caller { client, amount: args.amount, accounts: accounts.clone(), run: load.run.clone() };
    let works: Vec<W> = clients.into_iter().map(caller).map(work).collect();
    let measured = drive(&works, &load, Meter::try_new(load.total())?, &stop).await?;
    let report = Report::new(bench, &load, works.len(), args.accounts, measured);
    report.tell::<()>(None, args.client.json)
}
