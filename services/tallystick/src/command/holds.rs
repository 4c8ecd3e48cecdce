//! `tallystick holds`: the holds of a balance, newest first.

use clap::Args;
use proto::v1::ListHoldsRequest;

use crate::client::{CallError, Client, ClientArgs};
use crate::error::Error;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  tallystick holds user_1                         what is reserved, and until when
  tallystick holds user_1 --closed                also what was captured, released or is over
  tallystick holds user_1 --json                  one object a line

`tallystick history ACCOUNT --hold ID` shows what became of one.";

/// Holds asked for at once.
const PAGE_SIZE: i32 = 500;

/// Which holds.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct HoldsArgs {
    /// The account.
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// What is counted.
    #[arg(long, default_value = "credits", value_name = "UNIT")]
    unit: String,
    /// Show closed ones, too.
    #[arg(long, visible_alias = "all")]
    closed: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Reads page by page, and shows each as it comes.
///
/// # Errors
/// [`Error::Call`] for a refusal or a service that is not there, [`Error::Config`].
pub(crate) async fn run(args: HoldsArgs) -> Result<(), Error> {
    let mut client = Client::connect(&args.client).await?;
    if !args.client.json {
        output::line(&output::hold::header())?;
    }
    let mut request = ListHoldsRequest {
        account_id: args.account,
        unit: args.unit,
        page_size: PAGE_SIZE,
        page_token: String::new(),
        include_closed: args.closed,
    };
    loop {
        let page = client.service.list_holds(client.request(request.clone())).await;
        let page = page.map_err(CallError::refused(&args.client.addr))?.into_inner();
        for hold in &page.holds {
            if args.client.json {
                output::line(&output::json::encode("Hold", hold))?;
            } else {
                output::line(&output::hold::row(hold))?;
            }
        }
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}
