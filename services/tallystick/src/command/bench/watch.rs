//! `tallystick bench watch`: how fast changes reach those who watch, and whether each arrives once and in order.

use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::accounts::{MAX_ACCOUNTS, NameArgs};
use super::drive::{Measured, drive};
use super::load::{self, Load, MAX_CONNECTIONS, TimeArgs, size};
use super::meter::Meter;
use super::report::{Report, per_second, row_of};
use super::{MAX_AMOUNT, connect, connect_to, fund_unless_stopped};
use crate::client::{Client, ClientArgs};
use crate::error::Error;
use crate::process::Stop;

mod calls;
mod checker;
mod reader;
mod readers;
mod times;

use calls::{Calls, MAX_CALLS, WatchedSpend};
use checker::Faults;
use reader::Seen;
use readers::{Readers, Spread};
use times::TimesReport;

const EXAMPLES: &str = "\
Examples:
  tallystick bench watch                           1000 balances over 10 streams
  tallystick bench watch --streams 1000 --watches 10000 --accounts 100 --rate 500
                                                   many readers of few balances
  tallystick bench watch --addr a:7070 --watch-addr b:7070
                                                   written at one replica, read at another

Of every entry that arrives: the time since the database's stamp of its recording (its commit
lies in between; the clock of this machine has to be the database's, or as good), since the
answer to the call that made it (0 when the message was sooner: before_ack counts those), and
since that call was sent; and from there to the last of all who watch. Exits with 1 when a version was lost, came twice or out of order.";

/// Most streams.
const MAX_STREAMS: u64 = 100_000;
/// Most watched balances over all streams.
const MAX_WATCHES: u64 = 1_000_000;
/// Most balances of a stream: the service's own limit.
const MAX_TARGETS: u64 = 1000;
/// Most streams of a connection: the service's own limit; beyond it they would wait for each other.
const MAX_STREAMS_OF_A_CONNECTION: u64 = 1000;
/// Most changes a second.
const MAX_CHANGES: u64 = 100_000;
/// Most connections that the spends need.
const SPENDING_CONNECTIONS: usize = 16;

/// Which balances, and how they change.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, mut_arg("json", super::json_of_bench))]
pub(crate) struct WatchArgs {
    /// How many streams are open.
    #[arg(
        long,
        default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(1..=MAX_STREAMS),
        value_name = "S",
        help_heading = "Streams"
    )]
    streams: u64,
    /// How many balances they watch together, at most 1000 a stream.
    #[arg(
        long,
        default_value_t = 1000,
        value_parser = clap::value_parser!(u64).range(1..=MAX_WATCHES),
        value_name = "W",
        help_heading = "Streams"
    )]
    watches: u64,
    /// Where the streams are read, as host:port; --addr without it.
    #[arg(long, value_name = "HOST:PORT", help_heading = "Streams")]
    watch_addr: Option<String>,
    /// gRPC connections that the streams, and apart from them the spends, are spread over.
    #[arg(
        long,
        default_value_t = 4,
        value_parser = clap::value_parser!(u64).range(1..=MAX_CONNECTIONS),
        value_name = "C",
        help_heading = "Load"
    )]
    connections: u64,
    /// How many accounts change, each with the same chance: fewer than watches, and several streams watch the same one;
    /// more, and some changes are watched by nobody [default: as many as watches]
    #[arg(
        long,
        value_parser = clap::value_parser!(u64).range(1..=MAX_ACCOUNTS),
        value_name = "N",
        help_heading = "Accounts"
    )]
    accounts: Option<u64>,
    #[command(flatten)]
    names: NameArgs,
    /// Do not give the accounts credits: a run before has.
    #[arg(long, help_heading = "Accounts")]
    skip_funding: bool,
    /// Spends a second, on a steady schedule.
    #[arg(
        long,
        default_value_t = 500,
        value_parser = clap::value_parser!(u64).range(1..=MAX_CHANGES),
        value_name = "R",
        help_heading = "Load"
    )]
    rate: u64,
    /// Credits of each spend.
    #[arg(
        long,
        default_value_t = 1,
        value_parser = clap::value_parser!(i64).range(1..=MAX_AMOUNT),
        value_name = "AMOUNT",
        help_heading = "Load"
    )]
    amount: i64,
    #[command(flatten)]
    time: TimeArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// What the readers have shown, beside the report on the spends.
#[derive(Debug, Serialize)]
struct WatchReport {
    streams: u64,
    watches: u64,
    delivered_per_second: f64,
    #[serde(flatten)]
    times: TimesReport,
    lost: u64,
    duplicates: u64,
    out_of_order: u64,
    reconnects: u64,
}

