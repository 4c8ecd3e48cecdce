//! A journal entry and its place in the hash chain.

use crate::canonical::Canonical;
use crate::figures::Figures;
use crate::id::{AccountId, EntryRef, GrantId, HoldId, OperationId, Unit};
use crate::revocation::Parts;
use crate::threshold::Crossing;
use crate::timestamp::Timestamp;

/// SHA-256 over the previous entry's hash of the same balance and this entry. The first entry chains to zeros.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct EntryHash(pub [u8; 32]);

impl std::fmt::Debug for EntryHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// What an entry records.
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
    /// Credits reserved.
    Hold,
    /// Held credits used.
    Capture,
    /// Held credits given back to their lots.
    Release,
    /// The time of a hold ended; the same as a release.
    HoldExpiry,
    /// A hold got a later end; nothing moved.
    HoldExtension,
    /// A spend or capture given back.
    Reversal,
    /// `revoked` of a grant was raised.
    Revocation,
    /// `revoked` of a grant was lowered.
    Reinstatement,
    /// Corrected by an operator.
    Adjustment,
}

impl EntryKind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Grant,
        Self::Spend,
        Self::Expiry,
        Self::Activation,
        Self::Hold,
        Self::Capture,
        Self::Release,
        Self::HoldExpiry,
        Self::HoldExtension,
        Self::Reversal,
        Self::Revocation,
        Self::Reinstatement,
        Self::Adjustment,
    ];

    /// The number that the API and the database use.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::Grant => 1,
            Self::Spend => 2,
            Self::Expiry => 3,
            Self::Activation => 4,
            Self::Hold => 5,
            Self::Capture => 6,
            Self::Release => 7,
            Self::HoldExpiry => 8,
            Self::HoldExtension => 9,
            Self::Reversal => 10,
            Self::Revocation => 11,
            Self::Reinstatement => 12,
            Self::Adjustment => 13,
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
    /// Credits that would have come back to the lot, but were kept by its revocation: forgiven became taken.
    pub reclaimed: i64,
}

impl Line {
    /// A line that moves nothing yet.
    pub(crate) const fn of(grant_id: GrantId) -> Self {
        Self { grant_id, available: 0, held: 0, scheduled: 0, reclaimed: 0 }
    }
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
    /// The hold that the entry made or changed.
    pub hold_id: Option<HoldId>,
    /// The hold's end after the entry, of those that set it.
    pub hold_expires_at: Option<Timestamp>,
    /// Version of the spend or capture that a reversal gives back.
    pub reverses: Option<i64>,
    /// Thresholds that the entry crossed.
    pub crossed: Vec<Crossing>,
    /// How a revocation or reinstatement changed the parts of `revoked`.
    pub revocation: Option<Parts>,
    /// This entry's place in the chain.
    pub hash: EntryHash,
}

impl Entry {
    /// The hash that this entry has after one with hash `previous`. Covers every field but the trace context
    /// and the hash itself.
    #[must_use]
    pub fn chained(&self, previous: EntryHash) -> EntryHash {
        // What the first version did not have makes a second one: older entries keep their hashes.
        let is_extended = self.is_extended();
        let name = if is_extended { "tallystick.entry.v2" } else { "tallystick.entry.v1" };
        let mut canonical = Canonical::new(name);
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
        if is_extended {
            self.feed_extension(&mut canonical);
        }
        EntryHash(canonical.finish())
    }

    fn is_extended(&self) -> bool {
        self.hold_id.is_some()
            || self.hold_expires_at.is_some()
            || self.reverses.is_some()
            || !self.crossed.is_empty()
            || self.revocation.is_some()
            || self.lines.iter().any(|line| line.reclaimed != 0)
    }

    fn feed_extension(&self, canonical: &mut Canonical) {
        let hold_id = self.hold_id.map(HoldId::uuid);
        canonical.optional_bytes(hold_id.as_ref().map(|uuid| uuid.as_bytes().as_slice()));
        canonical.optional_int(self.hold_expires_at.map(Timestamp::micros)).optional_int(self.reverses);
        canonical.count(self.crossed.len());
        for crossing in &self.crossed {
            canonical.text(&crossing.name).int(crossing.at).int(i64::from(crossing.direction.code()));
        }
        match self.revocation {
            None => canonical.int(0),
            Some(Parts { expired, taken, owed, forgiven }) => {
                canonical.int(1).int(expired).int(taken).int(owed).int(forgiven)
            }
        };
        for line in &self.lines {
            canonical.int(line.reclaimed);
        }
    }

    /// Its name within the balance.
    #[must_use]
    pub fn name(&self) -> EntryRef {
        let (heads, _) = self.hash.0.as_chunks::<8>();
        EntryRef { version: self.version, digits: heads.first().copied().unwrap_or_default() }
    }

    /// The entry's public id: `<unit>/<version>/<first 16 hexadecimal digits of its hash>`. The digits make
    /// another account's id unusable here.
    #[must_use]
    pub fn id(&self) -> String {
        self.name().id(&self.unit)
    }
}
