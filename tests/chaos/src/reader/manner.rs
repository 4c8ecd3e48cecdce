//! How a reader chooses what its next stream asks for.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::history::Account;
use crate::world::World;

/// Longer than any run: the stream ends when the service ends it.
const FOR_EVER: Duration = Duration::from_secs(24 * 3600);

/// A habit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// One stream of all accounts, which goes on where it was.
    Steady,
    /// The same, and it stops reading when told so.
    Stuck,
    /// Streams of all accounts, each from the last token.
    Tokens,
    /// Mode LATEST.
    Latest,
    /// Short streams of some accounts, from anywhere.
    Wanderer,
}

/// Where a stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// Where the reader is; version 0 at first.
    Last,
    /// A random place where it was.
    Earlier,
    /// Version 0.
    Start,
    /// The reader's newest token.
    OwnToken,
    /// Any token of any reader.
    AnyToken,
    /// A snapshot.
    Nothing,
}

/// What a stream asks for.
#[derive(Debug, Clone)]
pub(super) struct Beginning {
    pub(super) from: From,
    pub(super) accounts: Vec<Account>,
    pub(super) latest: bool,
    pub(super) require_history: bool,
    pub(super) life: Duration,
}

impl Manner {
    pub(super) fn can_be_stuck(self) -> bool {
        self == Self::Stuck
    }

    pub(super) fn begin(self, random: &mut StdRng, world: &World) -> Beginning {
        let all: Vec<Account> = (1..=world.accounts).collect();
        let whole = Beginning {
            from: From::Last,
            accounts: all.clone(),
            latest: false,
            require_history: false,
            life: FOR_EVER,
        };
        match self {
            Self::Steady | Self::Stuck => whole,
            Self::Tokens => Beginning { from: From::OwnToken, life: life(random, 2_000, 8_000), ..whole },
            Self::Latest => {
                let from = [From::Last, From::OwnToken, From::AnyToken, From::Nothing, From::Earlier];
                let from = from[random.random_range(0..from.len())];
                Beginning { from, latest: true, life: life(random, 1_000, 8_000), ..whole }
            }
            Self::Wanderer => {
                let accounts = all.into_iter().filter(|_| random.random_bool(0.6)).collect::<Vec<_>>();
                let accounts = if accounts.is_empty() { vec![1] } else { accounts };
                let from = match random.random_range(0..10) {
                    0..4 => From::Earlier,
                    4..7 => From::AnyToken,
                    7 => From::Start,
                    8 => From::Nothing,
                    _ => From::Last,
                };
                let life = life(random, 300, 5_000);
                Beginning { from, accounts, latest: false, require_history: random.random_bool(0.2), life }
            }
        }
    }
}

fn life(random: &mut StdRng, shortest_ms: u64, longest_ms: u64) -> Duration {
    Duration::from_millis(random.random_range(shortest_ms..longest_ms))
}
