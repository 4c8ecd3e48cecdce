//! `tallystick grants`: the lots of a balance, newest first.

use clap::Args;
use proto::v1::{GrantKind, ListGrantsRequest};

use crate::client::{CallError, Client, ClientArgs};
use crate::command::grant::Kind;
use crate::error::Error;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  tallystick grants user_1                        what there is left, and when it expires
  tallystick grants user_1 --closed               also what is used up or expired
  tallystick grants user_1 --kind purchase --json one object a line

Grants are used by priority (lower first), then soonest expiry, then kind, then age;
`tallystick history ACCOUNT --grant ID` shows what became of one.";

/// Lots asked for at once.
const PAGE_SIZE: i32 = 500;

/// Which lots.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct GrantsArgs {
    /// The account.
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// What is counted.
    #[arg(long, default_value = "credits", value_name = "UNIT")]
    unit: String,
    /// Show those of which nothing remains, too.
    #[arg(long)]
    closed: bool,
    /// Only grants of this kind; may be given several times.
    #[arg(long, value_enum, value_name = "KIND")]
    kind: Vec<Kind>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Reads page by page, and shows each as it comes.
///
/// # Errors
/// [`Error::Call`] for a refusal or a service that is not there, [`Error::Config`].
pub(crate) async fn run(args: GrantsArgs) -> Result<(), Error> {
    let mut client = Client::connect(&args.client).await?;
    if !args.client.json {
        output::line(&output::grant::header())?;
    }
    let mut request = ListGrantsRequest {
        account_id: args.account,
        unit: args.unit,
        page_size: PAGE_SIZE,
        page_token: String::new(),
        include_closed: args.closed,
        kinds: args.kind.iter().map(|kind| GrantKind::from(*kind).into()).collect(),
    };
    loop {
        let page = client.service.list_grants(client.request(request.clone())).await;
        let page = page.map_err(CallError::refused(&args.client.addr))?.into_inner();
        for grant in &page.grants {
            if args.client.json {
                output::line(&output::json::encode("Grant", grant))?;
            } else {
                output::line(&output::grant::row(grant))?;
            }
        }
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}
