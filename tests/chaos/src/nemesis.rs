//! The faults of a run: which, when and for how long follow from the seed. Each takes what it works on for itself, says
//! when it begins, is about to be lifted, and has ended, and leaves everything running.

mod episodes;
mod freeze;
mod network;
mod plan;
mod postgres;
mod services;

use std::time::Duration;

use tokio::time::sleep;

pub(crate) use self::plan::{Pace, Plan};
use crate::history::{Event, Nemesis};
use crate::world::World;

/// Faults that can be had here: some packages of PostgreSQL have the server alone, without what episodes need.
pub fn possible() -> Vec<Nemesis> {
    let all = <Nemesis as clap::ValueEnum>::value_variants().iter().copied();
    let is_episode = |nemesis: &Nemesis| matches!(nemesis, Nemesis::Failover | Nemesis::Restore);
    all.filter(|nemesis| !is_episode(nemesis) || episodes::are_possible()).collect()
}

/// One fault to come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Strike {
    pub(crate) number: u32,
    pub(crate) nemesis: Nemesis,
    /// For those that hit one replica.
    pub(crate) replica: u8,
    /// How long it lasts.
    pub(crate) span: Duration,
    /// Time until it begins.
    pub(crate) gap: Duration,
    /// Whether the next one begins at once, beside it.
    pub(crate) together: bool,
    /// A number below 1, for whatever else is to be chosen.
    pub(crate) chance: f64,
}

impl Strike {
    /// Has it happen.
    ///
    /// # Panics
    /// When it cannot: what it needs does not start or stop.
    pub(crate) async fn happen(self, world: &World) {
        match self.nemesis {
            Nemesis::KillService => services::kill(world, &self).await,
            Nemesis::Rolling => services::roll(world, &self).await,
            Nemesis::FreezeService => services::freeze(world, &self).await,
            Nemesis::KillPostgres | Nemesis::StopPostgres => postgres::stop(world, &self).await,
            Nemesis::FreezePostgres => postgres::freeze(world, &self).await,
            Nemesis::FreezeBackend => postgres::freeze_backend(world, &self).await,
            Nemesis::TerminateTail | Nemesis::TerminateSome | Nemesis::TerminateAll => {
                postgres::terminate(world, &self).await;
            }
            Nemesis::CutDatabase | Nemesis::StallDatabase => network::database(world, &self).await,
            Nemesis::CutClients | Nemesis::StallClients => network::clients(world, &self).await,
            Nemesis::IdleWriter => postgres::idle_writer(world, &self).await,
            Nemesis::StuckReader => self.stick(world).await,
            Nemesis::Failover => episodes::failover(world, &self).await,
            Nemesis::Restore => episodes::restore(world, &self).await,
        }
        world.recorder.record(Event::Finish { strike: self.number });
    }

    fn begin(&self, world: &World, replica: Option<u8>, detail: &str) {
        let (strike, nemesis, detail) = (self.number, self.nemesis, detail.to_owned());
        world.recorder.record(Event::Begin { strike, nemesis, replica, detail });
    }

    /// It lasts, and is about to be lifted.
    async fn last(&self, world: &World) {
        sleep(self.span).await;
        world.recorder.record(Event::Lift { strike: self.number });
    }

    /// The reader that can be stuck records its own pauses.
    async fn stick(&self, world: &World) {
        self.begin(world, None, "");
        world.stuck.send_replace(true);
        self.last(world).await;
        world.stuck.send_replace(false);
    }
}
