//! `tallystick events`: the inbox of Stripe events, for operators. Directly on the database, as `verify`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use store::{EventFilter, EventState, Policy, Replay, Store, StoreOptions, StoredEvent};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::error::Error;
use crate::output;
use crate::output::{plain, stamp};

const EXAMPLES: &str = "\
Examples:
  tallystick events list --state parked           what somebody must look at, newest first
  tallystick events list --account user_1 --type charge. --json
  tallystick events show evt_1                    one event: where it stands and why
  tallystick events show evt_1 --body             its raw body, which has personal data
  tallystick events replay evt_1                  try it again now

A running credits role tries a replayed event under its own catalogue; an event that was applied is
left alone. The database comes from TALLYSTICK_DATABASE_URL or --database-url.";

/// How often the outcome of a replay is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What to do.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum EventsCommand {
    /// Show events, newest first
    List(ListArgs),
    /// Show one event
    Show(ShowArgs),
    /// Let an event be tried again now
    Replay(ReplayArgs),
}

/// Where the inbox is.
#[derive(Debug, Args)]
pub(crate) struct DatabaseArgs {
    /// The database, as postgres://user:password@host:port/name.
    #[arg(long, env = "TALLYSTICK_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: String,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Which events.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only those in this state.
    #[arg(long, value_name = "STATE")]
    state: Option<State>,
    /// Only those whose type begins with this.
    #[arg(long, value_name = "PREFIX")]
    r#type: Option<String>,
    /// Only those of this account.
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// Only those that came before this event: where the page before ended.
    #[arg(long, value_name = "EVENT")]
    before: Option<String>,
    /// Most events to show.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000), value_name = "N")]
    limit: u16,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Which event.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The event's id.
    #[arg(value_name = "EVENT")]
    event: String,
    /// Show its raw body alone, as it came.
    #[arg(long)]
    body: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Which event.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The event's id.
    #[arg(value_name = "EVENT")]
    event: String,
    /// How long to wait for the outcome, in seconds.
    #[arg(long, default_value_t = 15, value_name = "SECONDS")]
    wait_s: u16,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    Applied,
    Ignored,
    Parked,
    Failed,
}

impl From<State> for EventState {
    fn from(state: State) -> Self {
        match state {
            State::Applied => Self::Applied,
            State::Ignored => Self::Ignored,
            State::Parked => Self::Parked,
            State::Failed => Self::Failed,
        }
    }
}

impl EventsCommand {
    /// Does it.
    ///
    /// # Errors
    /// [`Error::Database`]; [`Error::Config`] for an event that is not there.
    pub(crate) async fn run(self) -> Result<(), Error> {
        match self {
            Self::List(args) => list(args).await,
            Self::Show(args) => show(args).await,
            Self::Replay(args) => replay(args).await,
        }
    }

    /// Whether its user is a program.
    pub(crate) const fn wants_json(&self) -> bool {
        match self {
            Self::List(args) => args.database.json,
            Self::Show(args) => args.database.json,
            Self::Replay(args) => args.database.json,
        }
    }
}

fn unusable(source: store::StoreError) -> Error {
    Error::Database { setting: "--database-url", source }
}

fn open(args: &DatabaseArgs) -> Result<Store, Error> {
    let options = StoreOptions {
        database_url: args.database_url.clone(),
        lanes: 1,
        read_connections: 1,
        policy: Policy::new(credits::encode_entry),
    };
    Store::open(options).map_err(unusable)
}

async fn list(args: ListArgs) -> Result<(), Error> {
    let store = open(&args.database)?;
    let filter = EventFilter {
        state: args.state.map(EventState::from),
        type_prefix: args.r#type,
        account_id: args.account,
        before: args.before,
    };
    let page = store.list_events(&filter, usize::from(args.limit)).await.map_err(unusable)?;
    if args.database.json {
        for event in &page.events {
            output::line(&as_json(event).to_string())?;
        }
    } else {
        output::line(&header())?;
        for event in &page.events {
            output::line(&row(event))?;
        }
    }
    if let Some(next) = page.next {
        output::note(&format!("there may be more: --before {}", plain::shown(&next)));
    }
    Ok(())
}

async fn show(args: ShowArgs) -> Result<(), Error> {
    let found = open(&args.database)?.lookup_event(&args.event).await.map_err(unusable)?;
    let Some((event, body)) = found else { return Err(unknown()) };
    if args.body {
        let body = body.ok_or_else(|| refused("its body is gone (90 days, or erased with its account)"))?;
        return output::line(&String::from_utf8_lossy(&body));
    }
    print(&event, args.database.json)
}

