//! Lots: what is left, held, expired and revoked of each.

use std::collections::BTreeMap;

use domain::{GrantId, LotSum, Parts};
use sqlx::PgConnection;
use sqlx::types::Uuid;

use super::{BalanceCheck, CHUNK, Stage};
use crate::error::StoreError;
use crate::verify::VerifyError;

struct Row {
    grant_id: Uuid,
    unit: String,
    version: i64,
    last_version: i64,
    amount: i64,
    remaining: i64,
    held: i64,
    expired: i64,
    revoked: Vec<i64>,
    raises: Vec<i64>,
    active: bool,
}

impl BalanceCheck {
    /// Compares lots with their rows. Gives back those that are to be compared later.
    pub(super) async fn compare_lots_in_tx(
        &mut self,
        tx: &mut PgConnection,
        mut lots: BTreeMap<GrantId, LotSum>,
        stage: Stage,
    ) -> Result<BTreeMap<GrantId, LotSum>, VerifyError> {
        let (account, unit) = self.journal.balance();
        let ids: Vec<Uuid> = lots.keys().map(|id| id.uuid()).collect();
        for ids in ids.chunks(CHUNK) {
            let rows = sqlx::query_as!(
                Row,
                r#"select g.grant_id, g.unit, g.version, g.last_version, g.amount, g.remaining, g.held, g.expired, g.active,
                          array[g.revoked_expired, g.revoked_taken, g.revoked_owed, g.revoked_forgiven] as "revoked!",
                          coalesce(g.raises, '{}') as "raises!"
                   from unnest($2::uuid[]) as wanted(grant_id)
                   cross join lateral (
                       select * from grants where account_id = $1 and grant_id between wanted.grant_id and wanted.grant_id
                       order by grant_id limit 1
                   ) as g"#,
                account.as_str(),
                ids
            )
            .fetch_all(&mut *tx)
            .await
            .map_err(StoreError::during("read lots"))?;
            let rows = rows.into_iter().filter(|row| row.unit == unit.as_str());
            let mut rows: BTreeMap<GrantId, Row> =
                rows.map(|row| (GrantId::from_uuid(row.grant_id), row)).collect();
            for id in ids.iter().copied().map(GrantId::from_uuid) {
                let Some(sum) = lots.get(&id) else { continue };
                let row = rows.remove(&id).ok_or_else(|| self.missing(sum.last_version, "the grant"))?;
                if stage == Stage::Page && row.last_version > sum.last_version {
                    continue;
                }
                self.agree_on_lot(id, sum, &row)?;
                self.lots = self.lots.saturating_add(1);
                lots.remove(&id);
            }
        }
        Ok(lots)
    }

    fn agree_on_lot(&self, id: GrantId, sum: &LotSum, row: &Row) -> Result<(), VerifyError> {
        let fact = |what, expected: i64, found: i64| (what, expected.to_string(), found.to_string());
        // What is left is available or scheduled by `active`; a lot with neither may be both.
        let active = if sum.available > 0 { true } else { sum.scheduled == 0 && row.active };
        let Parts { expired, taken, owed, forgiven } = sum.revoked;
        let revoked = format!("{:?}", [expired, taken, owed, forgiven]);
        let (raises, _) = row.raises.as_chunks::<4>();
        let raised = [0, 1, 2, 3].map(|place| {
            raises.iter().filter_map(|raise| raise.get(place)).copied().fold(0, i64::saturating_add)
        });
        self.agree_all((
            sum.last_version,
            id.to_string(),
            &[
                fact("grant.version", sum.version, row.version),
                fact("grant.last_version", sum.last_version, row.last_version),
                fact("grant.amount", sum.amount, row.amount),
                fact("grant.remaining", sum.remaining(), row.remaining),
                fact("grant.held", sum.held, row.held),
                ("grant.active", active.to_string(), row.active.to_string()),
                fact("grant.expired", sum.expired, row.expired),
                (
                    "grant.revoked (expired, taken, owed, forgiven)",
                    revoked.clone(),
                    format!("{:?}", row.revoked),
                ),
                ("grant.raises (expired, taken, owed, forgiven)", revoked, format!("{raised:?}")),
            ],
        ))
    }
}
