//! The queue in front of a lane. Payments have places of their own and go first: a customer who has paid must not wait
//! behind a thousand spends, and Stripe gives up on a webhook that takes too long. They take at most half
//! of a batch, so they starve nobody.
//!
//! Promises: requests of one kind keep their order; nothing is lost when the queue is closed.

use tokio::sync::mpsc::{self, Permit, error::TrySendError};

use super::{MAX_BATCH, MAX_QUEUE};
use crate::error::ApplyError;

/// Payments that may wait in one lane: as many as the service lets in by default, each with a body.
const MAX_PAYMENTS: usize = 128;

/// What a request is to the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Of Stripe.
    Payment,
    /// Anything else.
    Other,
}

/// Where requests go in.
pub(super) struct Entrance<T> {
    payments: mpsc::Sender<T>,
    others: mpsc::Sender<T>,
}

/// Where the lane takes them out.
pub(super) struct Exit<T> {
    payments: mpsc::Receiver<T>,
    others: mpsc::Receiver<T>,
}

/// A queue of [`MAX_QUEUE`] requests and [`MAX_PAYMENTS`] payments.
pub(super) fn queue<T>() -> (Entrance<T>, Exit<T>) {
    let (payments, paid) = mpsc::channel(MAX_PAYMENTS);
    let (others, other) = mpsc::channel(MAX_QUEUE);
    (Entrance { payments, others }, Exit { payments: paid, others: other })
}

impl<T> Entrance<T> {
    /// # Errors
    /// [`ApplyError::Overloaded`] when there is no place, [`ApplyError::Stopping`].
    pub(super) fn push(&self, class: Class, item: T) -> Result<(), ApplyError> {
        let places = match class {
            Class::Payment => &self.payments,
            Class::Other => &self.others,
        };
        places.try_send(item).map_err(refused)
    }

    /// Places for requests that are no payments, all or none.
    ///
    /// # Errors
    /// As [`Entrance::push`].
    pub(super) fn reserve(&self, count: usize) -> Result<impl Iterator<Item = Permit<'_, T>>, ApplyError> {
        self.others.try_reserve_many(count).map_err(refused)
    }

    /// Requests that wait.
    pub(super) fn len(&self) -> usize {
        let taken = |places: &mpsc::Sender<T>| places.max_capacity().saturating_sub(places.capacity());
        taken(&self.payments) + taken(&self.others)
    }
}

fn refused<T>(error: TrySendError<T>) -> ApplyError {
    match error {
        TrySendError::Full(_) => ApplyError::Overloaded,
        TrySendError::Closed(_) => ApplyError::Stopping,
    }
}

impl<T> Exit<T> {
    /// Takes nothing new any more.
    pub(super) fn close(&mut self) {
        self.payments.close();
        self.others.close();
    }

    /// Waits until there is something, and takes up to [`MAX_BATCH`]. Nothing is taken: closed and empty.
    pub(super) async fn take(&mut self, items: &mut Vec<T>) {
        if items.is_empty() {
            let first = tokio::select! {
                biased;
                Some(item) = self.payments.recv() => Some(item),
                Some(item) = self.others.recv() => Some(item),
                else => None,
            };
            items.extend(first);
        }
        for places in [&mut self.payments, &mut self.others] {
            while items.len() < MAX_BATCH {
                let Ok(item) = places.try_recv() else { break };
                items.push(item);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn taken(exit: &mut Exit<usize>) -> Vec<usize> {
        let mut items = Vec::new();
        exit.take(&mut items).await;
        items
    }

    #[tokio::test]
    async fn payments_go_first_and_each_kind_keeps_its_order() {
        let (entrance, mut exit) = queue();
        for item in 0..MAX_BATCH {
            entrance.push(Class::Other, item).unwrap();
        }
        entrance.push(Class::Payment, 1000).unwrap();
        entrance.push(Class::Payment, 1001).unwrap();
        let batch = taken(&mut exit).await;
        assert_eq!(batch.len(), MAX_BATCH);
        assert_eq!(batch.get(..4), Some(&[1000, 1001, 0, 1][..]));
        assert_eq!(entrance.len(), 2);
        assert_eq!(taken(&mut exit).await, [MAX_BATCH - 2, MAX_BATCH - 1]);
    }

    #[tokio::test]
    async fn a_full_house_of_others_has_room_for_payments() {
        let (entrance, _exit) = queue();
        for item in 0..MAX_QUEUE {
            entrance.push(Class::Other, item).unwrap();
        }
        assert_eq!(entrance.push(Class::Other, 0), Err(ApplyError::Overloaded));
        assert!(entrance.reserve(1).is_err());
        assert_eq!(entrance.push(Class::Payment, 0), Ok(()));
    }

    #[tokio::test]
    async fn a_closed_queue_gives_out_what_it_has_and_then_nothing() {
        let (entrance, mut exit) = queue();
        entrance.push(Class::Other, 1).unwrap();
        entrance.push(Class::Payment, 2).unwrap();
        exit.close();
        assert_eq!(entrance.push(Class::Payment, 3), Err(ApplyError::Stopping));
        assert_eq!(taken(&mut exit).await, [2, 1]);
        assert_eq!(taken(&mut exit).await, [0; 0]);
    }
}
