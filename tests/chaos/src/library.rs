//! A reader with the client library, which checks the contract by itself.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use client::{Update, Watcher};
use proto::v1::WatchTarget;

use crate::history::{Event, Hash};
use crate::reader::Seen;
use crate::world::{Phase, UNIT, World, account_id, account_of};

/// Reads until the end. What it thinks to have shows in `seen`.
pub(crate) async fn run(world: Arc<World>, seen: Seen) {
    let builder = Watcher::builder().bookmark_interval(Duration::from_secs(1));
    let builder = world
        .replicas
        .iter()
        .fold(builder, |builder, replica| builder.endpoint(format!("http://{}", replica.addr())));
    let target = |account| WatchTarget {
        account_id: account_id(account),
        unit: UNIT.to_owned(),
        after_version: Some(0),
        ..WatchTarget::default()
    };
    let built = (1..=world.accounts).map(target).fold(builder, client::Builder::target).build();
    let mut watcher = match built {
        Ok(watcher) => watcher,
        Err(error) => return say(&world, &error.to_string()),
    };
    *seen.lock().unwrap_or_else(PoisonError::into_inner) =
        Some((1..=world.accounts).map(|account| (account, Default::default())).collect());
    let mut phase = world.phase.subscribe();
    loop {
        let update = tokio::select! {
            update = watcher.next() => update,
            _ = phase.wait_for(|phase| *phase >= Phase::End) => return,
        };
        let place = match update {
            Some(Ok(Update::Snapshot { balance, .. })) => {
                Some((balance.account_id, balance.version, Hash::of(&balance.entry_hash)))
            }
            Some(Ok(Update::Changes { account_id, entries, .. })) => {
                entries.last().map(|entry| (account_id, entry.version, Hash::of(&entry.entry_hash)))
            }
            Some(Ok(_)) => None,
            Some(Err(error)) => return say(&world, &error.to_string()),
            None => return say(&world, "it ended without an error"),
        };
        if let Some((account, version, hash)) = place
            && let Some(seen) = seen.lock().unwrap_or_else(PoisonError::into_inner).as_mut()
        {
            seen.insert(account_of(&account), (version, hash));
        }
    }
}

fn say(world: &World, said: &str) {
    world.recorder.record(Event::Library { said: said.to_owned() });
}
