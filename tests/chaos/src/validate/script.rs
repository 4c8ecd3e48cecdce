//! Handwritten histories for the validators' own tests.
//!
//! Account 1 gets one grant of 1 credit a version, `k<version>`, each with its answer. The final journal has what was
//! written, at the end of the history.

use super::{Bounds, validate};
use crate::history::{
    Account, Answered, Command, Delivered, Event, Figures, Hash, History, Nemesis, Outcome, Reason, Target,
};

/// The entry of a version as the journal has it.
pub(super) fn entry(version: i64) -> Delivered {
    part(version, 0, 1)
}

/// The same, told as a part of an operation.
pub(super) fn part(version: i64, index: i32, size: i32) -> Delivered {
    Delivered(version, Hash(1_000_000 + version.unsigned_abs()), index, size)
}

/// An entry of a history that is lost.
pub(super) fn lost(version: i64) -> Delivered {
    Delivered(version, Hash(9_000_000 + version.unsigned_abs()), 0, 1)
}

#[derive(Clone)]
pub(super) struct Script {
    at: u64,
    calls: u64,
    events: Vec<(u64, Event)>,
    journal: Vec<Event>,
}

impl Script {
    pub(super) fn new() -> Self {
        Self { at: 0, calls: 0, events: Vec::new(), journal: Vec::new() }
    }

    pub(super) fn push(mut self, event: Event) -> Self {
        self.at += 10;
        self.events.push((self.at, event));
        self
    }

    pub(super) fn later(mut self, micros: u64) -> Self {
        self.at += micros;
        self
    }

    pub(super) fn journal(self, versions: i64) -> Self {
        (1..=versions).fold(self, Self::write)
    }

    /// Writes a version, and has it answered.
    pub(super) fn write(mut self, version: i64) -> Self {
        let operation = format!("op{version}");
        let Delivered(_, hash, index, size) = entry(version);
        let (delta, after) = (Figures(1, 0, 0, 0), Figures(version, 0, 0, 0));
        self.journal.push(Event::Entry {
            account: 1,
            version,
            hash,
            operation: operation.clone(),
            index,
            size,
            kind: 1,
            delta,
            after,
        });
        let key = format!("k{version}");
        self.journal.push(Event::Operation { account: 1, key, operation, first: version, count: 1 });
        self.again(version)
    }

    /// Sends the command of a version, or sends it again.
    pub(super) fn again(self, version: i64) -> Self {
        let answered = Answered {
            operation: format!("op{version}"),
            entries: vec![entry(version)],
            version,
            hash: entry(version).1,
            figures: Figures(version, 0, 0, 0),
            replayed: false,
        };
        self.call(&format!("k{version}"), Outcome::Acknowledged(answered))
    }

    pub(super) fn refuse(self, key: &str, reason: &str) -> Self {
        self.call(key, Outcome::Refused(reason.to_owned()))
    }

    fn call(mut self, key: &str, outcome: Outcome) -> Self {
        self.calls += 1;
        let (call, key, command) = (self.calls, key.to_owned(), Command::Grant(1));
        self.push(Event::Call { call, replica: 0, account: 1, key, command })
            .push(Event::Answer { call, outcome })
    }

    pub(super) fn open(self, stream: u64, from: &[(Account, Option<i64>)]) -> Self {
        self.opened(stream, from, None, false)
    }

    pub(super) fn open_latest(self, stream: u64, from: &[(Account, Option<i64>)]) -> Self {
        self.opened(stream, from, None, true)
    }

    pub(super) fn resume(self, stream: u64, token: u64, accounts: &[Account]) -> Self {
        let from: Vec<_> = accounts.iter().map(|account| (*account, None)).collect();
        self.opened(stream, &from, Some(token), false)
    }

    fn opened(self, stream: u64, from: &[(Account, Option<i64>)], token: Option<u64>, latest: bool) -> Self {
        let target = |(account, version): &(Account, Option<i64>)| Target {
            account: *account,
            version: *version,
            hash: version.filter(|version| *version > 0).map(|version| entry(version).1),
        };
        let targets = from.iter().map(target).collect();
        self.push(Event::Open {
            stream,
            replica: 0,
            reader: 1,
            latest,
            require_history: false,
            targets,
            token,
        })
    }

