//! `tallystick simulate`: delivers events as Stripe does, to a running edge.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use domain::AccountId;
use futures::{StreamExt, stream};
use signature::Secret;
use stripe::Catalogue;

use crate::clock;
use crate::error::Error;
use crate::output;
use crate::settings::catalogue_file;
use crate::settings::webhook_secrets::DEV_SECRET;

mod deliver;
mod plan;

use deliver::{Deliverer, Outcome};
use plan::Delivery;

/// Most deliveries of one command: enough to hammer an edge, few enough to be an accident only once.
const MAX_DUPLICATES: u64 = 9_999;
/// Most deliveries at once: each is a connection.
const MAX_CONCURRENCY: u64 = 256;
/// Most tries of one delivery.
const MAX_ATTEMPTS: u64 = 10;
/// Longest pause between two deliveries: a minute.
const MAX_DELAY_MS: u64 = 60_000;

const EXAMPLES: &str = "\
Examples:
  tallystick simulate checkout --account user_1 --pack starter
  tallystick simulate checkout --account user_1 --pack starter --duplicates 9 --concurrency 10
      the same event ten times, at once: one grant
  tallystick simulate checkout --account user_1 --pack starter --duplicates 9 --new-event-ids
      ten events of one session: one grant
  tallystick simulate checkout --account user_1 --pack starter --async --order reversed
      a late payment whose events come in the wrong order
  tallystick simulate checkout --account user_1 --pack starter --subtotal 1
      a wrong amount: accepted, parked, no grant

An answer of 5xx, or none, is tried again with a new signature, as Stripe does, but sooner. Exits
with 1 unless every delivery was answered with 2xx, which says that it is committed.";

/// What to simulate.
#[derive(Debug, Subcommand)]
pub(crate) enum Simulate {
    /// A customer pays for a pack in Stripe Checkout
    Checkout(CheckoutArgs),
}

/// In which order the deliveries are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Order {
    /// As they happened.
    Happened,
    /// The last one first.
    Reversed,
    /// Any.
    Shuffled,
}

/// Which checkout, and how it is delivered.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CheckoutArgs {
    /// Who buys.
    #[arg(long, value_name = "ACCOUNT")]
    account: String,
    /// What: a pack of the catalogue.
    #[arg(long, value_name = "PACK")]
    pack: String,
    /// How many of it.
    #[arg(long, default_value_t = 1, value_name = "N", allow_negative_numbers = true)]
    quantity: i64,
    /// The catalogue that prices the pack; that of `dev` without it.
    #[arg(long, env = "TALLYSTICK_CATALOGUE", value_name = "FILE")]
    catalogue: Option<PathBuf>,
    /// The session's id, to deliver another event of the same session later; a new one without it.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// The session is complete, but the money is still on its way.
    #[arg(long, conflicts_with = "late")]
    unpaid: bool,
    /// The same, and then the event that the money has arrived.
    #[arg(long = "async")]
    late: bool,
    /// Claim this subtotal (minor units) instead of the catalogue's price.
    #[arg(long, value_name = "AMOUNT", allow_negative_numbers = true)]
    subtotal: Option<i64>,
    /// Claim this currency instead of the catalogue's.
    #[arg(long, value_name = "CODE")]
    currency: Option<String>,
    /// Claim to be about real money.
    #[arg(long)]
    livemode: bool,
    /// Deliver each event this many times more.
    #[arg(
        long,
        default_value_t = 0,
        value_parser = clap::value_parser!(u64).range(..=MAX_DUPLICATES),
        value_name = "N",
        help_heading = "Delivery"
    )]
    duplicates: u64,
    /// Give each duplicate an event id of its own.
    #[arg(long, help_heading = "Delivery")]
    new_event_ids: bool,
    /// Deliveries at once.
    #[arg(
        long,
        default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(1..=MAX_CONCURRENCY),
        value_name = "N",
        help_heading = "Delivery"
    )]
    concurrency: u64,
    /// Wait this long before each delivery, in milliseconds.
    #[arg(
        long,
        default_value_t = 0,
        value_parser = clap::value_parser!(u64).range(..=MAX_DELAY_MS),
        value_name = "MS",
        help_heading = "Delivery"
    )]
    delay_ms: u64,
    /// In which order they are sent.
    #[arg(long, value_enum, default_value = "happened", value_name = "ORDER", help_heading = "Delivery")]
    order: Order,
    /// How often a delivery is tried before it is given up.
    #[arg(
        long,
        default_value_t = 4,
        value_parser = clap::value_parser!(u64).range(1..=MAX_ATTEMPTS),
        value_name = "N",
        help_heading = "Delivery"
    )]
    attempts: u64,
    /// Where the edge listens, as host:port.
    #[arg(
        long,
        env = "TALLYSTICK_EDGE_ADDR",
        default_value = "127.0.0.1:7071",
        value_name = "HOST:PORT",
        help_heading = "Delivery"
    )]
    edge_addr: String,
    /// The endpoint's signing secret; that of `dev` without it.
    #[arg(
        long,
        env = "TALLYSTICK_WEBHOOK_SECRET",
        hide_env_values = true,
        default_value = DEV_SECRET,
        value_name = "SECRET",
        help_heading = "Delivery"
    )]
    webhook_secret: String,
    /// Print JSON, one object a line for each delivery.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Delivers.
