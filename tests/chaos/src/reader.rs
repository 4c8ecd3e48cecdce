//! Readers: each opens one stream after the other and records every message. They check nothing; they remember what
//! they need to go on, from the last place or from a random earlier one.

mod manner;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use proto::v1::credit_service_client::CreditServiceClient;
use proto::v1::watch_credits_response::Event as Sent;
use proto::v1::{
    SnapshotReason, TargetChangeState, WatchCreditsRequest, WatchCreditsResponse, WatchMode, WatchTarget,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Status;

pub(crate) use self::manner::Manner;
use self::manner::{Beginning, From};
use crate::history::{Account, Event, Hash, Reason, Target};
use crate::world::{Phase, Places, Token, UNIT, World, account_id, account_of, reason_of};
use crate::writer::{channel, delivered};

/// Places of each account that a reader may go back to.
const REMEMBERED: usize = 500;
/// Longest pause before the next stream.
const LONGEST_PAUSE: Duration = Duration::from_millis(300);
/// A stream that is not opened by then is given up: connections hang on purpose.
const OPEN_LIMIT: Duration = Duration::from_secs(10);

/// Where a reader is now, for those who wait for it: none while it has no stream.
pub(crate) type Seen = Arc<Mutex<Option<Places>>>;

/// One reader.
pub(crate) struct Reader {
    world: Arc<World>,
    number: u16,
    manner: Manner,
    random: StdRng,
    /// Where it is with each account: version and entry hash.
    places: BTreeMap<Account, Place>,
    /// Where it was.
    earlier: BTreeMap<Account, Vec<Place>>,
    /// The newest token.
    token: Option<Token>,
    pub(crate) seen: Seen,
}

/// A version and its whole hash; an empty one: version 0, or not to be told.
type Place = (i64, Bytes);

/// How a stream ended.
enum Ended {
    ByReader,
    ByService(Result<(), Status>),
}

impl Reader {
    pub(crate) fn new(world: Arc<World>, number: u16, manner: Manner, seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed ^ (u64::from(number) << 48) ^ 0x7ead);
        let (places, earlier) = (BTreeMap::new(), BTreeMap::new());
        Self { world, number, manner, random, places, earlier, token: None, seen: Seen::default() }
    }

    /// Reads until the end.
    pub(crate) async fn run(mut self) {
        while !self.world.is(Phase::End) {
            let (ended, stream) = self.stream().await;
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = None;
            let (by_reader, code, reason) = match ended {
                Ended::ByReader => (true, String::new(), String::new()),
                Ended::ByService(Ok(())) => (false, "Ok".to_owned(), String::new()),
                Ended::ByService(Err(status)) => (false, format!("{:?}", status.code()), reason_of(&status)),
            };
            self.world.recorder.record(Event::End { stream, by_reader, code, reason });
            sleep(LONGEST_PAUSE.mul_f64(self.random.random())).await;
        }
    }

    /// One stream.
    async fn stream(&mut self) -> (Ended, u64) {
        let number = self.world.number();
        let replica = self.random.random_range(0..self.world.replicas.len());
        let beginning = self.manner.begin(&mut self.random, &self.world);
        let (targets, token) = self.targets(&beginning);
        let message = request(&targets, token.as_ref(), &beginning);
        let known = known(&targets, token.as_ref());
        let targets = targets.into_iter().map(|(account, place)| target(account, place.as_ref())).collect();
        self.world.recorder.record(Event::Open {
            stream: number,
            replica: u8::try_from(replica).unwrap_or_default(),
            reader: self.number,
            latest: beginning.latest,
            require_history: beginning.require_history,
            targets,
            token: token.map(|token| token.number),
        });
        let mut phase = self.world.phase.subscribe();
        let end_at = Instant::now() + beginning.life;
        let mut client = CreditServiceClient::new(channel(&self.world.replicas[replica].addr()));
        let opened = timeout_at(Instant::now() + OPEN_LIMIT, client.watch_credits(message)).await;
        let mut messages = match opened {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) => return (Ended::ByService(Err(status)), number),
            Err(_) => return (Ended::ByReader, number),
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        let mut has_bookmark = false;
        loop {
            self.wait_while_stuck(number).await;
            // In the calm every stream lives on.
            let over = phase.wait_for(|phase| *phase >= Phase::End);
            let lives_on = self.world.is(Phase::Calm);
            let next = tokio::select! {
                next = messages.message() => next,
                _ = over => return (Ended::ByReader, number),
                () = tokio::time::sleep_until(end_at), if !lives_on => return (Ended::ByReader, number),
            };
            match next {
                Ok(Some(message)) => self.take(number, message, &mut has_bookmark),
                Ok(None) => return (Ended::ByService(Ok(())), number),
                Err(status) => return (Ended::ByService(Err(status)), number),
            }
        }
    }

    async fn wait_while_stuck(&self, stream: u64) {
        if !self.manner.can_be_stuck() || !*self.world.stuck.borrow() {
            return;
        }
        self.world.recorder.record(Event::Paused { stream });
        let mut stuck = self.world.stuck.subscribe();
        // The world outlives its readers.
        let _ = stuck.wait_for(|stuck| !stuck).await;
        self.world.recorder.record(Event::Resumed { stream });
    }

    /// What the next stream asks for.
    fn targets(&mut self, beginning: &Beginning) -> (Vec<(Account, Option<Place>)>, Option<Token>) {
        let token = match beginning.from {
            From::OwnToken => self.token.clone(),
            From::AnyToken => self.world.some_token(self.random.random()),
            _ => None,
        };
        let mut targets = Vec::new();
        for account in &beginning.accounts {
            let start = Some((0, Bytes::new()));
            let place = match beginning.from {
                From::Last => self.places.get(account).cloned().or(start),
                From::Earlier => self.some_place(*account),
                From::Start => start,
                From::OwnToken | From::AnyToken | From::Nothing => None,
            };
            targets.push((*account, place));
        }
        (targets, token)
    }

    /// Where it was once; now and then without the hash, which a request may leave out.
    fn some_place(&mut self, account: Account) -> Option<Place> {
        if self.random.random_bool(0.3) {
            return self.places.get(&account).cloned();
        }
        let (version, hash) = self.earlier.get(&account)?.choose(&mut self.random)?.clone();
        Some((version, if self.random.random_bool(0.15) { Bytes::new() } else { hash }))
    }

    fn take(&mut self, stream: u64, message: WatchCreditsResponse, has_bookmark: &mut bool) {
        let recorder = &self.world.recorder;
        match message.event {
            Some(Sent::Snapshot(snapshot)) => {
                let reason = match snapshot.reason() {
                    SnapshotReason::Initial => Reason::Initial,
                    SnapshotReason::ResetTooOld => Reason::TooOld,
                    SnapshotReason::ResetDiverged => Reason::Diverged,
                    SnapshotReason::Conflated => Reason::Conflated,
                    SnapshotReason::Unspecified => Reason::Unspecified,
                };
                let balance = snapshot.balance.unwrap_or_default();
                let (account, version) = (account_of(&balance.account_id), balance.version);
                let hash = Hash::of(&balance.entry_hash);
                recorder.record(Event::Snapshot { stream, account, version, hash, reason });
                self.go_to(account, version, balance.entry_hash);
            }
            Some(Sent::Changes(changes)) => {
                let account = account_of(&changes.account_id);
                let entries: Vec<_> = changes.entries.iter().map(delivered).collect();
                recorder.record(Event::Changes { stream, account, entries });
                for entry in changes.entries {
                    self.go_to(account, entry.version, entry.entry_hash);
                }
            }
            Some(Sent::Bookmark(bookmark)) => {
                *has_bookmark = true;
                let lag =
                    bookmark.source_lag.and_then(|lag| Duration::try_from(lag).ok()).unwrap_or_default();
                let lag_us = u64::try_from(lag.as_micros()).unwrap_or(u64::MAX);
                let token = self.world.take_token(bookmark.resume_token, self.now_at(), true);
                let (in_sync, number) = (bookmark.in_sync, token.number);
                recorder.record(Event::Bookmark { stream, in_sync, lag_us, token: number });
                self.token = Some(token).filter(|token| !token.bytes.is_empty());
            }
            Some(Sent::TargetChange(change)) => {
                let account = account_of(&change.account_id);
                let reason = change.error.as_ref().map(|error| error.reason.clone());
                let reason = match change.state() {
                    TargetChangeState::Removed => reason.unwrap_or_default(),
                    other => other.as_str_name().to_owned(),
                };
                recorder.record(Event::Removed { stream, account, reason });
                if let Some(seen) = self.seen.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                    seen.remove(&account);
                }
            }
            Some(Sent::GoAway(go_away)) => {
                let token = self.world.take_token(go_away.resume_token, self.now_at(), false);
                recorder.record(Event::GoAway { stream, token: token.number });
                // Before the first bookmark it may still be the token that was given, and less than the targets say.
                if *has_bookmark && !token.bytes.is_empty() {
                    self.token = Some(token);
                }
            }
            None => {
                recorder.record(Event::Library { said: "a message without an event".to_owned() });
            }
        }
    }

    fn now_at(&self) -> Places {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
    }

    fn go_to(&mut self, account: Account, version: i64, hash: Bytes) {
        if let Some(seen) = self.seen.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            seen.insert(account, (version, Hash::of(&hash)));
        }
        self.places.insert(account, (version, hash.clone()));
        let earlier = self.earlier.entry(account).or_default();
        if earlier.len() == REMEMBERED {
            earlier.swap_remove(self.random.random_range(0..REMEMBERED));
        }
        earlier.push((version, hash));
    }
}