    pub(super) fn changes(self, stream: u64, account: Account, entries: &[Delivered]) -> Self {
        self.push(Event::Changes { stream, account, entries: entries.to_vec() })
    }

    pub(super) fn snapshot(self, stream: u64, account: Account, version: i64, reason: Reason) -> Self {
        self.push(Event::Snapshot { stream, account, version, hash: entry(version).1, reason })
    }

    pub(super) fn bookmark(self, stream: u64, in_sync: bool, lag_us: u64, token: u64) -> Self {
        self.push(Event::Bookmark { stream, in_sync, lag_us, token })
    }

    pub(super) fn go_away(self, stream: u64, token: u64) -> Self {
        self.push(Event::GoAway { stream, token })
    }

    pub(super) fn end(self, stream: u64) -> Self {
        self.end_with(stream, "Unavailable", "")
    }

    pub(super) fn end_with(self, stream: u64, code: &str, reason: &str) -> Self {
        let (code, reason) = (code.to_owned(), reason.to_owned());
        self.push(Event::End { stream, by_reader: false, code, reason })
    }

    pub(super) fn begin(self, strike: u32, nemesis: Nemesis, replica: Option<u8>) -> Self {
        self.push(Event::Begin { strike, nemesis, replica, detail: String::new() })
    }

    pub(super) fn lift(self, strike: u32) -> Self {
        self.push(Event::Lift { strike })
    }

    pub(super) fn finish(self, strike: u32) -> Self {
        self.push(Event::Finish { strike })
    }

    /// A failover that loses what is written in it.
    pub(super) fn losing(self, during: impl Fn(Self) -> Self) -> Self {
        let script = self.begin(99, Nemesis::Failover, None);
        let kept_before = script.at;
        during(script.later(1)).push(Event::Lost { strike: 99, kept_before }).lift(99).finish(99)
    }

    pub(super) fn loss(self) -> Self {
        self.losing(|script| script)
    }

    pub(super) fn calm(self) -> Self {
        self.push(Event::Calm)
    }

    pub(super) fn settle(self) -> Self {
        self.push(Event::Settled)
    }

    pub(super) fn with_journal(mut self, change: impl Fn(&mut Event)) -> Self {
        self.journal.iter_mut().for_each(change);
        self
    }

    pub(super) fn with_answers(mut self, change: impl Fn(&mut Event)) -> Self {
        self.events.iter_mut().for_each(|(_, event)| change(event));
        self
    }

    pub(super) fn without_calls(mut self) -> Self {
        self.events.retain(|(_, event)| !matches!(event, Event::Call { .. }));
        self
    }

    pub(super) fn without_entry(mut self, gone: i64) -> Self {
        self.journal.retain(|event| !matches!(event, Event::Entry { version, .. } if *version == gone));
        self
    }

    pub(super) fn without_operation(mut self, gone: i64) -> Self {
        self.journal.retain(|event| !matches!(event, Event::Operation { first, .. } if *first == gone));
        self
    }

    fn violated(self) -> Vec<&'static str> {
        let at = self.at + 10;
        let history: History =
            self.events.into_iter().chain(self.journal.into_iter().map(|event| (at, event))).collect();
        let verdict = validate(&history, &Bounds::default());
        let wrong = verdict.findings.into_iter().filter(|(_, findings)| findings.violated > 0);
        wrong.map(|(name, _)| name).collect()
    }

    /// This validator catches it.
    pub(super) fn breaks(self, validator: &str) {
        let violated = self.violated();
        assert!(violated.contains(&validator), "{validator} is not among {violated:?}");
    }

    /// This validator has nothing against it.
    pub(super) fn keeps(self, validator: &str) {
        let violated = self.violated();
        assert!(!violated.contains(&validator), "{violated:?}");
    }

    /// No validator has anything against it, but for those of a whole run.
    pub(super) fn holds(self) {
        let mut violated = self.violated();
        violated.retain(|name| !matches!(*name, "converged" | "audited"));
        assert_eq!(violated, Vec::<&str>::new());
    }
}
