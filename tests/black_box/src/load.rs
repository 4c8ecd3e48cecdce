//! A background load of grants and spends that remembers every call with its answer.
//!
//! Workers repeat some of their keys, those with an unknown outcome before others, as honest callers do. While nobody
//! listens they wait for the port; while the service asks for patience (RetryInfo) they have it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::v1::{Balance, Entry};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::api::{self, Api, Refusal};
use crate::seed;

/// Patience with a service that gives no RetryInfo, and between two looks at a closed port.
const PAUSE: Duration = Duration::from_millis(10);
/// RetryInfo is honoured up to here: a test is in a hurry.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Grant so many.
    Grant(i64),
    /// Spend so many.
    Spend(i64),
}

/// What a call was answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Done.
    Acknowledged {
        /// The operation.
        operation_id: String,
        /// The balance after it.
        balance: Box<Balance>,
        /// What it wrote.
        entries: Vec<Entry>,
    },
    /// Not done, for this reason.
    Refused(String),
    /// Nobody knows: the answer was lost, or says so.
    Unknown(String),
}

/// One call with its answer.
#[derive(Debug, Clone)]
pub struct Call {
    /// Of whom.
    pub account: String,
    /// Under which key.
    pub key: String,
    /// What.
    pub action: Action,
    /// And the answer.
    pub answer: Answer,
}

/// What load to make.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The services, `host:port`; workers are spread over them.
    pub addrs: Vec<String>,
    /// The API key, if one is needed.
    pub api_key: Option<String>,
    /// The accounts, chosen by chance.
    pub accounts: Vec<String>,
    /// Calls under way at once.
    pub workers: usize,
    /// Of the chance.
    pub seed: u64,
}

#[derive(Debug, Default)]
struct Record {
    calls: Mutex<Vec<Call>>,
    acknowledged: AtomicU64,
}

impl Record {
    fn calls(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A load under way; ends when dropped.
#[derive(Debug)]
pub struct Load {
    record: Arc<Record>,
    stop: watch::Sender<bool>,
    workers: JoinSet<()>,
}

impl Load {
    /// Starts it.
    pub fn start(plan: &Plan) -> Self {
        let record = Arc::new(Record::default());
        let (stop, stopped) = watch::channel(false);
        let mut workers = JoinSet::new();
        for (number, addr) in (0..plan.workers).zip(plan.addrs.iter().cycle()) {
            let api = Api::at(addr);
            let worker = Worker {
                api: plan.api_key.as_ref().map_or(api.clone(), |key| api.with_key(key)),
                addr: addr.clone(),
                accounts: plan.accounts.clone(),
                name: format!("{}-{number}", plan.seed),
                random: seed::random(plan.seed ^ u64::try_from(number).unwrap_or_default()),
                done: Vec::new(),
                unknown: Vec::new(),
                record: Arc::clone(&record),
                stopped: stopped.clone(),
            };
            workers.spawn(worker.run());
        }
        Self { record, stop, workers }
    }

    /// Waits until so many more calls were acknowledged.
    ///
    /// # Panics
    /// When that takes longer than `limit`.
    pub async fn more_acknowledged(&self, more: u64, limit: Duration) {
        let target = self.record.acknowledged.load(Ordering::Relaxed) + more;
        harness::eventually("acknowledged calls", limit, || async {
            self.record.acknowledged.load(Ordering::Relaxed) >= target
        })
        .await;
    }

    /// Ends the load, and gives every call in the order of their answers.
    ///
    /// # Panics
    /// When a worker panicked.
    pub async fn finish(mut self) -> Vec<Call> {
        self.stop.send_replace(true);
        while let Some(worker) = self.workers.join_next().await {
            worker.expect("a worker ends by itself");
        }
        std::mem::take(&mut *self.record.calls())
    }
}

/// A command, to be called once or more.
#[derive(Debug, Clone)]
struct Task {
    account: String,
    key: String,
    action: Action,
}

struct Worker {
    api: Api,
    addr: String,
    accounts: Vec<String>,
    name: String,
    random: StdRng,
    done: Vec<Task>,
    unknown: Vec<Task>,
    record: Arc<Record>,
    stopped: watch::Receiver<bool>,
}

impl Worker {
    async fn run(mut self) {
        while !*self.stopped.borrow() {
            let task = self.choose();
            let answer = match self.call(&task).await {
                Ok(answer) => answer,
                Err(refusal) => {
                    let unknown = refusal.leaves_unknown();
                    self.have_patience(&refusal).await;
                    let told = format!("{} {}: {}", refusal.code, refusal.reason, refusal.message);
                    if unknown { Answer::Unknown(told) } else { Answer::Refused(told) }
                }
            };
            match answer {
                Answer::Unknown(_) => self.unknown.push(task.clone()),
                Answer::Acknowledged { .. } => {
                    self.record.acknowledged.fetch_add(1, Ordering::Relaxed);
                    self.done.push(task.clone());
                }
                Answer::Refused(_) => self.done.push(task.clone()),
            }
            let Task { account, key, action } = task;
            self.record.calls().push(Call { account, key, action, answer });
        }
    }

    /// An unknown outcome is settled half of the time, now or later; one call in ten repeats a known one.
    fn choose(&mut self) -> Task {
        if !self.unknown.is_empty() && self.random.random_bool(0.5) {
            return self.unknown.swap_remove(self.random.random_range(0..self.unknown.len()));
        }
        if self.random.random_bool(0.1)
            && let Some(task) = self.done.choose(&mut self.random)
        {
            return task.clone();
        }
        let account = self.accounts.choose(&mut self.random).expect("a load has accounts").clone();
        let key = format!("{}-{}-{}", self.name, self.done.len(), self.random.random_range(0..u32::MAX));
        // More is asked for than there is, so that many spends find nothing left.
        let action = if self.random.random_bool(0.3) {
            Action::Grant(self.random.random_range(1..=100))
        } else {
            Action::Spend(self.random.random_range(1..=60))
        };
        Task { account, key, action }
    }

    async fn call(&self, task: &Task) -> Result<Answer, Refusal> {
        let (operation_id, balance, entries) = match task.action {
            Action::Grant(amount) => {
                let answer = self.api.grant(api::grant(&task.account, &task.key, amount)).await?;
                (answer.operation_id, answer.balance, answer.entries)
            }
            Action::Spend(amount) => {
                let answer = self.api.spend(api::spend(&task.account, &task.key, amount)).await?;
                (answer.operation_id, answer.balance, answer.entries)
            }
        };
        let balance = Box::new(balance.unwrap_or_default());
        Ok(Answer::Acknowledged { operation_id, balance, entries })
    }

    /// Until the next call makes sense, or the load ends.
    async fn have_patience(&mut self, refusal: &Refusal) {
        if let Some(retry_after) = refusal.retry_after {
            let _ = timeout(retry_after.min(LONGEST_PAUSE), self.stopped.changed()).await;
        }
        while refusal.reason.is_empty()
            && !*self.stopped.borrow()
            && TcpStream::connect(&self.addr).await.is_err()
        {
            let _ = timeout(PAUSE, self.stopped.changed()).await;
        }
    }
}
