//! Writers: random commands, each recorded with its answer; keys are sent again, those with an unknown outcome before
//! others, as honest callers do.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proto::v1::credit_service_client::CreditServiceClient;
use proto::v1::{
    Balance, CaptureHoldRequest, Entry, GrantCreditsRequest, Hold, HoldCreditsRequest, ReleaseHoldRequest,
    SpendCreditsRequest,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tokio::time::sleep;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::history::{Account, Answered, Command, Delivered, Event, Figures, Hash, Outcome};
use crate::world::{Phase, World, account_id, reason_of};

/// A caller's patience: services and servers hang for longer on purpose.
const CALL_TIMEOUT: Duration = Duration::from_secs(4);
/// Keys that may be sent again.
const REMEMBERED: usize = 200;
/// A hold of this life ends by itself within the run.
const SHORT_TTL_S: i64 = 2;

/// A command, to be sent once or more.
#[derive(Debug, Clone)]
struct Task {
    account: Account,
    key: String,
    command: Command,
    hold_id: String,
    ttl_s: i64,
}

/// One writer.
pub(crate) struct Writer {
    world: Arc<World>,
    clients: Vec<CreditServiceClient<Channel>>,
    name: String,
    random: StdRng,
    pause: Duration,
    sent: u64,
    done: Vec<Task>,
    unknown: Vec<Task>,
    holds: Vec<(Account, String, i64)>,
}

impl Writer {
    pub(crate) fn new(world: Arc<World>, number: u64, seed: u64, pause: Duration) -> Self {
        let client = |replica: &crate::replica::Replica| CreditServiceClient::new(channel(&replica.addr()));
        Self {
            clients: world.replicas.iter().map(client).collect(),
            world,
            name: format!("w{number}"),
            random: StdRng::seed_from_u64(seed ^ (number << 32)),
            pause,
            sent: 0,
            done: Vec::new(),
            unknown: Vec::new(),
            holds: Vec::new(),
        }
    }

    /// Writes until the phase is over.
    pub(crate) async fn run(mut self) {
        while !self.world.is(Phase::Written) {
            let task = self.choose();
            let replica = self.random.random_range(0..self.clients.len());
            let call = self.world.number();
            self.world.recorder.record(Event::Call {
                call,
                replica: u8::try_from(replica).unwrap_or_default(),
                account: task.account,
                key: task.key.clone(),
                command: task.command,
            });
            let (outcome, hold) = match send(&self.clients[replica], &task).await {
                Ok((answered, hold)) => (Outcome::Acknowledged(answered), hold),
                Err(status) => (told(&status), None),
            };
            self.world.recorder.record(Event::Answer { call, outcome: outcome.clone() });
            self.remember(task, &outcome, hold);
            let pause = self.pause.mul_f64(self.random.random_range(0.0..2.0));
            sleep(if matches!(outcome, Outcome::Acknowledged(_)) { pause } else { pause * 4 }).await;
        }
    }

    fn remember(&mut self, task: Task, outcome: &Outcome, hold: Option<Hold>) {
        match outcome {
            Outcome::Unknown(_) => self.unknown.push(task),
            Outcome::Acknowledged(_) => {
                self.world.acknowledged.fetch_add(1, Ordering::Relaxed);
                let opened = hold.filter(|_| matches!(task.command, Command::Hold(_)));
                self.holds.extend(opened.map(|hold| (task.account, hold.hold_id, hold.amount)));
                self.done.push(task);
            }
            Outcome::Refused(_) => self.done.push(task),
        }
        if self.done.len() > REMEMBERED {
            self.done.swap_remove(self.random.random_range(0..REMEMBERED));
        }
        self.unknown.truncate(REMEMBERED);
    }

    fn choose(&mut self) -> Task {
        if !self.unknown.is_empty() && self.random.random_bool(0.5) {
            return self.unknown.swap_remove(self.random.random_range(0..self.unknown.len()));
        }
        if self.random.random_bool(0.08)
            && let Some(task) = self.done.choose(&mut self.random)
        {
            return task.clone();
        }
        self.sent += 1;
        let key = format!("{}-{}", self.name, self.sent);
        if !self.holds.is_empty() && self.random.random_bool(0.25) {
            let (account, hold_id, amount) =
                self.holds.swap_remove(self.random.random_range(0..self.holds.len()));
            let used = self.random.random_range(1..=amount);
            let command =
                if self.random.random_bool(0.7) { Command::Capture(used) } else { Command::Release };
            return Task { account, key, command, hold_id, ttl_s: 0 };
        }
        // One account has much of the traffic, as a team's wallet does; most have little, so that a change that was
        // missed is not made good by the next one at once.
        let accounts = self.world.accounts;
        let account = match self.random.random_range(0..20) {
            0..8 => 1,
            8..18 => self.random.random_range(1..=accounts.div_ceil(3)),
            _ => self.random.random_range(1..=accounts),
        };
        // More is asked for than there is, so that many find nothing left.
        let command = match self.random.random_range(0..10) {
            0..4 => Command::Grant(self.random.random_range(1..=100)),
            4..8 => Command::Spend(self.random.random_range(1..=60)),
            _ => Command::Hold(self.random.random_range(2..=40)),
        };
        let ttl_s = if self.random.random_bool(0.3) { SHORT_TTL_S } else { 3600 };
        Task { account, key, command, hold_id: String::new(), ttl_s }
    }
}

type Sent = Result<(Answered, Option<Hold>), Status>;

async fn send(client: &CreditServiceClient<Channel>, task: &Task) -> Sent {
    let mut client = client.clone();
    let (account_id, idempotency_key) = (account_id(task.account), task.key.clone());
    let hold_id = task.hold_id.clone();
    match task.command {
        Command::Grant(amount) => {
            let request = GrantCreditsRequest { account_id, idempotency_key, amount, ..Default::default() };
            let told = client.grant_credits(bounded(request)).await?.into_inner();
            answered(told.operation_id, &told.entries, told.balance, told.replayed, None)
        }
        Command::Spend(amount) => {
            let request = SpendCreditsRequest { account_id, idempotency_key, amount, ..Default::default() };
            let told = client.spend_credits(bounded(request)).await?.into_inner();
            answered(told.operation_id, &told.entries, told.balance, told.replayed, None)
        }
        Command::Hold(amount) => {
            let ttl = Some(prost_types::Duration { seconds: task.ttl_s, nanos: 0 });
            let request =
                HoldCreditsRequest { account_id, idempotency_key, amount, ttl, ..Default::default() };
            let told = client.hold_credits(bounded(request)).await?.into_inner();
            answered(told.operation_id, &told.entries, told.balance, told.replayed, told.hold)
        }
        Command::Capture(amount) => {
            let request = CaptureHoldRequest {
                account_id,
                idempotency_key,
                hold_id,
                amount,
                r#final: true,
                ..Default::default()
            };
            let told = client.capture_hold(bounded(request)).await?.into_inner();
            answered(told.operation_id, &told.entries, told.balance, told.replayed, None)
        }
        Command::Release => {
            let request = ReleaseHoldRequest { account_id, idempotency_key, hold_id, ..Default::default() };
            let told = client.release_hold(bounded(request)).await?.into_inner();
            answered(told.operation_id, &told.entries, told.balance, told.replayed, None)
        }
    }
}

fn bounded<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}

