//! What a history says about writes, faults and the final journal, gathered once for all validators.

use std::collections::{BTreeMap, HashMap};

use crate::history::{Account, Command, Delivered, Event, Figures, Hash, History, Line, Nemesis, Outcome};

/// A write with its answer.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) line: Line,
    pub(super) at: u64,
    pub(super) account: Account,
    pub(super) key: &'a str,
    pub(super) command: Command,
    pub(super) answer: Option<(Line, u64, &'a Outcome)>,
}

/// An entry of the final journal.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) line: Line,
    pub(super) version: i64,
    pub(super) hash: Hash,
    pub(super) operation: &'a str,
    pub(super) index: i32,
    pub(super) size: i32,
    pub(super) kind: i16,
    pub(super) delta: Figures,
    pub(super) after: Figures,
}

/// A key of the final database.
#[derive(Debug)]
pub(super) struct Operation<'a> {
    pub(super) line: Line,
    pub(super) operation: &'a str,
    pub(super) first: i64,
    pub(super) count: i64,
}

/// A fault's time.
#[derive(Debug, Clone)]
pub(super) struct Window {
    pub(super) strike: u32,
    pub(super) nemesis: Nemesis,
    pub(super) replica: Option<u8>,
    pub(super) begin: u64,
    pub(super) lift: u64,
    pub(super) finish: u64,
}

impl Window {
    /// Whether it is of this replica, or of all.
    pub(super) fn is_of(&self, replica: u8) -> bool {
        self.replica.is_none_or(|own| own == replica)
    }
}

/// History that was lost on purpose.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loss {
    pub(super) kept_before: u64,
    pub(super) until: u64,
}

/// All of it.
#[derive(Debug)]
pub struct Facts<'a> {
    pub(super) history: &'a History,
    pub(super) journal: BTreeMap<Account, Vec<Entry<'a>>>,
    pub(super) operations: BTreeMap<(Account, &'a str), Operation<'a>>,
    pub(super) calls: Vec<Call<'a>>,
    pub(super) windows: Vec<Window>,
    pub(super) losses: Vec<Loss>,
    pub(super) calm: Option<u64>,
    pub(super) settled: Option<u64>,
    /// For each account: when an answer came, and the newest version that had been acknowledged by then, of what is in
    /// the final journal.
    acknowledged: HashMap<Account, Vec<(u64, i64)>>,
    /// When each version of the final journal was acknowledged first.
    acknowledged_at: HashMap<(Account, i64), u64>,
}

impl<'a> Facts<'a> {
    /// Gathers them.
    pub fn of(history: &'a History) -> Self {
        let mut facts = Self {
            history,
            journal: BTreeMap::new(),
            operations: BTreeMap::new(),
            calls: Vec::new(),
            windows: Vec::new(),
            losses: Vec::new(),
            calm: None,
            settled: None,
            acknowledged: HashMap::new(),
            acknowledged_at: HashMap::new(),
        };
        let mut by_call = HashMap::new();
        for (line, record) in history.records() {
            match &record.event {
                Event::Call { call, account, key, command, .. } => {
                    by_call.insert(*call, facts.calls.len());
                    let (at, account, command) = (record.at, *account, *command);
                    facts.calls.push(Call { line, at, account, key, command, answer: None });
                }
                Event::Answer { call, outcome } => {
                    let call = by_call.remove(call).and_then(|call| facts.calls.get_mut(call));
                    if let Some(call) = call {
                        call.answer = Some((line, record.at, outcome));
                    }
                }
                other => facts.take(line, record.at, other),
            }
        }
        facts.journal.values_mut().for_each(|entries| entries.sort_by_key(|entry| entry.version));
        facts.gather_acknowledged();
        facts
    }