/// What the reader has of the targets of a stream that begins.
fn known(targets: &[(Account, Option<Place>)], token: Option<&Token>) -> Places {
    let at = |(account, place): &(Account, Option<Place>)| {
        let place = place.as_ref().map(|(version, hash)| (*version, Hash::of(hash)));
        let place = place.or_else(|| token?.places.get(account).copied());
        (*account, place.unwrap_or_default())
    };
    targets.iter().map(at).collect()
}

fn target(account: Account, place: Option<&Place>) -> Target {
    let hash = place.filter(|(_, hash)| !hash.is_empty()).map(|(_, hash)| Hash::of(hash));
    Target { account, version: place.map(|(version, _)| *version), hash }
}

fn request(
    targets: &[(Account, Option<Place>)],
    token: Option<&Token>,
    beginning: &Beginning,
) -> WatchCreditsRequest {
    let target = |(account, place): &(Account, Option<Place>)| WatchTarget {
        account_id: account_id(*account),
        unit: UNIT.to_owned(),
        after_version: place.as_ref().map(|(version, _)| *version),
        after_hash: place.clone().map(|(_, hash)| hash).unwrap_or_default(),
    };
    let mode = if beginning.latest { WatchMode::Latest } else { WatchMode::EveryChange };
    WatchCreditsRequest {
        targets: targets.iter().map(target).collect(),
        resume_token: token.map(|token| token.bytes.clone()).unwrap_or_default(),
        mode: mode.into(),
        require_history: beginning.require_history,
        bookmark_interval: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
    }
}
