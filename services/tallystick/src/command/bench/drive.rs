//! The generator: keeps calls in flight (closed loop) or sends them on schedule (open loop), and measures.
//!
//! Lanes share nothing but the measured time and, in an open loop, the pacer: each is one task with calls, clients and
//! counts of its own, merged at the end. Must not know: what a call does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::cpu;
use super::load::{Load, Mode};
use super::meter::Meter;
use super::pacer;
use super::schedule::Schedule;
use super::tally::{Ended, Tally, Window};
use crate::error::Error;
use crate::process::Stop;

/// Most lanes: more than the cores of a machine that generates load, few enough that their histograms stay small.
const MAX_LANES: usize = 16;
/// The pause after a call that no service answered, so that one that is gone is not hammered.
const UNANSWERED_PAUSE: Duration = Duration::from_millis(100);
/// How often the progress bar moves.
const TICK: Duration = Duration::from_millis(200);

/// A kind of call. Each clone is used for one call at a time.
pub(super) trait Work: Clone + Send + 'static {
    /// Makes call `number`, which is unique within the run. Calls with the same number in runs with the same seed are
    /// alike but for their keys.
    fn call(&mut self, number: u64) -> impl Future<Output = Result<(), Refusal>> + Send;
}

/// A call that was not answered OK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Why, as it is counted: `UNAVAILABLE/OVERLOADED`.
    pub(super) reason: String,
    /// Whether a service said so, and not a connection that could not be had or was lost.
    pub(super) is_answer: bool,
}

/// What a run has shown.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) tally: Tally,
    /// How long was measured.
    pub(super) length: Duration,
    /// CPU time of the generator while it was.
    pub(super) cpu: Option<Duration>,
    /// Threads that the generator works on.
    pub(super) threads: usize,
}

/// Drives the load to its end, or until the user stops it. `works` has one for each connection, at least one.
///
/// # Errors
/// [`Error::Io`] when a thread cannot be started, [`Error::Bench`] when a lane broke.
pub(super) async fn drive<W: Work>(
    works: &[W],
    load: &Load,
    meter: Meter,
    stop: &Stop,
) -> Result<Measured, Error> {
    let lanes = works.len().min(MAX_LANES);
    let origin = Instant::now();
    let window = Arc::new(Window::new(origin + load.warm_up, load.length));
    let (mut tasks, mut seen, mut ticks) = (JoinSet::new(), Vec::new(), Vec::new());
    for index in 0..lanes {
        let lane = Lane {
            works: works.iter().skip(index).step_by(lanes).cloned().collect(),
            numbers: (index..).step_by(lanes),
            window: Arc::clone(&window),
            tally: Tally::try_new()?,
            seen: Arc::default(),
        };
        seen.push(Arc::clone(&lane.seen));
        match load.mode {
            Mode::Closed { in_flight } => {
                tasks.spawn(lane.closed(share(in_flight, index, lanes)));
            }
            Mode::Open { rate, max_outstanding } => {
                let (schedule, tick) = (Schedule::new(origin, rate), Arc::new(Notify::new()));
                ticks.push(Arc::clone(&tick));
                tasks.spawn(lane.open(schedule, share(max_outstanding, index, lanes), tick));
            }
        }
    }
    if let Mode::Open { rate, .. } = load.mode {
        pacer::start(Schedule::new(origin, rate), ticks, Arc::clone(&window))?;
    }
    let cpu = oversee(&window, &seen, meter, stop).await;
    let mut tally = Tally::try_new()?;
    while let Some(part) = tasks.join_next().await {
        tally.merge(part.map_err(|error| Error::bench(format!("a part of the generator broke: {error}")))?);
    }
    let threads = tokio::runtime::Handle::current().metrics().num_workers();
    Ok(Measured { tally, length: window.length(), cpu, threads })
}

/// Waits for the end of the measured time, shows how it goes, and returns the CPU time that the generator took in it.
async fn oversee(window: &Window, seen: &[Arc<AtomicU64>], meter: Meter, stop: &Stop) -> Option<Duration> {
    let mut before = None;
    let mut tick = tokio::time::interval(TICK);
    loop {
        let boundary = if before.is_none() { window.start() } else { window.start() + window.length() };
        tokio::select! {
            () = tokio::time::sleep_until(boundary.into()) => {
                if before.is_some() {
                    break;
                }
                before = Some(cpu::used());
            }
            _ = tick.tick() => meter.show(seen.iter().map(|seen| seen.load(Ordering::Relaxed)).sum()),
            () = stop.asked() => {
                window.close(Instant::now());
                break;
            }
        }
    }
    let after = cpu::used();
    meter.finish();
    after?.checked_sub(before??)
}

/// One lane's own.
struct Lane<W> {
    /// One for each of its connections.
    works: Vec<W>,
    /// Of its calls.
    numbers: std::iter::StepBy<std::ops::RangeFrom<usize>>,
    window: Arc<Window>,
    tally: Tally,
    /// Calls that ended, for the progress bar.
    seen: Arc<AtomicU64>,
}

impl<W: Work> Lane<W> {
    /// Keeps this many calls in flight.
    async fn closed(mut self, slots: usize) -> Tally {
        let mut calls = FuturesUnordered::new();
        for work in self.works.clone().into_iter().cycle().take(slots) {
            calls.push(call(work, self.number(), None, Duration::ZERO));
        }
        while let Some((work, ended, pause)) = calls.next().await {
            let now = ended.at;
            self.take(ended);
            if !self.window.is_over(now) {
                calls.push(call(work, self.number(), None, pause));
            }
        }
        self.tally
    }

