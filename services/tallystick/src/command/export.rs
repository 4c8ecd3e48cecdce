//! `tallystick export`: one account's journal as a file that anybody can check.

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use proto::v1::{ExportEntriesRequest, ExportEntriesResponse};

use crate::client::{CallError, Client, ClientArgs};
use crate::error::Error;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  tallystick export user_1 > user_1.jsonl
  tallystick verify --file user_1.jsonl           needs no service: the customer can do it

One entry a line, as JSON with the field names of the proto files, oldest first, all units one
after the other. The credential needs the scope ledger.";

/// Entries asked for at once.
const PAGE_SIZE: i32 = 1000;

/// What to export.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExportArgs {
    /// The account.
    #[arg(value_name = "ACCOUNT")]
    account: String,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Exports page by page.
///
/// # Errors
/// [`Error::Call`] for a refusal or a service that is not there, [`Error::Config`], [`Error::Io`].
pub(crate) async fn run(args: ExportArgs) -> Result<(), Error> {
    let mut client = Client::connect(&args.client).await?;
    let bar = ProgressBar::new_spinner().with_style(ProgressStyle::default_spinner());
    let mut position = ExportEntriesRequest {
        account_prefix: args.account.clone(),
        page_size: PAGE_SIZE,
        ..ExportEntriesRequest::default()
    };
    loop {
        let page = client.service.export_entries(client.request(position.clone())).await;
        let page = page.map_err(CallError::refused(&args.client.addr))?.into_inner();
        // The account itself comes first of those that begin with its id.
        let (own, ended) = own(&page, &args.account);
        for entry in own {
            bar.suspend(|| output::line(&output::json::encode("Entry", entry)))?;
            bar.inc(1);
        }
        bar.set_message(format!("{} entries", bar.position()));
        let Some(last) = page.entries.last().filter(|_| !ended) else { break };
        position.after_account_id.clone_from(&last.account_id);
        position.after_unit.clone_from(&last.unit);
        position.after_version = last.version;
    }
    bar.finish_and_clear();
    output::note(&format!("{} entries", bar.position()));
    Ok(())
}

/// The account's entries of a page, and whether there are no more.
fn own<'a>(page: &'a ExportEntriesResponse, account: &str) -> (&'a [proto::v1::Entry], bool) {
    let count = page.entries.iter().take_while(|entry| entry.account_id == account).count();
    let own = page.entries.get(..count).unwrap_or_default();
    (own, page.end_reached || count < page.entries.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_ends_where_another_account_begins() {
        let entry = |id: &str| proto::v1::Entry { account_id: id.to_owned(), ..proto::v1::Entry::default() };
        let page = |ids: &[&str], end_reached| ExportEntriesResponse {
            entries: ids.iter().map(|id| entry(id)).collect(),
            end_reached,
        };
        let cases: [(&[&str], bool, usize, bool); 4] = [
            (&["user_1", "user_1"], false, 2, false),
            (&["user_1", "user_10"], false, 1, true),
            (&["user_10"], false, 0, true),
            (&["user_1"], true, 1, true),
        ];
        for (ids, end_reached, count, ended) in cases {
            let page = page(ids, end_reached);
            let (own, is_end) = own(&page, "user_1");
            assert_eq!((own.len(), is_end), (count, ended), "{ids:?}");
        }
    }
}