    fn take(&mut self, line: Line, at: u64, event: &'a Event) {
        match event {
            Event::Begin { strike, nemesis, replica, .. } => {
                let (strike, nemesis, replica) = (*strike, *nemesis, *replica);
                let (lift, finish) = (u64::MAX, u64::MAX);
                self.windows.push(Window { strike, nemesis, replica, begin: at, lift, finish });
            }
            Event::Lift { strike } => {
                self.windows.iter_mut().filter(|w| w.strike == *strike).for_each(|w| w.lift = at);
            }
            Event::Finish { strike } => {
                self.windows.iter_mut().filter(|w| w.strike == *strike).for_each(|w| w.finish = at);
            }
            Event::Lost { kept_before, .. } => {
                self.losses.push(Loss { kept_before: *kept_before, until: at });
            }
            Event::Calm => self.calm = Some(at),
            Event::Settled => self.settled = Some(at),
            Event::Entry { account, version, hash, operation, index, size, kind, delta, after } => {
                let (version, hash, index, size) = (*version, *hash, *index, *size);
                let (kind, delta, after) = (*kind, *delta, *after);
                let entry = Entry { line, version, hash, operation, index, size, kind, delta, after };
                self.journal.entry(*account).or_default().push(entry);
            }
            Event::Operation { account, key, operation, first, count } => {
                let stored = Operation { line, operation, first: *first, count: *count };
                self.operations.insert((*account, key), stored);
            }
            _ => {}
        }
    }

    fn gather_acknowledged(&mut self) {
        let mut told: Vec<(u64, Account, Delivered)> = Vec::new();
        for call in &self.calls {
            if let Some((_, at, Outcome::Acknowledged(answered))) = call.answer {
                told.extend(answered.entries.iter().map(|entry| (at, call.account, *entry)));
            }
        }
        told.retain(|(_, account, entry)| self.is_kept(*account, entry.0, entry.1));
        told.sort_by_key(|(at, ..)| *at);
        for (at, account, Delivered(version, ..)) in told {
            let by_time = self.acknowledged.entry(account).or_default();
            let newest = by_time.last().map_or(0, |(_, newest)| *newest);
            by_time.push((at, newest.max(version)));
            self.acknowledged_at.entry((account, version)).or_insert(at);
        }
    }

    /// The entry of the final journal.
    pub(super) fn entry(&self, account: Account, version: i64) -> Option<&Entry<'a>> {
        let entries = self.journal.get(&account)?;
        let at = entries.binary_search_by_key(&version, |entry| entry.version).ok()?;
        entries.get(at)
    }

    /// Whether the final journal has this version with this hash. Version 0 is the beginning of every history.
    pub(super) fn is_kept(&self, account: Account, version: i64, hash: Hash) -> bool {
        version == 0 || self.entry(account, version).is_some_and(|entry| entry.hash == hash)
    }

    /// The last version of the final journal, and its hash.
    pub(super) fn head(&self, account: Account) -> (i64, Hash) {
        let last = self.journal.get(&account).and_then(|entries| entries.last());
        last.map_or((0, Hash(0)), |entry| (entry.version, entry.hash))
    }

    /// The newest version of the final journal that had been acknowledged before this time; 0: none.
    pub(super) fn acknowledged_before(&self, account: Account, at: u64) -> i64 {
        let Some(by_time) = self.acknowledged.get(&account) else { return 0 };
        let before = by_time.partition_point(|(answered, _)| *answered < at);
        before.checked_sub(1).and_then(|last| by_time.get(last)).map_or(0, |(_, version)| *version)
    }

    /// When a version of the final journal was acknowledged first.
    pub(super) fn acknowledged_at(&self, account: Account, version: i64) -> Option<u64> {
        self.acknowledged_at.get(&(account, version)).copied()
    }

    /// Whether a write that took this time may have been lost.
    pub(super) fn may_be_lost(&self, called: u64, answered: u64) -> bool {
        self.losses.iter().any(|loss| answered >= loss.kept_before && called <= loss.until)
    }

    /// Whether history may have been lost by this time.
    pub(super) fn loss_began_before(&self, at: u64) -> bool {
        let lossy = |window: &Window| matches!(window.nemesis, Nemesis::Failover | Nemesis::Restore);
        self.windows.iter().any(|window| lossy(window) && window.begin < at)
    }

    /// Whether something held messages of this replica's streams back at this time, or a moment before.
    pub(super) fn is_held_up(&self, replica: u8, at: u64, moment: u64) -> bool {
        let holds = |window: &Window| {
            matches!(
                window.nemesis,
                Nemesis::StallClients | Nemesis::FreezeService | Nemesis::StuckReader | Nemesis::Rolling
            ) && window.is_of(replica)
        };
        let mut windows = self.windows.iter().filter(|window| holds(window));
        windows.any(|window| window.begin <= at && at <= window.finish.saturating_add(moment))
    }
}
