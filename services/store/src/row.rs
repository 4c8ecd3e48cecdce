//! Between rows and the values of the rules. Every conversion is checked: a row that means nothing is an
//! error, never a guess.

use std::fmt::{Display, Write};

use domain::{AccountId, Change, Lot, OperationId, Priority, Timestamp, Unit};
use domain::{AccountState, CostBasis, Entry, EntryHash, EntryKind, Figures, GrantId, GrantKind, Line};
use sqlx::types::Uuid;
use time::OffsetDateTime;

use crate::error::StoreError;

/// A moment as the driver wants it.
pub(crate) fn to_time(at: Timestamp) -> Result<OffsetDateTime, StoreError> {
    let nanos = i128::from(at.micros()) * 1000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos).map_err(|_| StoreError::Corrupt("moment out of range"))
}

/// A moment as the rules want it.
pub(crate) fn from_time(at: OffsetDateTime) -> Result<Timestamp, StoreError> {
    let micros = i64::try_from(at.unix_timestamp_nanos() / 1000);
    micros.map(Timestamp::from_micros).map_err(|_| StoreError::Corrupt("moment out of range"))
}

pub(crate) fn to_hash(bytes: &[u8]) -> Result<EntryHash, StoreError> {
    bytes.try_into().map(EntryHash).map_err(|_| StoreError::Corrupt("entry hash"))
}

pub(crate) fn to_account_state(code: i16) -> Result<AccountState, StoreError> {
    match code {
        1 => Ok(AccountState::Active),
        2 => Ok(AccountState::Frozen),
        3 => Ok(AccountState::Closed),
        _ => Err(StoreError::Corrupt("account state")),
    }
}

/// One row of `entries`.
#[derive(Debug)]
pub(crate) struct EntryRow {
    pub(crate) account_id: String,
    pub(crate) unit: String,
    pub(crate) version: i64,
    pub(crate) operation_id: Uuid,
    pub(crate) operation_index: i32,
    pub(crate) operation_size: i32,
    pub(crate) kind: i16,
    pub(crate) available_delta: i64,
    pub(crate) held_delta: i64,
    pub(crate) scheduled_delta: i64,
    pub(crate) debt_delta: i64,
    pub(crate) available: i64,
    pub(crate) held: i64,
    pub(crate) scheduled: i64,
    pub(crate) debt: i64,
    pub(crate) line_grants: Vec<Uuid>,
    pub(crate) line_deltas: Vec<i64>,
    pub(crate) reference: String,
    pub(crate) actor: String,
    pub(crate) on_behalf_of: String,
    pub(crate) reason: String,
    pub(crate) effective_at: OffsetDateTime,
    pub(crate) recorded_at: OffsetDateTime,
    pub(crate) traceparent: Option<String>,
    pub(crate) metadata_digest: Option<Vec<u8>>,
    pub(crate) entry_hash: Vec<u8>,
}

impl TryFrom<EntryRow> for Entry {
    type Error = StoreError;

    fn try_from(row: EntryRow) -> Result<Self, StoreError> {
        let digest = row.metadata_digest.map(|bytes| {
            <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| StoreError::Corrupt("metadata digest"))
        });
        Ok(Self {
            account: AccountId::try_new(row.account_id)?,
            unit: Unit::try_new(row.unit)?,
            version: row.version,
            operation_id: OperationId::from_uuid(row.operation_id),
            operation_index: row.operation_index,
            operation_size: row.operation_size,
            kind: EntryKind::lookup(row.kind).ok_or(StoreError::Corrupt("entry kind"))?,
            delta: Figures {
                available: row.available_delta,
                held: row.held_delta,
                scheduled: row.scheduled_delta,
                debt: row.debt_delta,
            },
            after: Figures {
                available: row.available,
                held: row.held,
                scheduled: row.scheduled,
                debt: row.debt,
            },
            lines: to_lines(&row.line_grants, &row.line_deltas)?,
            reference: row.reference,
            actor: row.actor,
            on_behalf_of: row.on_behalf_of,
            reason: row.reason,
            effective_at: from_time(row.effective_at)?,
            recorded_at: from_time(row.recorded_at)?,
            traceparent: row.traceparent,
            metadata_digest: digest.transpose()?,
            hash: to_hash(&row.entry_hash)?,
        })
    }
}

fn to_lines(grants: &[Uuid], deltas: &[i64]) -> Result<Vec<Line>, StoreError> {
    let (triples, rest) = deltas.as_chunks::<3>();
    if triples.len() != grants.len() || !rest.is_empty() {
        return Err(StoreError::Corrupt("entry lines"));
    }
    let line = |(grant, [available, held, scheduled]): (&Uuid, &[i64; 3])| Line {
        grant_id: GrantId::from_uuid(*grant),
        available: *available,
        held: *held,
        scheduled: *scheduled,
    };
    Ok(grants.iter().zip(triples).map(line).collect())
}

/// One row of `grants`.
#[derive(Debug)]
pub(crate) struct LotRow {
    pub(crate) account_id: String,
    pub(crate) unit: String,
    pub(crate) grant_id: Uuid,
    pub(crate) version: i64,
    pub(crate) last_version: i64,
    pub(crate) kind: i16,
    pub(crate) priority: i16,
    pub(crate) amount: i64,
    pub(crate) remaining: i64,
    pub(crate) held: i64,
    pub(crate) effective_at: OffsetDateTime,
    pub(crate) expires_at: Option<OffsetDateTime>,
    pub(crate) active: bool,
    pub(crate) cost_currency: Option<String>,
    pub(crate) cost_minor_units: Option<i64>,
}

impl LotRow {
    /// The lot's balance and the lot.
    pub(crate) fn into_lot(self) -> Result<((AccountId, Unit), Lot), StoreError> {
        let balance = (AccountId::try_new(self.account_id)?, Unit::try_new(self.unit)?);
        let cost_basis = match (self.cost_currency, self.cost_minor_units) {
            (Some(currency), Some(minor_units)) => Some(CostBasis::try_new(currency, minor_units)?),
            _ => None,
        };
        let lot = Lot {
            grant_id: GrantId::from_uuid(self.grant_id),
            version: self.version,
            last_version: self.last_version,
            kind: GrantKind::lookup(self.kind).ok_or(StoreError::Corrupt("grant kind"))?,
            priority: Priority::try_new(i64::from(self.priority))?,
            amount: self.amount,
            remaining: self.remaining,
            held: self.held,
            effective_at: from_time(self.effective_at)?,
            expires_at: self.expires_at.map(from_time).transpose()?,
            active: self.active,
            cost_basis,
            change: Change::None,
        };
        Ok((balance, lot))
    }
}

/// A PostgreSQL array as text: arrays of arrays cannot be unnested to different lengths, so a row's array travels so.
pub(crate) fn array_literal<T: Display>(values: impl Iterator<Item = T>) -> String {
    let mut text = String::from("{");
    for (place, value) in values.enumerate() {
        let comma = if place == 0 { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{value}");
    }
    text.push('}');
    text
}
