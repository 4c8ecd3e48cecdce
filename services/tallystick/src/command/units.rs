//! `tallystick units`: what the catalogue declares.

use clap::Args;
use proto::v1::{ListUnitsRequest, UnitDefinition};

use crate::client::{CallError, Client, ClientArgs};
use crate::error::Error;
use crate::output::{self, plain};

const EXAMPLES: &str = "\
Examples:
  tallystick units
  tallystick units --json                         one object a line

Amounts are whole numbers of a unit's smallest step; SCALE decimals of them are shown to people:
with scale 2 an amount of 1250 is 12.50.";

/// Where to ask.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct UnitsArgs {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Reads and shows them, by name.
///
/// # Errors
/// [`Error::Call`] for a refusal or a service that is not there, [`Error::Config`].
pub(crate) async fn run(args: &UnitsArgs) -> Result<(), Error> {
    let mut client = Client::connect(&args.client).await?;
    let answer = client.service.list_units(client.request(ListUnitsRequest {})).await;
    let units = answer.map_err(CallError::refused(&args.client.addr))?.into_inner().units;
    if !args.client.json {
        output::line(&line("UNIT", "SCALE", "NAME"))?;
    }
    for unit in &units {
        if args.client.json {
            output::line(&output::json::encode("UnitDefinition", unit))?;
        } else {
            output::line(&row(unit))?;
        }
    }
    Ok(())
}

fn row(unit: &UnitDefinition) -> String {
    line(&plain::shown(&unit.unit), &unit.scale.to_string(), &plain::shown(&unit.display_name))
}

fn line(unit: &str, scale: &str, name: &str) -> String {
    format!("{unit:<24}  {scale:>5}  {name}").trim_end().to_owned()
}
