//! Who watches one balance. Mostly one stream does, and that takes 16 bytes; a balance that many look at (a team's
//! credits) finds each of them at once.

use std::collections::HashMap;
use std::sync::Arc;

use crate::mailbox::Mailbox;

/// One stream that watches the balance.
#[derive(Debug, Clone)]
pub(super) struct Watcher {
    /// The stream's number for the balance.
    pub(super) target: u32,
    pub(super) mailbox: Arc<Mailbox>,
}

/// At least one watcher; of each stream one.
#[derive(Debug)]
pub(super) enum Topic {
    One(Watcher),
    /// By the address of the mailbox, which is the stream's own.
    #[allow(clippy::box_collection, reason = "a topic of one watcher must not be as large as a map")]
    Many(Box<HashMap<usize, Watcher>>),
}

fn address(mailbox: &Arc<Mailbox>) -> usize {
    Arc::as_ptr(mailbox).addr()
}

impl Topic {
    pub(super) fn watchers(&self) -> impl Iterator<Item = &Watcher> {
        let (one, many) = match self {
            Self::One(watcher) => (Some(watcher), None),
            Self::Many(watchers) => (None, Some(watchers.values())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// The stream's number for the balance, when it watches it.
    pub(super) fn find(&self, mailbox: &Arc<Mailbox>) -> Option<u32> {
        let watcher = match self {
            Self::One(watcher) => Some(watcher).filter(|one| Arc::ptr_eq(&one.mailbox, mailbox)),
            Self::Many(watchers) => watchers.get(&address(mailbox)),
        };
        watcher.map(|watcher| watcher.target)
    }

    /// One more; of a stream that does not watch the balance yet.
    pub(super) fn add(&mut self, watcher: Watcher) {
        match self {
            Self::One(first) => {
                let both = [first.clone(), watcher];
                *self = Self::Many(Box::new(both.map(|one| (address(&one.mailbox), one)).into()));
            }
            Self::Many(watchers) => {
                watchers.insert(address(&watcher.mailbox), watcher);
            }
        }
    }

    /// Without the stream; nothing when it was the only one.
    pub(super) fn without(self, mailbox: &Arc<Mailbox>) -> Option<Self> {
        match self {
            Self::One(watcher) => (!Arc::ptr_eq(&watcher.mailbox, mailbox)).then_some(Self::One(watcher)),
            Self::Many(mut watchers) => {
                watchers.remove(&address(mailbox));
                match (watchers.len(), watchers.values().next()) {
                    (0 | 1, last) => last.cloned().map(Self::One),
                    _ => Some(Self::Many(watchers)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watcher(target: u32) -> Watcher {
        Watcher { target, mailbox: Arc::new(Mailbox::new(Arc::default())) }
    }

    fn targets(topic: &Topic) -> Vec<u32> {
        let mut targets: Vec<u32> = topic.watchers().map(|watcher| watcher.target).collect();
        targets.sort_unstable();
        targets
    }

    #[test]
    fn a_topic_goes_from_one_to_many_to_one_to_none() {
        let (a, b, c) = (watcher(1), watcher(2), watcher(3));
        let mut topic = Topic::One(a.clone());
        topic.add(b.clone());
        topic.add(c.clone());
        assert_eq!(targets(&topic), [1, 2, 3]);
        assert_eq!((topic.find(&b.mailbox), topic.find(&watcher(4).mailbox)), (Some(2), None));
        let topic = topic.without(&b.mailbox).unwrap();
        assert!(matches!(topic, Topic::Many(_)));
        assert_eq!((targets(&topic), topic.find(&b.mailbox)), (vec![1, 3], None));
        let topic = topic.without(&a.mailbox).unwrap();
        assert!(matches!(&topic, Topic::One(last) if last.target == 3));
        let topic = topic.without(&a.mailbox).unwrap();
        assert_eq!(topic.find(&c.mailbox), Some(3));
        assert!(topic.without(&c.mailbox).is_none());
        for left in [a, b, c] {
            assert_eq!(Arc::strong_count(&left.mailbox), 1, "a topic that is gone holds nobody");
        }
    }

    #[test]
    fn one_watcher_takes_two_words() {
        assert_eq!(size_of::<Topic>(), 2 * size_of::<usize>());
    }
}
