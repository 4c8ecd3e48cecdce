//! All streams of a run of `bench watch`: which balances each watches, and what all of them have shown together.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::ProgressBar;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::super::accounts::Accounts;
use super::super::meter;
use super::calls::Calls;
use super::reader::{Reader, Seen, Shared};
use super::times::Times;
use crate::client::Client;
use crate::error::Error;
use crate::process::Stop;

/// Streams that are opened at once: each makes the service read a thousand balances.
const OPENING: usize = 32;
/// How long a service may take to open all streams.
const OPEN_LIMIT: Duration = Duration::from_secs(120);
/// Histograms of the readers: enough that few wait for each other.
const PARTS: usize = 16;

/// Who watches what.
#[derive(Debug)]
pub(super) struct Spread {
    /// How many streams.
    pub(super) streams: u64,
    /// How many balances they watch together.
    pub(super) watches: u64,
    /// Those that change.
    pub(super) accounts: Accounts,
    /// Where the streams are read.
    pub(super) addr: String,
}

impl Spread {
    /// The accounts that a stream watches: its share of all watches, which go around the accounts.
    fn targets(&self, stream: u64) -> impl Iterator<Item = u64> {
        let first = |stream: u64| stream * self.watches / self.streams;
        let count = self.accounts.count();
        (first(stream)..first(stream + 1)).map(move |target| target % count)
    }
}

/// The streams of a run.
pub(super) struct Readers {
    tasks: JoinSet<Result<Seen, Error>>,
    parts: Vec<Arc<Mutex<Times>>>,
    ended: CancellationToken,
}

impl Readers {
    /// Opens all streams over these connections, and waits until every one has its snapshots.
    ///
    /// # Errors
    /// [`Error::Call`] when the service refuses one, [`Error::Bench`] when it takes too long or the user stops it.
    pub(super) async fn open(
        spread: &Spread,
        clients: &[Client],
        calls: &Arc<Calls>,
        stop: &Stop,
    ) -> Result<Self, Error> {
        let (open, opened) = mpsc::unbounded_channel();
        let ended = CancellationToken::new();
        let shared = Arc::new(Shared {
            accounts: spread.accounts.clone(),
            calls: Arc::clone(calls),
            addr: spread.addr.clone(),
            opening: Semaphore::new(OPENING),
            open,
            ended: ended.clone(),
        });
        let parts = (0..PARTS).map(|_| Times::try_new().map(|times| Arc::new(Mutex::new(times))));
        let parts: Vec<Arc<Mutex<Times>>> = parts.collect::<Result<_, Error>>()?;
        let mut tasks = JoinSet::new();
        for ((stream, client), part) in
            (0..spread.streams).zip(clients.iter().cycle()).zip(parts.iter().cycle())
        {
            let targets = spread.targets(stream);
            let reader = Reader::new(client.clone(), Arc::clone(&shared), Arc::clone(part), targets);
            tasks.spawn(reader.read());
        }
        let mut readers = Self { tasks, parts, ended };
        readers.wait(spread.streams, opened, stop).await?;
        Ok(readers)
    }

    /// Until this many streams have their snapshots.
    async fn wait(
        &mut self,
        streams: u64,
        mut opened: mpsc::UnboundedReceiver<()>,
        stop: &Stop,
    ) -> Result<(), Error> {
        let bar = ProgressBar::new(streams).with_style(meter::style("{bar:32} {pos}/{len} streams open")?);
        let late = tokio::time::sleep(OPEN_LIMIT);
        let mut late = std::pin::pin!(late);
        while bar.position() < streams {
            tokio::select! {
                Some(()) = opened.recv() => bar.inc(1),
                // None ends before the load does, unless it has failed.
                Some(ended) = self.tasks.join_next() => { joined(ended)?; }
                () = &mut late => {
                    let (open, limit) = (bar.position(), OPEN_LIMIT.as_secs());
                    return Err(Error::bench(format!("{open} of {streams} streams were open after {limit} s")));
                }
                () = stop.asked() => {
                    return Err(Error::bench("stopped while the streams were opened: nothing was measured".into()));
                }
            }
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// The load has ended: waits for what was acknowledged, and adds up.
    ///
    /// # Errors
    /// [`Error::Call`] when the service has refused a stream for good meanwhile.
    pub(super) async fn end(&mut self) -> Result<(Seen, Times), Error> {
        self.ended.cancel();
        let mut all = Seen::default();
        while let Some(ended) = self.tasks.join_next().await {
            let seen = joined(ended)?;
            all.faults.add(seen.faults);
            all.reconnects += seen.reconnects;
        }
        let mut times = Times::try_new()?;
        for part in &self.parts {
            times.merge(&part.lock().unwrap_or_else(PoisonError::into_inner));
        }
        Ok((all, times))
    }
}

fn joined(ended: Result<Result<Seen, Error>, JoinError>) -> Result<Seen, Error> {
    ended.map_err(|error| Error::bench(format!("a reader broke: {error}")))?
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_watch_belongs_to_one_stream_and_no_stream_watches_an_account_twice() {
        for (streams, watches, count) in [(3, 30, 15), (10, 1000, 1000), (7, 100, 15), (4, 4, 1), (3, 10, 50)]
        {
            let accounts = Accounts::try_new("bench_", "credits", count, 1).unwrap();
            let spread = Spread { streams, watches, accounts, addr: String::new() };
            let all: Vec<Vec<u64>> = (0..streams).map(|stream| spread.targets(stream).collect()).collect();
            assert_eq!(all.iter().map(Vec::len).sum::<usize>(), usize::try_from(watches).unwrap());
            for own in all {
                assert!(!own.is_empty() && own.iter().all(|account| *account < count), "{own:?}");
                assert_eq!(own.iter().collect::<BTreeSet<_>>().len(), own.len(), "{own:?}");
            }
        }
    }
}
