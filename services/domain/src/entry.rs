//! A journal entry and its place in the hash chain.

use crate::canonical::Canonical;
use crate::figures::Figures;
use crate::id::{AccountId, GrantId, OperationId, Unit};
use crate::timestamp::Timestamp;

/// SHA-256 over the previous entry's hash of the same balance and this entry. The first entry chains to zeros.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct EntryHash(pub [u8; 32]);

impl std::fmt::Debug for EntryHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// What an entry records. Codes 3–4 and 7–… belong to later rules (see docs/api.md, EntryKind).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A new lot.
    Grant,
    /// Credits used.
    Spend,
    /// Lots that ended.
    Expiry,
    /// Scheduled lots that became available.
    Activation,
}

impl EntryKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Grant, Self::Spend, Self::Expiry, Self::Activation];

    /// The number that the API and the database use.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::Grant => 1,
            Self::Spend => 2,
            Self::Expiry => 3,
            Self::Activation => 4,
        }
    }

    /// The kind of a code.
    #[must_use]
    pub fn lookup(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// What an entry moved in one lot. The lines of an entry sum to its deltas of the same three figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The lot.
    pub grant_id: GrantId,
    /// Change of what can be spent.
    pub available: i64,
    /// Change of what is held.
    pub held: i64,
    /// Change of what is scheduled.
    pub scheduled: i64,
}

/// One change of one balance. Append-only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose balance.
    pub account: AccountId,
    /// Which unit of it.
    pub unit: Unit,
    /// Dense from 1 per balance.
    pub version: i64,
    /// The accepted command.
    pub operation_id: OperationId,
    /// Place in the operation, from 0.
    pub operation_index: i32,
    /// Entries of the operation; their versions are consecutive.
    pub operation_size: i32,
    /// What it records.
    pub kind: EntryKind,
    /// Change of the four figures.
    pub delta: Figures,
    /// The four figures afterwards.
    pub after: Figures,
    /// What moved in which lot.
    pub lines: Vec<Line>,
    /// The caller's reference.
    pub reference: String,
    /// Who asked.
    pub actor: String,
    /// For whom.
    pub on_behalf_of: String,
    /// Why.
    pub reason: String,
    /// When it counts: the due time of a settlement, else when it was decided. Never before the entry before.
    pub effective_at: Timestamp,
    /// The database's time when it was decided.
    pub recorded_at: Timestamp,
    /// W3C trace context of the request; not hashed.
    pub traceparent: Option<String>,
    /// Digest of the metadata beside the journal.
    pub metadata_digest: Option<[u8; 32]>,
    /// This entry's place in the chain.
    pub hash: EntryHash,
}

impl Entry {
    /// The hash that this entry has after one with hash `previous`. Covers every field but the trace context
    /// and the hash itself.
    #[must_use]
    pub fn chained(&self, previous: EntryHash) -> EntryHash {
        let mut canonical = Canonical::new("tallystick.entry.v1");
        canonical.bytes(&previous.0);
        canonical.text(self.account.as_str()).text(self.unit.as_str()).int(self.version);
        canonical.bytes(self.operation_id.uuid().as_bytes());
        canonical.int(i64::from(self.operation_index)).int(i64::from(self.operation_size));
        canonical.int(i64::from(self.kind.code()));
        for figures in [self.delta, self.after] {
            canonical.int(figures.available).int(figures.held).int(figures.scheduled).int(figures.debt);
        }
        canonical.count(self.lines.len());
        for line in &self.lines {
            canonical.bytes(line.grant_id.uuid().as_bytes());
            canonical.int(line.available).int(line.held).int(line.scheduled);
        }
        canonical.text(&self.reference).text(&self.actor).text(&self.on_behalf_of).text(&self.reason);
        canonical.int(self.effective_at.micros()).int(self.recorded_at.micros());
        canonical.optional_bytes(self.metadata_digest.as_ref().map(<[u8; 32]>::as_slice));
        EntryHash(canonical.finish())
    }

    /// The entry's public id: `<unit>/<version>/<first 16 hexadecimal digits of its hash>`. The digits make
    /// another account's id unusable here.
    #[must_use]
    pub fn id(&self) -> String {
        let digits = hex::encode(self.hash.0.split_at(8).0);
        format!("{}/{}/{digits}", self.unit, self.version)
    }
}
