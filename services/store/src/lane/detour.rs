//! Accounts that somebody else has locked: each is served by a task of its own that waits for the lock, so that
//! strangers in its lane do not wait with it. While an account is on a detour all its requests go there.

use std::collections::hash_map::Entry;
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

/// Sends jobs whose account is on a detour there, and gives back the others.
pub(crate) fn divert(shared: &Shared, batch: Vec<Job>) -> Vec<Job> {
    let mut detours = waiting(shared);
    if detours.is_empty() {
        return batch;
    }
    let mut rest = Vec::with_capacity(batch.len());
    for job in batch {
        match detours.get_mut(job.item.request.account()) {
            Some(queue) => push(queue, job),
            None => rest.push(job),
        }
    }
    rest
}

/// Puts a job of a locked account on its detour, which begins when there is none.
pub(crate) fn enter(shared: &Arc<Shared>, job: Job) {
    let account = job.item.request.account().clone();
    match waiting(shared).entry(account.clone()) {
        Entry::Occupied(mut queue) => push(queue.get_mut(), job),
        Entry::Vacant(place) => {
            place.insert(vec![job]);
            shared.tasks.spawn(serve(Arc::clone(shared), account));
        }
    }
}

fn push(queue: &mut Vec<Job>, job: Job) {
    if queue.len() < MAX_QUEUE {
        queue.push(job);
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
