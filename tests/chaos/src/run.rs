//! A run: start everything, let the faults come, let it settle, write down the journal.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

use crate::history::{Account, Event, Hash, Nemesis, Recorder};
use crate::nemesis::{Pace, Plan, Strike};
use crate::reader::{Manner, Reader, Seen};
use crate::replica::{Program, Replica};
use crate::source::Source;
use crate::world::{Phase, Places, World};
use crate::writer::Writer;
use crate::{audit, library};

/// Runs at least this long have long faults, and some together.
const LONG: Duration = Duration::from_secs(180);
/// Streams reach the journal's end before, when nothing is wrong any more.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);
/// Writes that are to be acknowledged after the last fault.
const CALM_WRITES: u64 = 30;
/// The services get this long for that.
const CALM_LIMIT: Duration = Duration::from_secs(90);
/// What every service sells.
const CATALOGUE: &str = "[units.credits]\nscale = 0\n";

/// What to run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Of commands, readers and faults.
    pub seed: u64,
    /// At least so long; every fault comes at least once.
    pub duration: Duration,
    /// Service processes.
    pub replicas: u8,
    /// Faults.
    pub nemeses: Vec<Nemesis>,
    /// Where the history goes, and the services' logs.
    pub dir: PathBuf,
    /// The program.
    pub program: PathBuf,
    /// Goes to the services as `TALLYSTICK_MUTANT`.
    pub mutant: Option<String>,
    /// Accounts that are written and watched.
    pub accounts: Account,
    /// Writers.
    pub writers: u8,
    /// Mean time between two writes of one.
    pub pause: Duration,
    /// Readers besides the five that are always there.
    pub wanderers: u8,
    /// Repeats the run, for its first line.
    pub command: String,
}

/// How a run goes on, for whoever watches.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Since the beginning.
    pub elapsed: Duration,
    /// What happens.
    pub what: String,
    /// Acknowledged writes.
    pub acknowledged: u64,
    /// Lines of the history.
    pub lines: u64,
}

/// Why there is no history to validate.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not be written.
    #[error("the history cannot be written: {0}")]
    Io(#[from] std::io::Error),
    /// It could not be finished.
    #[error("the run could not be finished: {0}")]
    Unfinished(String),
}

/// Runs, and leaves a history in the directory.
///
/// # Errors
/// [`RunError`].
///
/// # Panics
/// When PostgreSQL or a service cannot be started at all.
pub async fn run(settings: &Settings, mut progress: impl FnMut(&Progress)) -> Result<(), RunError> {
    let recorder = Recorder::try_new(&settings.dir)?;
    let (seed, accounts, command) = (settings.seed, settings.accounts, settings.command.clone());
    recorder.record(Event::Run { seed, replicas: settings.replicas, accounts, command });
    let world = start(settings, &recorder).await?;
    let began = Instant::now();
    let mut tell = |world: &World, what: &str| {
        let (acknowledged, lines) = (world.acknowledged.load(Ordering::Relaxed), world.recorder.lines());
        progress(&Progress { elapsed: began.elapsed(), what: what.to_owned(), acknowledged, lines });
    };
    let supervisor = tokio::spawn(supervise(Arc::clone(&world)));
    let writers = write(settings, &world);
    let (readers, seen) = read(settings, &world);
    storm(settings, &world, &mut tell).await;
    calm(&world, writers, &mut tell).await;
    settle(&world, &seen, &mut tell).await;
    audit::export(&world).await.map_err(RunError::Unfinished)?;
    let restored = settings.nemeses.contains(&Nemesis::Restore);
    audit::audit(&world, &settings.program, !restored).await;
    end(&world, readers, supervisor).await;
    recorder.finish()?;
    Ok(())
}

async fn start(settings: &Settings, recorder: &Recorder) -> Result<Arc<World>, RunError> {
    let catalogue = settings.dir.join("catalogue.toml");
    std::fs::write(&catalogue, CATALOGUE)?;
    let catalogue = catalogue.to_string_lossy().into_owned();
    let (path, mutant, logs) = (settings.program.clone(), settings.mutant.clone(), settings.dir.clone());
    let program = Program { path, catalogue, mutant, logs };
    let source = Source::start().await;
    let mut replicas = Vec::new();
    for number in 0..settings.replicas {
        replicas.push(Replica::start(number, &program, recorder, &source.url()).await);
    }
    Ok(World::new(recorder.clone(), source, replicas, settings.accounts))
}

