//! What the generator itself takes: the CPU time of this process.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};

/// User and system time of all threads so far; `None` when the operating system does not tell.
pub(super) fn used() -> Option<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let micros = |time: nix::sys::time::TimeVal| {
        u64::try_from(nix::sys::time::TimeValLike::num_microseconds(&time)).unwrap_or(0)
    };
    Some(Duration::from_micros(micros(usage.user_time()) + micros(usage.system_time())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_time() {
        let before = used().unwrap();
        let mut sum = 0_u64;
        while used().unwrap() == before {
            sum = std::hint::black_box((0..10_000_u64).fold(sum, u64::wrapping_add));
        }
        assert!(used().unwrap() > before);
    }
}
