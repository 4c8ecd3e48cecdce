//! Faults of service processes.

use nix::sys::signal::Signal;
use tokio::time::sleep;

use super::Strike;
use crate::history::Event;
use crate::world::World;

/// kill -9, and a new process after a while.
pub(super) async fn kill(world: &World, strike: &Strike) {
    let replica = &world.replicas[usize::from(strike.replica)];
    let mut process = replica.process.lock().await;
    strike.begin(world, Some(strike.replica), "");
    replica.end(&mut process, Signal::SIGKILL).await;
    strike.last(world).await;
    *process = Some(replica.run());
    replica.is_back().await;
}

/// SIGTERM to one after the other; the next one goes when the one before is back.
pub(super) async fn roll(world: &World, strike: &Strike) {
    strike.begin(world, None, "");
    for replica in &world.replicas {
        let mut process = replica.process.lock().await;
        replica.end(&mut process, Signal::SIGTERM).await;
        *process = Some(replica.run());
        replica.is_back().await;
        drop(process);
        sleep(strike.span).await;
    }
    world.recorder.record(Event::Lift { strike: strike.number });
}

/// SIGSTOP, and SIGCONT after a while.
pub(super) async fn freeze(world: &World, strike: &Strike) {
    let replica = &world.replicas[usize::from(strike.replica)];
    let mut process = replica.process.lock().await;
    strike.begin(world, Some(strike.replica), "");
    if let Some(process) = process.as_mut() {
        process.signal(Signal::SIGSTOP);
        strike.last(world).await;
        process.signal(Signal::SIGCONT);
    }
}
