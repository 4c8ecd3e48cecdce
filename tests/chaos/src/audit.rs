//! The end of a run: the final journal as it lies in the database, and the database's own audits.

use std::path::Path;
use std::time::Duration;

use harness::Process;
use sqlx::postgres::PgPoolOptions;

use crate::history::Event;
use crate::source::ask;
use crate::world::World;

/// A verification of an hour's journal stays far below.
const VERIFY_LIMIT: Duration = Duration::from_secs(300);

/// Every entry, as a line of a history.
const ENTRIES: &str = r"
    select jsonb_build_object('e', 'entry', 'account', substr(account_id, 7)::int, 'version', version,
        'hash', left(encode(entry_hash, 'hex'), 16),
        'operation', 'op_' || replace(operation_id::text, '-', ''),
        'index', operation_index, 'size', operation_size, 'kind', kind,
        'delta', jsonb_build_array(available_delta, held_delta, scheduled_delta, debt_delta),
        'after', jsonb_build_array(available, held, scheduled, debt))::text
    from entries where account_id like 'chaos\_%' order by account_id, version";
/// Every key, as a line of a history.
const OPERATIONS: &str = r"
    select jsonb_build_object('e', 'operation', 'account', substr(account_id, 7)::int, 'key', idempotency_key,
        'operation', 'op_' || replace(operation_id::text, '-', ''),
        'first', first_version, 'count', entry_count)::text
    from operations where account_id like 'chaos\_%' order by account_id, first_version";

/// Writes the final journal to the history.
pub(crate) async fn export(world: &World) -> Result<(), String> {
    for statement in [ENTRIES, OPERATIONS] {
        for line in world.source.ask(statement).await.map_err(|error| error.to_string())? {
            let event: Event = serde_json::from_str(&line).map_err(|error| format!("{error}: {line}"))?;
            world.recorder.record(event);
        }
    }
    Ok(())
}

/// Has the program verify the database, and checks the invariants that SQL can see. A restore empties the outbox, so
/// after one those do not hold that want it whole.
pub(crate) async fn audit(world: &World, program: &Path, outbox_is_whole: bool) {
    let url = world.source.url();
    let variables = [("TALLYSTICK_DATABASE_URL", url.as_str())];
    let mut process = Process::start_program(program, &["verify"], &variables, 100);
    let told = process.rest(VERIFY_LIMIT).await.join(" ");
    let passed = process.ended(VERIFY_LIMIT).await.success();
    let said = if passed { told } else { process.all_stderr(VERIFY_LIMIT).await };
    world.recorder.record(Event::Audit { name: "tallystick verify".to_owned(), passed, said });
    if outbox_is_whole {
        // It panics with what it finds.
        let checked = tokio::spawn(async move {
            let pool = PgPoolOptions::new().max_connections(1).connect(&url).await.expect("connect");
            harness::assert_invariants(&pool).await;
        });
        let checked = checked.await;
        let (passed, said) = (checked.is_ok(), checked.err().map(panic_text).unwrap_or_default());
        world.recorder.record(Event::Audit { name: "invariants".to_owned(), passed, said });
    }
}

/// What a task panicked with.
pub(crate) fn panic_text(error: tokio::task::JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "cancelled".to_owned() };
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "a panic without a text".to_owned())
}

/// Version and hash of every balance, as the newest that a reader can have.
pub(crate) async fn heads(world: &World) -> Result<crate::world::Places, sqlx::Error> {
    let heads = r"select substr(account_id, 7) || ' ' || version || ' ' || left(encode(entry_hash, 'hex'), 16)
        from balances where account_id like 'chaos\_%'";
    let rows = ask(&world.source.superuser_url(), heads).await?;
    let parsed = rows.iter().filter_map(|row| {
        let mut words = row.split(' ');
        let (account, version) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let hash = u64::from_str_radix(words.next()?, 16).ok()?;
        Some((account, (version, crate::history::Hash(hash))))
    });
    Ok(parsed.collect())
}
