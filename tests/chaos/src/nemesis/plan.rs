//! The faults of a seed, without end.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::Strike;
use crate::history::Nemesis;

/// How much time faults take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Every fault within a minute, one at a time.
    Quick,
    /// Seconds to minutes; some come together.
    Long,
}

/// Draws faults: all that are enabled in a random order, then all again.
#[derive(Debug)]
pub(crate) struct Plan {
    enabled: Vec<Nemesis>,
    round: Vec<Nemesis>,
    replicas: u8,
    pace: Pace,
    random: StdRng,
    number: u32,
}

impl Plan {
    pub(crate) fn new(enabled: &[Nemesis], replicas: u8, pace: Pace, seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self { enabled: enabled.to_vec(), round: Vec::new(), replicas, pace, random, number: 0 }
    }

    /// Whether every enabled fault has been drawn.
    pub(crate) fn has_gone_round(&self) -> bool {
        usize::try_from(self.number).is_ok_and(|drawn| drawn >= self.enabled.len())
    }

    /// The next fault; none when none is enabled.
    pub(crate) fn draw(&mut self) -> Option<Strike> {
        if self.round.is_empty() {
            self.round.clone_from(&self.enabled);
            self.round.shuffle(&mut self.random);
        }
        let nemesis = self.round.pop()?;
        self.number += 1;
        let (shortest, longest) = match self.pace {
            Pace::Quick => quick(nemesis),
            Pace::Long => long(nemesis),
        };
        let gap = match self.pace {
            Pace::Quick => self.random.random_range(100..700),
            Pace::Long => self.random.random_range(200..6000),
        };
        Some(Strike {
            number: self.number,
            nemesis,
            replica: self.random.random_range(0..self.replicas),
            span: Duration::from_millis(self.random.random_range(shortest..=longest)),
            gap: Duration::from_millis(gap),
            together: self.pace == Pace::Long && self.random.random_bool(0.25),
            chance: self.random.random(),
        })
    }
}

/// Shortest and longest, in milliseconds. A cut lasts longer than bookmarks may go on, an idle writer longer than
/// changes may take.
fn quick(nemesis: Nemesis) -> (u64, u64) {
    match nemesis {
        Nemesis::StallDatabase => (3300, 3900),
        Nemesis::IdleWriter => (5000, 5600),
        Nemesis::CutDatabase | Nemesis::StuckReader => (800, 2400),
        Nemesis::FreezePostgres | Nemesis::FreezeService | Nemesis::StallClients => (600, 1600),
        Nemesis::FreezeBackend => (500, 1200),
        // Bookmarks come every second: some tell of what is about to be lost.
        Nemesis::Failover | Nemesis::Restore => (1000, 2000),
        _ => (200, 800),
    }
}

fn long(nemesis: Nemesis) -> (u64, u64) {
    match nemesis {
        Nemesis::IdleWriter => (5_000, 150_000),
        Nemesis::StuckReader => (1_000, 45_000),
        Nemesis::StallDatabase | Nemesis::CutDatabase => (300, 20_000),
        Nemesis::FreezePostgres | Nemesis::FreezeService | Nemesis::StallClients => (300, 15_000),
        Nemesis::FreezeBackend => (300, 12_000),
        _ => (100, 5_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u64) -> Vec<Strike> {
        let mut plan = Plan::new(&[Nemesis::KillService, Nemesis::CutClients], 2, Pace::Long, seed);
        (0..20).filter_map(|_| plan.draw()).collect()
    }

    #[test]
    fn a_seed_repeats_its_faults_and_another_has_others() {
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
    }

    #[test]
    fn a_round_has_every_fault_once() {
        for pair in drawn(7).chunks(2) {
            assert_ne!(pair[0].nemesis, pair[1].nemesis);
        }
    }
}
