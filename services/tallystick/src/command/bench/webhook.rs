//! `tallystick bench webhook`: how many signed Stripe events an edge takes, and how long they take.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Args;
use signature::Secret;
use stripe::Catalogue;

use super::DEFAULT_IN_FLIGHT;
use super::accounts::{Accounts, MAX_ACCOUNTS};
use super::drive::drive;
use super::load::{Load, LoadArgs};
use super::meter::Meter;
use super::report::Report;
use crate::clock;
use crate::error::Error;
use crate::process::Stop;
use crate::settings::webhook_secrets::DEV_SECRET;
use crate::settings::{catalogue_file, secret_file};

mod post;
mod template;

use post::{Events, Post, Target};
use template::Template;

const EXAMPLES: &str = "\
Examples:
  tallystick bench webhook                         the edge of `dev`, 64 connections
  tallystick bench webhook --rate 200 --duration 5m --json
  tallystick bench webhook --url http://127.0.0.1:3000/webhooks --webhook-secret whsec_…
                                                   another receiver of the same events

Every event is a paid checkout of its own: its credits are granted and stay. 2xx counts as done,
every other status as refused (HTTP_400).";

/// Where the edge of `dev` takes events.
const DEV_URL: &str = "http://127.0.0.1:7071/api/v1/webhooks/stripe";
/// The longest wait for an answer that may be asked for: an hour.
const MAX_TIMEOUT_MS: u64 = 3_600_000;
/// Parts of the generator; the connections are spread over them.
const LANES: usize = 4;

/// Which events, and where to.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WebhookArgs {
    /// Where the events are posted; each call in flight has a connection of its own.
    #[arg(long, env = "TALLYSTICK_WEBHOOK_URL", default_value = DEV_URL, value_name = "URL", help_heading = "Delivery")]
    url: String,
    /// How many accounts buy, each with the same chance.
    #[arg(
        long,
        default_value_t = 100_000,
        value_parser = clap::value_parser!(u64).range(1..=MAX_ACCOUNTS),
        value_name = "N",
        help_heading = "Accounts"
    )]
    accounts: u64,
    /// The accounts are named by it and a number from 0.
    #[arg(long, default_value = "bench_", value_name = "PREFIX", help_heading = "Accounts")]
    account_prefix: String,
    /// What they buy: a pack of the catalogue.
    #[arg(long, default_value = "starter", value_name = "PACK", help_heading = "Delivery")]
    pack: String,
    /// The catalogue that prices the pack; that of `dev` without it.
    #[arg(long, env = "TALLYSTICK_CATALOGUE", value_name = "FILE", help_heading = "Delivery")]
    catalogue: Option<PathBuf>,
    /// A file with the endpoint's signing secret; wins over the secret itself.
    #[arg(long, env = "TALLYSTICK_WEBHOOK_SECRET_FILE", value_name = "FILE", help_heading = "Delivery")]
    webhook_secret_file: Option<PathBuf>,
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
    /// How long an answer may take, in milliseconds.
    #[arg(
        long,
        default_value_t = 10_000,
        value_parser = clap::value_parser!(u64).range(1..=MAX_TIMEOUT_MS),
        value_name = "MS",
        help_heading = "Delivery"
    )]
    timeout_ms: u64,
    #[command(flatten)]
    load: LoadArgs,
    /// Print the result as one JSON object, whose fields docs/bench.md explains
    #[arg(long)]
    pub(crate) json: bool,
}

/// Measures.
///
/// # Errors
/// [`Error::Config`] or [`Error::File`] for what cannot be used, [`Error::Bench`] when no call was answered 2xx.
pub(crate) async fn run(args: WebhookArgs) -> Result<(), Error> {
    let load = args.load.load(DEFAULT_IN_FLIGHT);
    let events = Arc::new(args.events(&load)?);
    let stop = Stop::listen()?;
    let works = vec![Post::new(Arc::clone(&events)); load.connections(u64::MAX).min(LANES)];
    let measured = drive(&works, &load, Meter::try_new(load.total())?, &stop).await?;
    let opened = events.opened.load(Ordering::Relaxed);
    Report::new("webhook", &load, opened, args.accounts, measured).tell::<()>(None, args.json)
}

impl WebhookArgs {
    fn events(&self, load: &Load) -> Result<Events, Error> {
        let config = |setting: &'static str, problem: String| Error::Config { setting, problem };
        let catalogue = match &self.catalogue {
            Some(path) => catalogue_file::read(path)?,
            None => Catalogue::dev().map_err(|error| config("--catalogue", error.to_string()))?,
        };
        let pack = catalogue.lookup_pack(&self.pack).ok_or_else(|| {
            let packs: Vec<&str> = catalogue.packs().map(stripe::Offer::id).collect();
            config(
                "--pack",
                format!("{:?} is not in the catalogue, which has: {}", self.pack, packs.join(", ")),
            )
        })?;
        let (setting, secret) = match &self.webhook_secret_file {
            Some(path) => ("--webhook-secret-file", secret_file::read_one("--webhook-secret-file", path)?),
            None => ("--webhook-secret", self.webhook_secret.clone()),
        };
        let secret = Secret::try_new(&secret);
        Ok(Events {
            target: Target::try_new(&self.url)?,
            template: Template::try_new(pack, clock::unix_s())?,
            accounts: Accounts::try_new(
                &self.account_prefix,
                pack.unit().as_str(),
                self.accounts,
                load.seed,
            )?,
            secret: secret.map_err(|error| config(setting, format!("cannot be used: {error}")))?,
            timeout: Duration::from_millis(self.timeout_ms),
            run: load.run.clone(),
            opened: AtomicUsize::new(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_without_a_flag_is_that_of_the_edge() {
        assert!(DEV_URL.ends_with(edge::WEBHOOK_PATH), "{}", edge::WEBHOOK_PATH);
    }
}
