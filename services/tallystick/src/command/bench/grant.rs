//! `tallystick bench grant`: how many grants the service does, and how long they take.

use clap::Args;
use proto::v1::GrantCreditsRequest;

use super::accounts::{Accounts, MAX_ACCOUNTS, NameArgs};
use super::drive::{Refusal, Work, drive};
use super::load::{LoadArgs, MAX_CONNECTIONS};
use super::meter::Meter;
use super::report::Report;
use super::{DEFAULT_IN_FLIGHT, MAX_AMOUNT, connect};
use crate::client::{Client, ClientArgs};
use crate::error::Error;
use crate::process::Stop;

const EXAMPLES: &str = "\
Examples:
  tallystick bench grant                           100,000 accounts, 64 calls in flight
  tallystick bench grant --rate 500 --json         how long answers take at a given load

Every grant makes a lot that stays: use a database that can be thrown away.";

/// Which grants.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, mut_arg("json", super::json_of_bench))]
pub(crate) struct GrantArgs {
    /// How many accounts the grants are spread over, each with the same chance; 1 is a hot account.
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
    /// Credits of each grant.
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
    pub(crate) client: ClientArgs,
}

/// One client of the run.
#[derive(Clone)]
struct Grant {
    client: Client,
    accounts: Accounts,
    amount: i64,
    run: String,
}

impl Work for Grant {
    async fn call(&mut self, number: u64) -> Result<(), Refusal> {
        let request = self.client.request(GrantCreditsRequest {
            account_id: self.accounts.name(self.accounts.choose(number)),
            unit: self.accounts.unit().to_owned(),
            idempotency_key: format!("{}-{number}", self.run),
            amount: self.amount,
            ..GrantCreditsRequest::default()
        });
        self.client.service.grant_credits(request).await.map(drop).map_err(|status| Refusal::of(&status))
    }
}

/// Measures.
///
/// # Errors
/// [`Error::Config`], [`Error::Call`] when the service is not there, [`Error::Bench`] when no call was answered OK.
pub(crate) async fn run(args: GrantArgs) -> Result<(), Error> {
    let load = args.load.load(DEFAULT_IN_FLIGHT);
    let accounts = args.names.accounts(args.accounts, load.seed)?;
    let stop = Stop::listen()?;
    let clients = connect(&args.client, load.connections(args.connections)).await?;
    let work =
        |client| Grant { client, accounts: accounts.clone(), amount: args.amount, run: load.run.clone() };
    let works: Vec<Grant> = clients.into_iter().map(work).collect();
    let measured = drive(&works, &load, Meter::try_new(load.total())?, &stop).await?;
    let report = Report::new("grant", &load, works.len(), args.accounts, measured);
    report.tell::<()>(None, args.client.json)
}
