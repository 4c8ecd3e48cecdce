//! How many files the process may have open: each connection is one.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What a full process has open: the connections of its listeners, and some hundred of its own.
const WANTED: u64 = 16_384;

/// Takes as many as the system lets a process take by itself, and says when that is less than a full process needs.
/// With fewer, it accepts no more connections until others end.
pub(super) fn allow_many() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let most = hard.min(soft.max(WANTED));
        setrlimit(Resource::RLIMIT_NOFILE, most, hard).map(|()| most)
    });
    match raised {
        Ok(most) if most >= WANTED => {}
        Ok(most) => {
            tracing::warn!(most, WANTED, "the limit of open files is low: raise the hard limit (ulimit -Hn)")
        }
        Err(error) => tracing::warn!(%error, "the limit of open files cannot be raised"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_and_never_lowered() {
        let (before, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        allow_many();
        let (after, same) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(same, hard);
        assert!(after >= before && after >= WANTED.min(hard));
    }
}
