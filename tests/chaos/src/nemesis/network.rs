//! Faults of the network, by the proxies of a replica.

use harness::Proxy;

use super::Strike;
use crate::history::Nemesis;
use crate::world::World;

/// Between a service and PostgreSQL.
pub(super) async fn database(world: &World, strike: &Strike) {
    let replica = &world.replicas[usize::from(strike.replica)];
    let _own = replica.to_database.lock().await;
    fault(world, strike, &replica.database, strike.nemesis == Nemesis::CutDatabase).await;
}

/// Between clients and a service.
pub(super) async fn clients(world: &World, strike: &Strike) {
    let replica = &world.replicas[usize::from(strike.replica)];
    let _own = replica.to_clients.lock().await;
    fault(world, strike, &replica.clients, strike.nemesis == Nemesis::CutClients).await;
}

/// Either cuts and refuses, or stalls.
async fn fault(world: &World, strike: &Strike, proxy: &Proxy, is_cut: bool) {
    strike.begin(world, Some(strike.replica), "");
    if is_cut {
        proxy.refuse();
        proxy.cut();
        strike.last(world).await;
        proxy.admit();
    } else {
        proxy.stall();
        strike.last(world).await;
        proxy.resume();
    }
}