    /// Sends calls when they are due, `most` of them outstanding.
    async fn open(mut self, schedule: Schedule, most: usize, tick: Arc<Notify>) -> Tally {
        let mut calls = FuturesUnordered::new();
        let mut idle = self.works.clone();
        let mut number = self.number();
        loop {
            let now = Instant::now();
            // Also those that became due just before the end.
            while schedule.due(number) <= now && !self.window.is_over(schedule.due(number)) {
                let due = schedule.due(number);
                if calls.len() < most {
                    // As many clones as calls were ever outstanding at once, spread over the connections.
                    let work =
                        idle.pop().unwrap_or_else(|| self.works[calls.len() % self.works.len()].clone());
                    calls.push(call(work, number, Some(due), Duration::ZERO));
                } else {
                    self.tally.take_unsent(&self.window, due);
                }
                number = self.number();
            }
            if self.window.is_over(now) {
                break;
            }
            tokio::select! {
                Some((work, ended, _)) = calls.next(), if !calls.is_empty() => {
                    idle.push(work);
                    self.take(ended);
                }
                () = tick.notified() => {}
            }
        }
        while let Some((_, ended, _)) = calls.next().await {
            self.take(ended);
        }
        self.tally
    }

    fn number(&mut self) -> u64 {
        self.numbers.next().and_then(|number| u64::try_from(number).ok()).unwrap_or(u64::MAX)
    }

    fn take(&mut self, ended: Ended) {
        self.tally.take(&self.window, ended);
        // Only this lane writes.
        self.seen.store(self.seen.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// One call, and the pause that should follow it in a closed loop.
async fn call<W: Work>(
    mut work: W,
    number: u64,
    due: Option<Instant>,
    pause: Duration,
) -> (W, Ended, Duration) {
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
    let sent = Instant::now();
    let outcome = work.call(number).await;
    let at = Instant::now();
    let pause = match &outcome {
        Err(refusal) if !refusal.is_answer => UNANSWERED_PAUSE,
        _ => Duration::ZERO,
    };
    let refused = outcome.err().map(|refusal| refusal.reason);
    (work, Ended { due: due.unwrap_or(sent), sent, at, refused }, pause)
}

/// What part `index` of `parts` gets of a whole; at least 1.
fn share(whole: usize, index: usize, parts: usize) -> usize {
    (whole / parts + usize::from(index < whole % parts)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers at once, or never in time; refuses every tenth.
    #[derive(Clone)]
    struct Fake {
        time: Duration,
        most: Arc<AtomicU64>,
        now: Arc<AtomicU64>,
    }

    impl Fake {
        fn new(time_ms: u64) -> Self {
            Self { time: Duration::from_millis(time_ms), most: Arc::default(), now: Arc::default() }
        }
    }

    impl Work for Fake {
        async fn call(&mut self, number: u64) -> Result<(), Refusal> {
            let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            tokio::time::sleep(self.time).await;
            self.now.fetch_sub(1, Ordering::SeqCst);
            if number % 10 == 9 {
                return Err(Refusal { reason: "UNAVAILABLE/OVERLOADED".to_owned(), is_answer: true });
            }
            Ok(())
        }
    }

    async fn measured(fake: &Fake, mode: Mode) -> Measured {
        let load = Load {
            mode,
            warm_up: Duration::from_millis(100),
            length: Duration::from_millis(500),
            seed: 1,
            run: "r".to_owned(),
        };
        let works = vec![fake.clone(), fake.clone(), fake.clone()];
        let stop = Stop::listen().unwrap();
        drive(&works, &load, Meter::hidden(), &stop).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_closed_loop_keeps_its_calls_in_flight_and_counts_refusals_apart() {
        let fake = Fake::new(5);
        let measured = measured(&fake, Mode::Closed { in_flight: 10 }).await;
        assert_eq!(fake.most.load(Ordering::SeqCst), 10);
        let (done, refused) = (measured.tally.completed, measured.tally.refused_count());
        assert!((100..=1000).contains(&(done + refused)), "{done} {refused}");
        assert!(refused > 0 && refused < done, "{done} {refused}");
        assert_eq!(measured.tally.unsent, 0);
        assert_eq!(measured.length, Duration::from_millis(500));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_open_loop_sends_what_is_due_and_tells_what_it_could_not_send() {
        let fake = Fake::new(1);
        let fast = measured(&fake, Mode::Open { rate: 1000, max_outstanding: 1000 }).await;
        let due = fast.tally.latency.count() + fast.tally.refused_latency.count();
        assert_eq!((due, fast.tally.unsent), (500, 0));
        let slow = Fake::new(400);
        let stuck = measured(&slow, Mode::Open { rate: 1000, max_outstanding: 30 }).await;
        assert_eq!(slow.most.load(Ordering::SeqCst), 30);
        let due = stuck.tally.latency.count() + stuck.tally.refused_latency.count();
        assert_eq!(due + stuck.tally.unsent, 500, "no call that was due is dropped without a word");
        assert!(stuck.tally.unsent > 300);
    }

    #[test]
    fn shares_add_up() {
        for (whole, parts) in [(64, 4), (10, 3), (3, 3), (10_000, 16)] {
            assert_eq!((0..parts).map(|index| share(whole, index, parts)).sum::<usize>(), whole);
        }
    }
}