fn answered(
    operation: String,
    entries: &[Entry],
    balance: Option<Balance>,
    replayed: bool,
    hold: Option<Hold>,
) -> Sent {
    let balance = balance.unwrap_or_default();
    let answered = Answered {
        operation,
        entries: entries.iter().map(delivered).collect(),
        version: balance.version,
        hash: Hash::of(&balance.entry_hash),
        figures: Figures(balance.available, balance.held, balance.scheduled, balance.debt),
        replayed,
    };
    Ok((answered, hold))
}

pub(crate) fn delivered(entry: &Entry) -> Delivered {
    Delivered(entry.version, Hash::of(&entry.entry_hash), entry.operation_index, entry.operation_size)
}

/// What a status says of the command: without a reason of the service's own nobody knows.
fn told(status: &Status) -> Outcome {
    let reason = reason_of(status);
    match reason.as_str() {
        "" => Outcome::Unknown(format!("{:?}", status.code())),
        "OUTCOME_UNKNOWN" | "INTERNAL" => Outcome::Unknown(reason),
        _ => Outcome::Refused(reason),
    }
}

/// A channel that connects when it is used.
pub(crate) fn channel(addr: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{addr}")).expect("an address");
    endpoint.connect_timeout(Duration::from_secs(3)).tcp_nodelay(true).connect_lazy()
}
