//! The journal replayed by itself: the entries alone must explain every part of every lot, hold and reversal.

use std::collections::BTreeMap;

use domain::{Balance, Entry, EntryKind, GrantId, HoldId, Lot, Timestamp};

/// What the entries say of a lot.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct LotFacts {
    remaining: i64,
    held: i64,
    expired: i64,
    /// Expired, taken, owed, forgiven.
    revoked: [i64; 4],
    last_version: i64,
}

#[derive(Debug, Default)]
pub struct Replay {
    lots: BTreeMap<GrantId, LotFacts>,
    /// What a hold reserves of each lot, and its end.
    holds: BTreeMap<HoldId, (BTreeMap<GrantId, i64>, Option<Timestamp>)>,
    /// What came back of an entry, by its version.
    came_back: BTreeMap<i64, i64>,
    read: usize,
}

impl Replay {
    /// Reads the entries that are new, and compares what they say with the balance.
    pub fn compare(&mut self, entries: &[Entry], balance: &Balance) -> Result<(), String> {
        entries[self.read..].iter().for_each(|entry| self.read(entry));
        self.read = entries.len();
        for lot in balance.lots.iter().chain(&balance.closed) {
            let said = self.lots.get(&lot.grant_id).copied().unwrap_or_default();
            equal("replay of a lot", said, facts(lot))?;
        }
        for hold in &balance.holds {
            let (lots, expires_at) = self.holds.get(&hold.hold_id).ok_or("replay of a hold: none")?;
            let reserved: BTreeMap<GrantId, i64> =
                hold.lines.iter().map(|line| (line.grant_id, line.remaining)).collect();
            equal("replay of a hold", (lots, *expires_at), (&reserved, Some(hold.expires_at)))?;
        }
        for spend in &balance.spends {
            let said = self.came_back.get(&spend.entry.version).copied().unwrap_or(0);
            equal("replay of reversals", said, spend.reversed)?;
        }
        Ok(())
    }

    fn read(&mut self, entry: &Entry) {
        for line in &entry.lines {
            let lot = self.lots.entry(line.grant_id).or_default();
            lot.remaining += line.available + line.held + line.scheduled;
            lot.held += line.held;
            if entry.kind == EntryKind::Expiry {
                lot.expired -= line.available;
            }
            // Kept by the revocation: forgiven became taken.
            lot.revoked[3] -= line.reclaimed;
            lot.revoked[1] += line.reclaimed;
            lot.last_version = entry.version;
        }
        if let Some(parts) = entry.revocation {
            let lot = self.lots.entry(entry.lines[0].grant_id).or_default();
            let deltas = [parts.expired, parts.taken, parts.owed, parts.forgiven];
            lot.revoked.iter_mut().zip(deltas).for_each(|(part, delta)| *part += delta);
        }
        if let Some(hold_id) = entry.hold_id {
            let (lots, expires_at) = self.holds.entry(hold_id).or_default();
            for line in entry.lines.iter().filter(|line| line.held != 0) {
                *lots.entry(line.grant_id).or_default() += line.held;
            }
            *expires_at = entry.hold_expires_at.or(*expires_at);
        }
        if let Some(version) = entry.reverses {
            let returned: i64 = entry.lines.iter().map(|line| line.available + line.reclaimed).sum();
            *self.came_back.entry(version).or_default() += returned - entry.delta.debt;
        }
    }
}

fn facts(lot: &Lot) -> LotFacts {
    let parts = lot.revoked.parts();
    LotFacts {
        remaining: lot.remaining,
        held: lot.held,
        expired: lot.expired,
        revoked: [parts.expired, parts.taken, parts.owed, parts.forgiven],
        last_version: lot.last_version,
    }
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, said: T, is: T) -> Result<(), String> {
    if said == is { Ok(()) } else { Err(format!("{what}: entries say {said:?}, balance has {is:?}")) }
}
