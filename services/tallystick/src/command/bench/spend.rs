//! `tallystick bench spend`: how many spends the service does, and how long they take.

use clap::Args;
use proto::v1::SpendCreditsRequest;

use super::accounts::{Accounts, MAX_ACCOUNTS, NameArgs};
use super::drive::{Refusal, Work, drive};
use super::load::{LoadArgs, MAX_CONNECTIONS};
use super::meter::Meter;
use super::report::Report;
use super::{DEFAULT_IN_FLIGHT, MAX_AMOUNT, connect, fund_unless_stopped};
use crate::client::{Client, ClientArgs};
use crate::error::Error;
use crate::process::Stop;

const EXAMPLES: &str = "\
Examples:
  tallystick bench spend                           100,000 accounts, 64 calls in flight
  tallystick bench spend --accounts 1              one hot account
  tallystick bench spend --rate 2000 --duration 5m --json
                                                   how long answers take at a given load

Each account is given credits first, once for ever; a later run finds them.";

/// Which spends.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, mut_arg("json", super::json_of_bench))]
pub(crate) struct SpendArgs {
    /// How many accounts the spends are spread over, each with the same chance; 1 is a hot account.
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
    /// Credits of each spend.
    #[arg(
        long,
        default_value_t = 1,
        value_parser = clap::value_parser!(i64).range(1..=MAX_AMOUNT),
        value_name = "AMOUNT",
        help_heading = "Load"
    )]
    amount: i64,
    /// Do not give the accounts credits: a run before has.
    #[arg(long, help_heading = "Accounts")]
    skip_funding: bool,
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
    pub(crate) client: ClientArgs,
}

/// One client of the run.
#[derive(Clone)]
struct Spend {
    client: Client,
    accounts: Accounts,
    amount: i64,
    run: String,
}

impl Work for Spend {
    async fn call(&mut self, number: u64) -> Result<(), Refusal> {
        let request = self.client.request(SpendCreditsRequest {
            account_id: self.accounts.name(self.accounts.choose(number)),
            unit: self.accounts.unit().to_owned(),
            idempotency_key: format!("{}-{number}", self.run),
            amount: self.amount,
            ..SpendCreditsRequest::default()
        });
        self.client.service.spend_credits(request).await.map(drop).map_err(|status| Refusal::of(&status))
    }
}

/// Measures.
///
/// # Errors
/// [`Error::Config`], [`Error::Call`] when the service is not there, [`Error::Bench`] when the accounts cannot be given
/// credits or no call was answered OK.
pub(crate) async fn run(args: SpendArgs) -> Result<(), Error> {
    let load = args.load.load(DEFAULT_IN_FLIGHT);
    let accounts = args.names.accounts(args.accounts, load.seed)?;
    let stop = Stop::listen()?;
    let clients = connect(&args.client, load.connections(args.connections)).await?;
    if !args.skip_funding {
        fund_unless_stopped(&clients, &args.client.addr, &accounts, &stop).await?;
    }
    let work =
        |client| Spend { client, accounts: accounts.clone(), amount: args.amount, run: load.run.clone() };
    let works: Vec<Spend> = clients.into_iter().map(work).collect();
    let measured = drive(&works, &load, Meter::try_new(load.total())?, &stop).await?;
    let report = Report::new("spend", &load, works.len(), args.accounts, measured);
    report.tell::<()>(None, args.client.json)
}
