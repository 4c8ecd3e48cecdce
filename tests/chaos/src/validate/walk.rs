//! Goes through the streams of a history as a reader does: where each stands before and after every message.

use std::collections::{BTreeMap, HashMap};

use super::Facts;
use crate::history::{Account, Event, Hash, Line, Target};

/// Where a stream is with one balance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Version and hash that the reader has; none: it has nothing, and a snapshot comes first. The hash is not known
    /// when the reader named a version alone.
    pub(super) at: Option<(i64, Option<Hash>)>,
    /// Whether a message has told of it.
    pub(super) told: bool,
}

/// An open stream.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub(super) reader: u16,
    pub(super) replica: u8,
    pub(super) latest: bool,
    pub(super) require_history: bool,
    pub(super) opened: u64,
    /// Targets that are watched.
    pub(super) places: BTreeMap<Account, Place>,
    pub(super) is_paused: bool,
    /// When the reader last read on after a pause.
    pub(super) resumed: Option<u64>,
    pub(super) had_go_away: bool,
}

impl Stream {
    /// Whether the reader itself kept messages waiting at this time, or a moment before.
    pub(super) fn was_paused(&self, at: u64, moment: u64) -> bool {
        self.is_paused || self.resumed.is_some_and(|resumed| at <= resumed.saturating_add(moment))
    }
}

/// One message or end, seen by the stream that it belongs to, as that was before.
pub(super) struct Step<'a> {
    pub(super) line: Line,
    pub(super) at: u64,
    pub(super) stream: &'a Stream,
    pub(super) event: &'a Event,
}

type Tokens = HashMap<u64, BTreeMap<Account, (i64, Option<Hash>)>>;

/// All streams of a history, up to where it settled: what comes later is the end of the run.
#[derive(Default)]
pub(super) struct Walk {
    streams: HashMap<u64, Stream>,
    tokens: Tokens,
}

impl Walk {
    /// Goes through a history; `look` sees each message before it is taken. Gives the streams that were open at the end.
    pub(super) fn through(facts: &Facts<'_>, mut look: impl FnMut(&Step<'_>)) -> Vec<Stream> {
        let mut walk = Self::default();
        for (line, record) in facts.history.records() {
            if matches!(record.event, Event::Settled) {
                break;
            }
            if let Some(id) = id_of(&record.event)
                && let Some(stream) = walk.streams.get(&id)
            {
                look(&Step { line, at: record.at, stream, event: &record.event });
            }
            walk.take(record.at, &record.event);
        }
        walk.streams.into_values().collect()
    }

    fn take(&mut self, at: u64, event: &Event) {
        if let Event::Open { stream, replica, reader, latest, require_history, targets, token } = event {
            let token = token.and_then(|token| self.tokens.get(&token));
            let places = targets.iter().map(|target| (target.account, place(target, token)));
            let opened = Stream {
                reader: *reader,
                replica: *replica,
                latest: *latest,
                require_history: *require_history,
                opened: at,
                places: places.collect(),
                is_paused: false,
                resumed: None,
                had_go_away: false,
            };
            self.streams.insert(*stream, opened);
            return;
        }
        let Some(id) = id_of(event) else { return };
        let Some(stream) = self.streams.get_mut(&id) else { return };
        match event {
            Event::Snapshot { account, version, hash, .. } => {
                stream.places.insert(*account, Place { at: Some((*version, Some(*hash))), told: true });
            }
            Event::Changes { account, entries, .. } => {
                if let Some(last) = entries.last() {
                    stream.places.insert(*account, Place { at: Some((last.0, Some(last.1))), told: true });
                }
            }
            Event::Removed { account, .. } => {
                stream.places.remove(account);
            }
            Event::Bookmark { token, .. } | Event::GoAway { token, .. } => {
                stream.had_go_away |= matches!(event, Event::GoAway { .. });
                let known = stream.places.iter().filter_map(|(account, place)| Some((*account, place.at?)));
                self.tokens.insert(*token, known.collect());
            }
            Event::Paused { .. } => stream.is_paused = true,
            Event::Resumed { .. } => (stream.is_paused, stream.resumed) = (false, Some(at)),
            Event::End { .. } => {
                self.streams.remove(&id);
            }
            _ => {}
        }
    }
}

/// Where a stream begins with a target: as the target says, else as the token says, else nowhere.
fn place(target: &Target, token: Option<&BTreeMap<Account, (i64, Option<Hash>)>>) -> Place {
    let named =
        target.version.map(|version| (version, if version == 0 { Some(Hash(0)) } else { target.hash }));
    let at = named.or_else(|| token.and_then(|token| token.get(&target.account)).copied());
    Place { at, told: false }
}

fn id_of(event: &Event) -> Option<u64> {
    match event {
        Event::Snapshot { stream, .. }
        | Event::Changes { stream, .. }
        | Event::Bookmark { stream, .. }
        | Event::Removed { stream, .. }
        | Event::GoAway { stream, .. }
        | Event::End { stream, .. }
        | Event::Paused { stream }
        | Event::Resumed { stream } => Some(*stream),
        _ => None,
    }
}