async fn replay(args: ReplayArgs) -> Result<(), Error> {
    let store = open(&args.database)?;
    let before = store.lookup_event(&args.event).await.map_err(unusable)?.map(|(event, _)| event.attempts);
    match store.replay_event(&args.event).await.map_err(unusable)? {
        Replay::Queued => {}
        Replay::Unknown => return Err(unknown()),
        Replay::Applied => output::note("it was applied already; nothing is left to do"),
        Replay::BodyGone => return Err(refused("its body is gone: let Stripe send it again")),
    }
    let until = Instant::now() + Duration::from_secs(u64::from(args.wait_s));
    loop {
        let found = store.lookup_event(&args.event).await.map_err(unusable)?;
        let Some((event, _)) = found else { return Err(unknown()) };
        // A try moves the attempts on before it begins, and the outcome when it has ended.
        let is_tried = event.state != EventState::Parked
            || (before.is_some_and(|before| event.attempts > before) && event.outcome != "replay_asked");
        if is_tried || Instant::now() >= until {
            if !is_tried {
                output::note("nobody has tried it yet: is a credits role running?");
            }
            return print(&event, args.database.json);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn unknown() -> Error {
    refused("is not in the inbox: it never came, or its signature was refused")
}

fn refused(problem: &str) -> Error {
    Error::Config { setting: "EVENT", problem: problem.to_owned() }
}

fn time_text(time: OffsetDateTime) -> String {
    let nanos = i32::try_from(time.nanosecond()).unwrap_or(0);
    stamp::shown(Some(&prost_types::Timestamp { seconds: time.unix_timestamp(), nanos }))
}

fn header() -> String {
    format!("{:<24}  {:<8}  {:<28}  {:<36}  EVENT", "RECEIVED", "STATE", "OUTCOME", "TYPE")
}

fn row(event: &StoredEvent) -> String {
    format!(
        "{}  {:<8}  {:<28}  {:<36}  {}",
        time_text(event.received_at),
        event.state.name(),
        plain::shown(&event.outcome),
        plain::shown(&event.event_type),
        plain::shown(&event.event_id),
    )
}

fn print(event: &StoredEvent, json: bool) -> Result<(), Error> {
    let value = as_json(event);
    if json {
        return output::line(&value.to_string());
    }
    let Value::Object(fields) = value else { return Ok(()) };
    for (name, value) in fields {
        let text = value.as_str().map_or_else(|| value.to_string(), plain::shown);
        output::line(&format!("{name:<16} {}", if value.is_null() { "-" } else { &text }))?;
    }
    Ok(())
}

fn as_json(event: &StoredEvent) -> Value {
    let time = |time: Option<OffsetDateTime>| time.map(time_text);
    json!({
        "event_id": event.event_id,
        "type": event.event_type,
        "state": event.state.name(),
        "outcome": event.outcome,
        "attempts": event.attempts,
        "next_attempt_at": time(event.next_attempt_at),
        "account_id": event.account_id,
        "operation_id": event.operation_id.map(|id| domain::OperationId::from_uuid(id).to_string()),
        "livemode": event.livemode,
        "api_version": event.api_version,
        "created_at": time_text(event.created_at),
        "received_at": time_text(event.received_at),
        "resolved_at": time(event.resolved_at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parked() -> StoredEvent {
        StoredEvent {
            event_id: "evt_1".to_owned(),
            event_type: "x\u{1b}[2J".to_owned(),
            created_at: OffsetDateTime::UNIX_EPOCH,
            livemode: false,
            api_version: None,
            state: EventState::Parked,
            outcome: "pack_unknown".to_owned(),
            attempts: 3,
            next_attempt_at: Some(OffsetDateTime::UNIX_EPOCH),
            account_id: None,
            operation_id: None,
            received_at: OffsetDateTime::UNIX_EPOCH,
            resolved_at: None,
        }
    }

    #[test]
    fn an_event_is_a_line_for_people_and_an_object_for_programs() {
        let shown = row(&parked());
        assert!(shown.starts_with("1970-01-01T00:00:00.000Z  parked    pack_unknown"), "{shown}");
        assert!(shown.ends_with("evt_1") && !shown.contains('\u{1b}'), "{shown}");
        let object = as_json(&parked());
        assert_eq!((&object["state"], &object["attempts"]), (&json!("parked"), &json!(3)));
        assert!(object["account_id"].is_null() && object["resolved_at"].is_null());
    }
}