///
/// # Errors
/// [`Error::Config`] for a purchase that cannot be made, [`Error::NotDelivered`].
pub(crate) async fn run(args: &CheckoutArgs) -> Result<(), Error> {
    let deliveries = deliveries(args)?;
    let secret = Secret::try_new(&args.webhook_secret).map_err(|error| Error::Config {
        setting: "--webhook-secret",
        problem: format!("cannot be used: {error}"),
    })?;
    let deliverer = Deliverer::try_new(&args.edge_addr, secret, args.attempts)?;
    let total = deliveries.len();
    if !args.json {
        output::line(&Outcome::header())?;
    }
    let deliverer = &deliverer;
    let delay = Duration::from_millis(args.delay_ms);
    let spaced = stream::iter(deliveries).then(|delivery| async move {
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        delivery
    });
    let at_once = usize::try_from(args.concurrency).unwrap_or(1);
    let outcomes = spaced.map(|delivery| deliverer.deliver(delivery)).buffer_unordered(at_once);
    let mut outcomes = std::pin::pin!(outcomes);
    let (mut failed, mut hint) = (0, None);
    while let Some(outcome) = outcomes.next().await {
        output::line(&if args.json { outcome.json() } else { outcome.row() })?;
        failed += usize::from(!outcome.is_accepted());
        hint = outcome.hint().or(hint);
    }
    if failed > 0 {
        return Err(Error::NotDelivered { failed, total, hint });
    }
    if !args.json && !args.unpaid {
        output::note(&format!("try: tallystick balance {}", args.account));
    }
    Ok(())
}

fn deliveries(args: &CheckoutArgs) -> Result<Vec<Delivery>, Error> {
    let config = |setting: &'static str, problem: String| Error::Config { setting, problem };
    let account = AccountId::try_new(args.account.as_str())
        .map_err(|invalid| config("--account", invalid.problem.to_string()))?;
    let catalogue = match &args.catalogue {
        Some(path) => catalogue_file::read(path)?,
        None => Catalogue::dev().map_err(|error| config("--catalogue", error.to_string()))?,
    };
    let pack = catalogue.lookup_pack(&args.pack).ok_or_else(|| {
        let packs: Vec<&str> = catalogue.packs().map(stripe::Offer::id).collect();
        config("--pack", format!("{:?} is not in the catalogue, which has: {}", args.pack, packs.join(", ")))
    })?;
    let session = args.session.clone().unwrap_or_else(clock::new_id);
    let mut deliveries = plan::deliveries(args, &account, pack, &session)?;
    match args.order {
        Order::Happened => {}
        Order::Reversed => deliveries.reverse(),
        Order::Shuffled => shuffle(&mut deliveries),
    }
    Ok(deliveries)
}

/// Fisher and Yates.
fn shuffle<T>(list: &mut [T]) {
    for last in (1..list.len()).rev() {
        let chosen = clock::random_below(u64::try_from(last).unwrap_or(0) + 1);
        list.swap(last, usize::try_from(chosen).unwrap_or(last));
    }
}
