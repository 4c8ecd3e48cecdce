//! Holds: what each reserves of which lot, what was captured of it, when it ends.

use std::collections::BTreeMap;

use domain::{EntryKind, GrantId, HoldId, HoldState, HoldSum};
use sqlx::PgConnection;
use sqlx::types::Uuid;
use time::OffsetDateTime;

use super::{BalanceCheck, CHUNK, Stage};
use crate::error::StoreError;
use crate::row::from_time;
use crate::verify::VerifyError;

struct Row {
    hold_id: Uuid,
    unit: String,
    version: i64,
    last_version: i64,
    amount: i64,
    remaining: i64,
    captured: i64,
    state: i16,
    line_grants: Vec<Uuid>,
    line_remaining: Vec<i64>,
    expires_at: OffsetDateTime,
}

impl BalanceCheck {
    /// Compares holds with their rows. Gives back those that are to be compared later.
    pub(super) async fn compare_holds_in_tx(
        &mut self,
        tx: &mut PgConnection,
        mut holds: BTreeMap<HoldId, HoldSum>,
        stage: Stage,
    ) -> Result<BTreeMap<HoldId, HoldSum>, VerifyError> {
        let (account, unit) = self.journal.balance();
        let ids: Vec<Uuid> = holds.keys().map(|id| id.uuid()).collect();
        for ids in ids.chunks(CHUNK) {
            let rows = sqlx::query_as!(
                Row,
                r#"select h.hold_id, h.unit, h.version, h.last_version, h.amount, h.remaining, h.captured, h.state,
                          h.line_grants, h.line_remaining, h.expires_at
                   from unnest($2::uuid[]) as wanted(hold_id)
                   cross join lateral (
                       select * from holds where account_id = $1 and hold_id between wanted.hold_id and wanted.hold_id
                       order by hold_id limit 1
                   ) as h"#,
                account.as_str(),
                ids
            )
            .fetch_all(&mut *tx)
            .await
            .map_err(StoreError::during("read holds"))?;
            let rows = rows.into_iter().filter(|row| row.unit == unit.as_str());
            let mut rows: BTreeMap<HoldId, Row> =
                rows.map(|row| (HoldId::from_uuid(row.hold_id), row)).collect();
            for id in ids.iter().copied().map(HoldId::from_uuid) {
                let Some(sum) = holds.get(&id) else { continue };
                let row = rows.remove(&id).ok_or_else(|| self.missing(sum.last_version, "the hold"))?;
                if stage == Stage::Page && row.last_version > sum.last_version {
                    continue;
                }
                self.agree_on_hold(id, sum, &row)?;
                self.holds = self.holds.saturating_add(1);
                let is_open = row.state == HoldState::Open.code();
                self.open_holds = self.open_holds.saturating_add(i64::from(is_open));
                holds.remove(&id);
            }
        }
        Ok(holds)
    }

    fn agree_on_hold(&self, id: HoldId, sum: &HoldSum, row: &Row) -> Result<(), VerifyError> {
        let fact = |what, expected: i64, found: i64| (what, expected.to_string(), found.to_string());
        let lines: BTreeMap<GrantId, i64> = row
            .line_grants
            .iter()
            .zip(&row.line_remaining)
            .filter(|(_, remaining)| **remaining != 0)
            .map(|(grant, remaining)| (GrantId::from_uuid(*grant), *remaining))
            .collect();
        let ends = from_time(row.expires_at)?.micros();
        let expected_end = sum.expires_at.map_or(0, domain::Timestamp::micros);
        let states: Vec<i16> = states_after(sum).iter().map(|state| state.code()).collect();
        let state =
            if states.contains(&row.state) { row.state } else { states.first().copied().unwrap_or(0) };
        self.agree_all((
            sum.last_version,
            id.to_string(),
            &[
                fact("hold.version", sum.version, row.version),
                fact("hold.last_version", sum.last_version, row.last_version),
                fact("hold.amount", sum.amount, row.amount),
                fact("hold.remaining", sum.remaining, row.remaining),
                fact("hold.captured", sum.captured, row.captured),
                fact("hold.expires_at (microseconds)", expected_end, ends),
                fact("hold.state", i64::from(state), i64::from(row.state)),
                ("hold lines", shown(&sum.lines), shown(&lines)),
            ],
        ))
    }
}

/// The states that a hold can be in after its last entry: a final capture gives back the rest by a release of its own,
/// and is not told apart from another capture when there is no rest.
const fn states_after(sum: &HoldSum) -> &'static [HoldState] {
    match sum.last_kind {
        EntryKind::HoldExpiry => &[HoldState::Expired],
        EntryKind::Release => &[HoldState::Released, HoldState::Captured],
        EntryKind::Capture if sum.remaining == 0 => &[HoldState::Open, HoldState::Captured],
        _ => &[HoldState::Open],
    }
}

fn shown(lines: &BTreeMap<GrantId, i64>) -> String {
    let lines: Vec<String> = lines.iter().map(|(grant, remaining)| format!("{grant}: {remaining}")).collect();
    lines.join(", ")
}
