//! Between rows and the values of the rules. Every conversion is checked: a row that means nothing is an
//! error, never a guess.

use std::fmt::{Display, Write};

use domain::{
    AccountId, AccountState, Change, CostBasis, Crossing, Direction, Entry, EntryHash, EntryKind, Figures,
    GrantId, GrantKind, Hold, HoldId, HoldLine, HoldState, Line, Lot, OperationId, Parts, Priority, Revoked,
    Threshold, Timestamp, Unit,
};
use serde::{Deserialize, Serialize};
use sqlx::types::{Json, Uuid};
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

pub(crate) const fn from_account_state(state: AccountState) -> i16 {
    match state {
        AccountState::Active => 1,
        AccountState::Frozen => 2,
        AccountState::Closed => 3,
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
    pub(crate) hold_id: Option<Uuid>,
    pub(crate) hold_expires_at: Option<OffsetDateTime>,
    pub(crate) related_version: Option<i64>,
    pub(crate) crossed: Option<Json<Vec<CrossingRow>>>,
    pub(crate) revoked: Option<Vec<i64>>,
    pub(crate) reclaimed: Option<Vec<i64>>,
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
            lines: to_lines(&row.line_grants, &row.line_deltas, row.reclaimed.as_deref())?,
            reference: row.reference,
            actor: row.actor,
            on_behalf_of: row.on_behalf_of,
            reason: row.reason,
            effective_at: from_time(row.effective_at)?,
            recorded_at: from_time(row.recorded_at)?,
            traceparent: row.traceparent,
            metadata_digest: digest.transpose()?,
            hold_id: row.hold_id.map(HoldId::from_uuid),
            hold_expires_at: row.hold_expires_at.map(from_time).transpose()?,
            reverses: row.related_version,
            crossed: row
                .crossed
                .map_or(Ok(Vec::new()), |Json(rows)| rows.into_iter().map(Crossing::try_from).collect())?,
            revocation: row.revoked.as_deref().map(to_parts).transpose()?,
            hash: to_hash(&row.entry_hash)?,
        })
    }
}

fn to_lines(grants: &[Uuid], deltas: &[i64], reclaimed: Option<&[i64]>) -> Result<Vec<Line>, StoreError> {
    let (triples, rest) = deltas.as_chunks::<3>();
    let is_whole = reclaimed.is_none_or(|reclaimed| reclaimed.len() == grants.len());
    if triples.len() != grants.len() || !rest.is_empty() || !is_whole {
        return Err(StoreError::Corrupt("entry lines"));
    }
    let line = |(place, (grant, [available, held, scheduled])): (usize, (&Uuid, &[i64; 3]))| Line {
        grant_id: GrantId::from_uuid(*grant),
        available: *available,
        held: *held,
        scheduled: *scheduled,
        reclaimed: reclaimed.and_then(|reclaimed| reclaimed.get(place)).copied().unwrap_or(0),
    };
    Ok(grants.iter().zip(triples).enumerate().map(line).collect())
}

fn to_parts(numbers: &[i64]) -> Result<Parts, StoreError> {
    let [expired, taken, owed, forgiven] = *numbers else {
        return Err(StoreError::Corrupt("parts of a revocation"));
    };
    Ok(Parts { expired, taken, owed, forgiven })
}

/// The four parts in the order of the columns.
pub(crate) const fn parts_in_a_row(parts: &Parts) -> [i64; 4] {
    [parts.expired, parts.taken, parts.owed, parts.forgiven]
}

fn to_revoked(raises: Option<Vec<i64>>) -> Result<Revoked, StoreError> {
    let numbers = raises.unwrap_or_default();
    let (raises, rest) = numbers.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(StoreError::Corrupt("raises of a revocation"));
    }
    Ok(Revoked::from_raises(raises.iter().map(|raise| to_parts(raise)).collect::<Result<_, _>>()?))
}

/// A crossing as the journal's column has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CrossingRow {
    name: String,
    at: i64,
    direction: i16,
}

impl From<&Crossing> for CrossingRow {
    fn from(crossing: &Crossing) -> Self {
        let Crossing { name, at, direction } = crossing;
        Self { name: name.clone(), at: *at, direction: direction.code() }
    }
}

impl TryFrom<CrossingRow> for Crossing {
    type Error = StoreError;

    fn try_from(row: CrossingRow) -> Result<Self, StoreError> {
        let direction = Direction::lookup(row.direction).ok_or(StoreError::Corrupt("crossing direction"))?;
        Ok(Self { name: row.name, at: row.at, direction })
    }
}

/// A threshold as the account's column has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ThresholdRow {
    name: String,
    unit: String,
    at: i64,
    rearm_at: i64,
}

impl From<&Threshold> for ThresholdRow {
    fn from(threshold: &Threshold) -> Self {
        Self {
            name: threshold.name().to_owned(),
            unit: threshold.unit().to_string(),
            at: threshold.at(),
            rearm_at: threshold.rearm_at(),
        }
    }
}

impl TryFrom<ThresholdRow> for Threshold {
    type Error = StoreError;

