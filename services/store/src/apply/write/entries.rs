//! Entries of a batch as columns for `change.rs`, each with what its rows in `operations` and `outbox` need.

use domain::{Entry, HoldId};
use serde::Serialize;
use sqlx::types::Uuid;
use time::OffsetDateTime;

use crate::apply::EncodeEvent;
use crate::apply::decision::{Decisions, Keyed};
use crate::error::StoreError;
use crate::row::{CrossingRow, array_literal, parts_in_a_row, to_time};

/// Entries, column by column, in the order of the journal.
#[derive(Debug, Default)]
pub(super) struct EntryColumns {
    pub(super) accounts: Vec<String>,
    pub(super) units: Vec<String>,
    pub(super) versions: Vec<i64>,
    pub(super) operation_ids: Vec<Uuid>,
    pub(super) indexes: Vec<i32>,
    pub(super) sizes: Vec<i32>,
    pub(super) kinds: Vec<i16>,
    pub(super) available_deltas: Vec<i64>,
    pub(super) held_deltas: Vec<i64>,
    pub(super) scheduled_deltas: Vec<i64>,
    pub(super) debt_deltas: Vec<i64>,
    pub(super) available: Vec<i64>,
    pub(super) held: Vec<i64>,
    pub(super) scheduled: Vec<i64>,
    pub(super) debt: Vec<i64>,
    /// Array literals: arrays of arrays cannot be unnested to different lengths, so a row's lines travel as text.
    pub(super) line_grants: Vec<String>,
    pub(super) line_deltas: Vec<String>,
    pub(super) references: Vec<String>,
    pub(super) actors: Vec<String>,
    pub(super) on_behalf_of: Vec<String>,
    pub(super) reasons: Vec<String>,
    pub(super) effective: Vec<OffsetDateTime>,
    pub(super) recorded: Vec<OffsetDateTime>,
    pub(super) traceparents: Vec<Option<String>>,
    pub(super) metadata_digests: Vec<Option<Vec<u8>>>,
    pub(super) hashes: Vec<Vec<u8>>,
    /// The row of `operations`, with the first entry of an operation that has a key.
    pub(super) keys: Vec<Option<String>>,
    pub(super) rpcs: Vec<Option<String>>,
    pub(super) fingerprints: Vec<Option<Vec<u8>>>,
    pub(super) results: Vec<Option<serde_json::Value>>,
    pub(super) events: Vec<Vec<u8>>,
    /// What few entries have.
    pub(super) hold_ids: Vec<Option<Uuid>>,
    pub(super) hold_ends: Vec<Option<OffsetDateTime>>,
    pub(super) reverses: Vec<Option<i64>>,
    pub(super) crossed: Vec<Option<serde_json::Value>>,
    pub(super) revoked: Vec<Option<String>>,
    pub(super) reclaimed: Vec<Option<String>>,
}

impl EntryColumns {
    /// The entries of everything that was accepted.
    pub(super) fn of(decisions: &Decisions, encode: EncodeEvent) -> Result<Self, StoreError> {
        let mut columns = Self::default();
        for accepted in &decisions.accepted {
            let mut keyed = accepted.keyed.as_ref();
            for entry in &accepted.operation.entries {
                columns.push(entry, keyed.take(), encode(entry))?;
            }
        }
        Ok(columns)
    }

    fn push(&mut self, entry: &Entry, keyed: Option<&Keyed>, event: Vec<u8>) -> Result<(), StoreError> {
        self.accounts.push(entry.account.as_str().to_owned());
        self.units.push(entry.unit.as_str().to_owned());
        self.versions.push(entry.version);
        self.operation_ids.push(entry.operation_id.uuid());
        self.indexes.push(entry.operation_index);
        self.sizes.push(entry.operation_size);
        self.kinds.push(entry.kind.code());
        self.available_deltas.push(entry.delta.available);
        self.held_deltas.push(entry.delta.held);
        self.scheduled_deltas.push(entry.delta.scheduled);
        self.debt_deltas.push(entry.delta.debt);
        self.available.push(entry.after.available);
        self.held.push(entry.after.held);
        self.scheduled.push(entry.after.scheduled);
        self.debt.push(entry.after.debt);
        self.line_grants.push(array_literal(entry.lines.iter().map(|line| line.grant_id.uuid())));
        self.line_deltas
            .push(array_literal(entry.lines.iter().flat_map(|l| [l.available, l.held, l.scheduled])));
        self.references.push(entry.reference.clone());
        self.actors.push(entry.actor.clone());
        self.on_behalf_of.push(entry.on_behalf_of.clone());
        self.reasons.push(entry.reason.clone());
        self.effective.push(to_time(entry.effective_at)?);
        self.recorded.push(to_time(entry.recorded_at)?);
        self.traceparents.push(entry.traceparent.clone());
        self.metadata_digests.push(entry.metadata_digest.map(|digest| digest.to_vec()));
        self.hashes.push(entry.hash.0.to_vec());
        self.keys.push(keyed.map(|keyed| keyed.key.clone()));
        self.rpcs.push(keyed.map(|keyed| keyed.rpc.to_owned()));
        self.fingerprints.push(keyed.map(|keyed| keyed.fingerprint.to_vec()));
        let result = keyed.and_then(|keyed| keyed.result.as_ref()).map(to_json);
        self.results.push(result.transpose()?);
        self.events.push(event);
        self.hold_ids.push(entry.hold_id.map(HoldId::uuid));
        self.hold_ends.push(entry.hold_expires_at.map(to_time).transpose()?);
        self.reverses.push(entry.reverses);
        let crossed: Vec<CrossingRow> = entry.crossed.iter().map(CrossingRow::from).collect();
        self.crossed.push((!crossed.is_empty()).then(|| to_json(&crossed)).transpose()?);
        let revoked = entry.revocation.as_ref().map(parts_in_a_row);
        self.revoked.push(revoked.map(|parts| array_literal(parts.into_iter())));
        let has_reclaimed = entry.lines.iter().any(|line| line.reclaimed != 0);
        let reclaimed = has_reclaimed.then(|| array_literal(entry.lines.iter().map(|line| line.reclaimed)));
        self.reclaimed.push(reclaimed);
        Ok(())
    }
}

fn to_json(value: &impl Serialize) -> Result<serde_json::Value, StoreError> {
    serde_json::to_value(value).map_err(|_| StoreError::Broken("a value that is no JSON"))
}
