//! Wakes the lanes of an open loop when calls are due.
//!
//! A thread of its own, since the timers of the runtime count in milliseconds and a call that is sent a millisecond
//! late looks as if the service had taken that long. Must not know: what is sent.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::schedule::Schedule;
use super::tally::Window;
use crate::error::Error;

/// The shortest time between two wake-ups, so that a high rate does not cost a wake-up for each call: the most that the
/// pacer adds to a latency.
const SHORTEST_NAP: Duration = Duration::from_micros(200);
/// The longest one: soon enough to notice that the user has ended the run.
const LONGEST_NAP: Duration = Duration::from_millis(50);

/// Starts it; it ends with the measured time, and wakes all lanes then. Call `n` belongs to lane `n` modulo their number.
///
/// # Errors
/// [`Error::Io`] when there can be no other thread.
pub(super) fn start(schedule: Schedule, lanes: Vec<Arc<Notify>>, window: Arc<Window>) -> Result<(), Error> {
    let pace = move || {
        for (number, lane) in (0..).zip(lanes.iter().cycle()) {
            wait(&window, schedule.due(number));
            if window.is_over(Instant::now()) {
                break;
            }
            lane.notify_one();
        }
        lanes.iter().for_each(|lane| lane.notify_one());
    };
    let started = thread::Builder::new().name("bench-pacer".to_owned()).spawn(pace);
    started.map(drop).map_err(Error::io("start a thread"))
}

/// Until the moment, or until the measured time is over.
fn wait(window: &Window, until: Instant) {
    loop {
        let now = Instant::now();
        if now >= until || window.is_over(now) {
            return;
        }
        // Nobody unparks this thread: that is a pause.
        thread::park_timeout((until - now).clamp(SHORTEST_NAP, LONGEST_NAP));
    }
}
