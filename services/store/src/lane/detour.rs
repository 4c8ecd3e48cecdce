//! Accounts that somebody else has locked, or that may be to blame for a batch that took too long: each is served
//! by a task of its own that may wait, so that strangers in its lane do not wait with it. While an account is on a detour all its requests go there.

use std::sync::{Arc, MutexGuard, PoisonError};

use domain::AccountId;

use super::job::Job;
use super::{MAX_QUEUE, Shared, batch_length, execute};
use crate::apply::Wait;
use crate::error::ApplyError;

type Waiting = std::collections::HashMap<AccountId, Vec<Job>>;

fn waiting(shared: &Shared) -> MutexGuard<'_, Waiting> {
    // The map is whole after every step, so a panic elsewhere does not spoil it.
    shared.detours.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Jobs on all detours.
pub(crate) fn waiting_jobs(shared: &Shared) -> usize {
    waiting(shared).values().map(Vec::len).sum()
}

/// Sends jobs whose account is on a detour there, and gives back the others.
pub(crate) fn divert(shared: &Shared, batch: Vec<Job>) -> Vec<Job> {
    let mut detours = waiting(shared);
    if detours.is_empty() {
        return batch;
    }
    let mut rest = Vec::with_capacity(batch.len());
    for job in batch {
        if detours.contains_key(job.item.request.account()) {
            shared.measures.detours.inc();
            push(&mut detours, job);
        } else {
            rest.push(job);
        }
    }
    rest
}

/// Puts a job on its account's detour, which begins when there is none.
pub(crate) fn enter(shared: &Arc<Shared>, job: Job) {
    shared.measures.detours.inc();
    let account = job.item.request.account().clone();
    let mut detours = waiting(shared);
    let begins = !detours.contains_key(&account);
    push(&mut detours, job);
    if begins {
        detours.entry(account.clone()).or_default();
        shared.tasks.spawn(serve(Arc::clone(shared), account));
    }
}

/// Queues a job. A full house first lets those go whose callers are gone.
fn push(detours: &mut Waiting, job: Job) {
    let length = |detours: &Waiting| detours.values().map(Vec::len).sum::<usize>();
    if length(detours) >= MAX_QUEUE {
        let gone = detours.values_mut().flat_map(|queue| queue.extract_if(.., |job| job.is_abandoned()));
        gone.for_each(Job::expire);
    }
    if length(detours) < MAX_QUEUE {
        detours.entry(job.item.request.account().clone()).or_default().push(job);
    } else {
        job.fail(ApplyError::Overloaded);
    }
}

/// Serves one account, batch by batch, until nobody waits for it.
async fn serve(shared: Arc<Shared>, account: AccountId) {
    loop {
        // Closed never: the semaphore lives as long as the lanes.
        let permit = shared.detour_permits.acquire().await;
        let jobs = {
            let mut detours = waiting(&shared);
            let queue = detours.get_mut(&account).filter(|queue| !queue.is_empty());
            let Some(queue) = queue else {
                detours.remove(&account);
                return;
            };
            let length = batch_length(queue);
            queue.drain(..length).collect()
        };
        execute::execute(&shared, jobs, Wait::Block).await;
        drop(permit);
    }
}