/// Measures.
///
/// # Errors
/// [`Error::Config`], [`Error::Call`] when the service is not there or refuses a stream, [`Error::Bench`] when the
/// service broke its word, or no call was answered OK.
pub(crate) async fn run(args: WatchArgs) -> Result<(), Error> {
    let load = args.time.load(load::open(args.rate, None));
    args.check(&load)?;
    let accounts = args.names.accounts(args.accounts(), load.seed)?;
    let stop = Stop::listen()?;
    let clients = connect(&args.client, size(args.connections).min(SPENDING_CONNECTIONS)).await?;
    let reading = args.connect_readers().await?;
    if !args.skip_funding {
        fund_unless_stopped(&clients, &args.client.addr, &accounts, &stop).await?;
    }
    let total_s = load.total().as_secs().saturating_add(1);
    let calls = Arc::new(Calls::new(&load.run, args.rate.saturating_mul(total_s), accounts.count()));
    let (streams, watches) = (args.streams, args.watches);
    let addr = args.reading_addr().1.to_owned();
    let spread = Spread { streams, watches, accounts: accounts.clone(), addr };
    let mut readers = Readers::open(&spread, &reading, &calls, &stop).await?;
    let spend = |client| WatchedSpend {
        client,
        accounts: accounts.clone(),
        amount: args.amount,
        calls: Arc::clone(&calls),
    };
    let works: Vec<WatchedSpend> = clients.into_iter().map(spend).collect();
    calls.begin(load.warm_up);
    let measured = drive(&works, &load, Meter::try_new(load.total())?, &stop).await?;
    let (seen, times) = readers.end().await?;
    args.tell(&load, works.len(), measured, &seen, times.report(calls.last_arrivals())?)
}

impl WatchArgs {
    fn accounts(&self) -> u64 {
        self.accounts.unwrap_or(self.watches)
    }

    /// The flags that have to fit each other.
    fn check(&self, load: &Load) -> Result<(), Error> {
        let config = |setting, problem: String| Err(Error::Config { setting, problem });
        let targets = self.watches.div_ceil(self.streams);
        if self.watches < self.streams {
            return config("--watches", format!("must be at least --streams, which is {}", self.streams));
        }
        if targets > MAX_TARGETS {
            let least = self.watches.div_ceil(MAX_TARGETS);
            return config(
                "--streams",
                format!("must be at least {least}: a stream watches at most {MAX_TARGETS}"),
            );
        }
        if targets > self.accounts() {
            return config(
                "--accounts",
                format!(
                    "must be at least {targets}: a stream watches no balance twice (--watches / --streams)"
                ),
            );
        }
        if self.streams > self.connections.saturating_mul(MAX_STREAMS_OF_A_CONNECTION) {
            let least = self.streams.div_ceil(MAX_STREAMS_OF_A_CONNECTION);
            let most = MAX_STREAMS_OF_A_CONNECTION;
            return config(
                "--connections",
                format!("must be at least {least}: one has at most {most} streams"),
            );
        }
        if self.rate.saturating_mul(load.total().as_secs()) > MAX_CALLS {
            return config("--rate", format!("× (--warm-up + --duration) must be at most {MAX_CALLS} calls"));
        }
        Ok(())
    }

    /// Where the streams are read, and the flag that says so.
    fn reading_addr(&self) -> (&'static str, &str) {
        match &self.watch_addr {
            Some(addr) => ("--watch-addr", addr),
            None => ("--addr", &self.client.addr),
        }
    }

    /// The connections of the streams.
    async fn connect_readers(&self) -> Result<Vec<Client>, Error> {
        let (setting, addr) = self.reading_addr();
        connect_to(&self.client, setting, addr, size(self.connections.min(self.streams))).await
    }

    fn tell(
        &self,
        load: &Load,
        connections: usize,
        measured: Measured,
        seen: &Seen,
        times: TimesReport,
    ) -> Result<(), Error> {
        let Faults { lost, duplicates, out_of_order } = seen.faults;
        let more = WatchReport {
            streams: self.streams,
            watches: self.watches,
            delivered_per_second: per_second(times.delivered, measured.length),
            times,
            lost,
            duplicates,
            out_of_order,
            reconnects: seen.reconnects,
        };
        let report = Report::new("watch", load, connections, self.accounts(), measured);
        let text = more.text();
        report.tell(Some((&more, text)), self.client.json)?;
        if lost + duplicates + out_of_order == 0 {
            return Ok(());
        }
        Err(Error::bench(format!(
            "the streams were not as promised: {lost} versions lost, {duplicates} twice, {out_of_order} out of order"
        )))
    }
}

impl WatchReport {
    fn text(&self) -> String {
        [
            format!(
                "\n{:<12} {:>12}   {:.1} a second to {} watches over {} streams",
                "delivered", self.times.delivered, self.delivered_per_second, self.watches, self.streams
            ),
            row_of("  recorded", self.times.recorded_to_subscriber_us.as_ref()),
            row_of("  answered", self.times.ack_to_subscriber_us.as_ref()),
            row_of("  sent", self.times.call_to_subscriber_us.as_ref()),
            row_of("  to the last", self.times.call_to_last_subscriber_us.as_ref()),
            format!("{:<12} {:>12}   arrived before their answers", "", self.times.before_ack),
            format!(
                "{:<12} {:>12}   {} twice, {} out of order, {} reconnects",
                "lost", self.lost, self.duplicates, self.out_of_order, self.reconnects
            ),
        ]
        .join("\n")
    }
}