    fn try_from(row: ThresholdRow) -> Result<Self, StoreError> {
        Ok(Self::try_new(row.name, Unit::try_new(row.unit)?, row.at, row.rearm_at)?)
    }
}

/// One row of `grants`; also a lot in `operations.result`.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    pub(crate) expired: i64,
    pub(crate) raises: Option<Vec<i64>>,
    #[serde(with = "time::serde::timestamp::microseconds")]
    pub(crate) effective_at: OffsetDateTime,
    #[serde(with = "time::serde::timestamp::microseconds::option")]
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
            expired: self.expired,
            revoked: to_revoked(self.raises)?,
            effective_at: from_time(self.effective_at)?,
            expires_at: self.expires_at.map(from_time).transpose()?,
            active: self.active,
            cost_basis,
            change: Change::None,
        };
        Ok((balance, lot))
    }

    /// The row of a lot.
    pub(crate) fn of(account: &AccountId, unit: &Unit, lot: &Lot) -> Result<Self, StoreError> {
        let cost = lot.cost_basis.as_ref();
        Ok(Self {
            account_id: account.as_str().to_owned(),
            unit: unit.as_str().to_owned(),
            grant_id: lot.grant_id.uuid(),
            version: lot.version,
            last_version: lot.last_version,
            kind: lot.kind.code(),
            priority: i16::from(lot.priority.get()),
            amount: lot.amount,
            remaining: lot.remaining,
            held: lot.held,
            expired: lot.expired,
            raises: raises_in_a_row(lot),
            effective_at: to_time(lot.effective_at)?,
            expires_at: lot.expires_at.map(to_time).transpose()?,
            active: lot.active,
            cost_currency: cost.map(|cost| cost.currency().to_owned()),
            cost_minor_units: cost.map(CostBasis::minor_units),
        })
    }
}

/// A lot's raises as its column has them; `None` when nothing was revoked.
pub(crate) fn raises_in_a_row(lot: &Lot) -> Option<Vec<i64>> {
    let raises = lot.revoked.raises();
    (!raises.is_empty()).then(|| raises.iter().flat_map(parts_in_a_row).collect())
}

/// One row of `holds`; also a hold in `operations.result`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HoldRow {
    pub(crate) account_id: String,
    pub(crate) hold_id: Uuid,
    pub(crate) unit: String,
    pub(crate) version: i64,
    pub(crate) last_version: i64,
    pub(crate) amount: i64,
    pub(crate) remaining: i64,
    pub(crate) captured: i64,
    pub(crate) state: i16,
    pub(crate) line_grants: Vec<Uuid>,
    pub(crate) line_remaining: Vec<i64>,
    #[serde(with = "time::serde::timestamp::microseconds")]
    pub(crate) created_at: OffsetDateTime,
    #[serde(with = "time::serde::timestamp::microseconds")]
    pub(crate) expires_at: OffsetDateTime,
    #[serde(with = "time::serde::timestamp::microseconds::option")]
    pub(crate) closed_at: Option<OffsetDateTime>,
}

impl HoldRow {
    /// The hold's balance and the hold.
    pub(crate) fn into_hold(self) -> Result<((AccountId, Unit), Hold), StoreError> {
        let balance = (AccountId::try_new(self.account_id)?, Unit::try_new(self.unit)?);
        if self.line_grants.len() != self.line_remaining.len() {
            return Err(StoreError::Corrupt("hold lines"));
        }
        let lines = self.line_grants.into_iter().zip(self.line_remaining);
        let line = |(grant, remaining)| HoldLine { grant_id: GrantId::from_uuid(grant), remaining };
        let hold = Hold {
            hold_id: HoldId::from_uuid(self.hold_id),
            version: self.version,
            last_version: self.last_version,
            amount: self.amount,
            remaining: self.remaining,
            captured: self.captured,
            state: HoldState::lookup(self.state).ok_or(StoreError::Corrupt("hold state"))?,
            lines: lines.map(line).collect(),
            created_at: from_time(self.created_at)?,
            expires_at: from_time(self.expires_at)?,
            closed_at: self.closed_at.map(from_time).transpose()?,
            change: Change::None,
        };
        Ok((balance, hold))
    }

    /// The row of a hold.
    pub(crate) fn of(account: &AccountId, unit: &Unit, hold: &Hold) -> Result<Self, StoreError> {
        Ok(Self {
            account_id: account.as_str().to_owned(),
            hold_id: hold.hold_id.uuid(),
            unit: unit.as_str().to_owned(),
            version: hold.version,
            last_version: hold.last_version,
            amount: hold.amount,
            remaining: hold.remaining,
            captured: hold.captured,
            state: hold.state.code(),
            line_grants: hold.lines.iter().map(|line| line.grant_id.uuid()).collect(),
            line_remaining: hold.lines.iter().map(|line| line.remaining).collect(),
            created_at: to_time(hold.created_at)?,
            expires_at: to_time(hold.expires_at)?,
            closed_at: hold.closed_at.map(to_time).transpose()?,
        })
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
