//! Waiting for something outside this process, which offers nothing to wait on but a look.

use std::thread;
use std::time::{Duration, Instant};

/// Between two looks: short against a start (about 100 ms), cheap against a core.
const INTERVAL: Duration = Duration::from_millis(10);

/// Looks until `condition` holds or `limit` has passed; says whether it held.
pub(crate) fn until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        let now = Instant::now();
        if now >= deadline {
            return false;
        }
        // A stray unpark only brings the next look forward.
        thread::park_timeout(INTERVAL.min(deadline - now));
    }
}