/// Starts again what ends by itself, and says so.
async fn supervise(world: Arc<World>) {
    while !world.is(Phase::End) {
        for replica in &world.replicas {
            replica.watch_over().await;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

fn write(settings: &Settings, world: &Arc<World>) -> JoinSet<()> {
    let writer = |number: u8| Writer::new(Arc::clone(world), number.into(), settings.seed, settings.pause);
    (0..settings.writers).map(|number| writer(number).run()).collect()
}

fn read(settings: &Settings, world: &Arc<World>) -> (JoinSet<()>, Vec<Seen>) {
    let always = [Manner::Steady, Manner::Stuck, Manner::Tokens, Manner::Latest];
    let wanderers = (0..settings.wanderers).map(|_| Manner::Wanderer);
    let (mut readers, mut seen) = (JoinSet::new(), Vec::new());
    for (manner, number) in always.into_iter().chain(wanderers).zip(0..) {
        let reader = Reader::new(Arc::clone(world), number, manner, settings.seed);
        seen.push(Arc::clone(&reader.seen));
        readers.spawn(reader.run());
    }
    let library = Seen::default();
    seen.push(Arc::clone(&library));
    readers.spawn(library::run(Arc::clone(world), library));
    (readers, seen)
}

/// Faults, until the time is over and each has come.
async fn storm(settings: &Settings, world: &Arc<World>, tell: &mut impl FnMut(&World, &str)) {
    let pace = if settings.duration < LONG { Pace::Quick } else { Pace::Long };
    let mut plan = Plan::new(&settings.nemeses, settings.replicas, pace, settings.seed);
    let end_at = Instant::now() + settings.duration;
    while Instant::now() < end_at || !plan.has_gone_round() {
        let Some(strike) = plan.draw() else {
            sleep(settings.duration).await;
            return;
        };
        let mut strikes = vec![strike];
        if strike.together {
            strikes.extend(plan.draw());
        }
        sleep(strike.gap).await;
        let names: Vec<String> = strikes.iter().map(|strike| format!("{:?}", strike.nemesis)).collect();
        tell(world, &names.join(" + "));
        let happening: Vec<_> = strikes.into_iter().map(|strike| happen(world, strike)).collect();
        futures::future::join_all(happening).await;
        if world.recorder.failure().is_some() {
            return;
        }
    }
}

async fn happen(world: &Arc<World>, strike: Strike) {
    let own = Arc::clone(world);
    let happened = tokio::spawn(async move { strike.happen(&own).await }).await;
    if let Err(error) = happened {
        let said = format!("{:?} went wrong: {}", strike.nemesis, audit::panic_text(error));
        world.recorder.record(Event::Fault { replica: strike.replica, said });
    }
}

/// Writes for a moment without faults.
async fn calm(world: &Arc<World>, mut writers: JoinSet<()>, tell: &mut impl FnMut(&World, &str)) {
    for replica in &world.replicas {
        replica.is_back().await;
    }
    world.recorder.record(Event::Calm);
    world.phase.send_replace(Phase::Calm);
    tell(world, "calm");
    let goal = world.acknowledged.load(Ordering::Relaxed) + CALM_WRITES;
    let end_at = Instant::now() + CALM_LIMIT;
    while world.acknowledged.load(Ordering::Relaxed) < goal && Instant::now() < end_at {
        sleep(Duration::from_millis(50)).await;
    }
    world.phase.send_replace(Phase::Written);
    while writers.join_next().await.is_some() {}
    world.recorder.record(Event::Written);
}

/// Until every reader is where the journal is, which time alone may still move: short holds end.
async fn settle(world: &Arc<World>, seen: &[Seen], tell: &mut impl FnMut(&World, &str)) {
    tell(world, "settling");
    let end_at = Instant::now() + SETTLE_LIMIT;
    while Instant::now() < end_at {
        // Asked first: once it is so, the heads that are read then are the last.
        let is_final = no_short_holds(world).await;
        let heads = audit::heads(world).await.unwrap_or_default();
        let is_there = |seen: &Seen| {
            let seen = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            seen.as_ref()
                .is_some_and(|places| places.iter().all(|(account, place)| is_at(&heads, *account, *place)))
        };
        if is_final && !heads.is_empty() && seen.iter().all(is_there) {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    world.recorder.record(Event::Settled);
}

/// A stream that began there without a hash has not been told one.
fn is_at(heads: &Places, account: Account, (version, hash): (i64, Hash)) -> bool {
    let head = heads.get(&account).copied().unwrap_or_default();
    head.0 == version && (head.1 == hash || hash == Hash::default())
}

async fn no_short_holds(world: &World) -> bool {
    let open = "select hold_id::text from holds
        where closed_at is null and expires_at < now() + interval '5 minutes' limit 1";
    world.source.ask(open).await.is_ok_and(|open| open.is_empty())
}

async fn end(world: &Arc<World>, mut readers: JoinSet<()>, supervisor: JoinHandle<()>) {
    world.phase.send_replace(Phase::End);
    let _ = supervisor.await;
    while readers.join_next().await.is_some() {}
    for replica in &world.replicas {
        let mut process = replica.process.lock().await;
        replica.end(&mut process, Signal::SIGTERM).await;
    }
}
