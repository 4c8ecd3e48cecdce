//! One account of the model test: what it does, what it expects to hear, and what the tables must say of it.

use domain::{Action, EntryRef, GrantId, HoldId, IdempotencyKey, Operation, Unit};
use sqlx::PgPool;
use sqlx::types::Uuid;
use store::{Answer, ApplyError, Request};

use crate::book::account;
use crate::ledger;
use crate::reference::{Do, HoldIs, Model, State, Told};
use crate::steps::{self, Dice, Step};

pub const UNITS: [&str; 2] = ["credits", "gems"];
/// Of the installation: at, re-arm at.
pub const THRESHOLD: (i64, i64) = (25, 60);
/// Most commands of an account in one round.
const MOST: usize = 6;

pub fn name(number: usize) -> String {
    format!("account_{number}")
}

/// A command on its way, and what must become of it.
pub struct Play {
    pub request: Request,
    unit: usize,
    what: Do,
    expected: Told,
}

/// What the ledger calls the lots, holds and spends of a balance.
#[derive(Default)]
struct Names {
    lots: Vec<GrantId>,
    holds: Vec<HoldId>,
    takes: Vec<EntryRef>,
}

pub struct Player {
    number: usize,
    state: State,
    models: [Model; 2],
    names: [Names; 2],
    /// Commands so far, for their keys.
    commands: u64,
}

impl Player {
    pub fn new(number: usize) -> Self {
        let models = [Model::new(THRESHOLD), Model::new(THRESHOLD)];
        Self { number, state: State::Active, models, names: Default::default(), commands: 0 }
    }

    /// Lets the account's time pass; sometimes an operator changes its state.
    pub fn pass_time(&mut self, dice: &mut Dice) {
        let seconds = if dice.one_in(2) { dice.between(0, 5) } else { 0 };
        self.models.iter_mut().for_each(|model| model.wait(seconds));
        if self.state != State::Active && dice.one_in(3) {
            self.state = State::Active;
        } else if dice.one_in(40) {
            self.state = if dice.one_in(4) { State::Closed } else { State::Frozen };
        }
        let state = self.state;
        self.models.iter_mut().for_each(|model| model.state = state);
    }

    /// Seconds since 1970.
    pub fn clock_s(&self) -> f64 {
        ledger::moment(self.models[0].now).micros() as f64 / 1e6
    }

    pub fn state_code(&self) -> i16 {
        match self.state {
            State::Active => 1,
            State::Frozen => 2,
            State::Closed => 3,
        }
    }

    /// Some commands. What they name must be known: a hold that one of them makes has no name yet.
    pub fn plays(&mut self, dice: &mut Dice) -> Vec<Play> {
        let mut plays = Vec::new();
        for _ in 0..dice.below(MOST) {
            let unit = dice.below(2);
            let Step::Act(what) = steps::step(dice, &self.models[unit]) else { continue };
            let names = &self.names[unit];
            let is_known = match what {
                Do::Capture { hold, .. } | Do::Extend { hold, .. } | Do::Release { hold } => {
                    hold < names.holds.len()
                }
                Do::Reverse { take, .. } => take < names.takes.len(),
                Do::Revoke { lot, .. } => lot < names.lots.len(),
                _ => true,
            };
            if !is_known {
                break;
            }
            self.commands += 1;
            let now = self.models[unit].now;
            let action = ledger::action(&what, now, &names.lots, &names.holds, &names.takes);
            let expected = self.models[unit].act(&what);
            plays.push(Play { request: self.request(unit, action), unit, what, expected });
        }
        plays
    }

    fn request(&self, unit: usize, action: Action) -> Request {
        let key = IdempotencyKey::try_new(format!("k{}", self.commands)).unwrap();
        let context = domain::Context {
            actor: "test".to_owned(),
            reason: "why".to_owned(),
            ..domain::Context::default()
        };
        let (id, unit) = (account(&name(self.number)), Unit::try_new(UNITS[unit]).unwrap());
        Request::Command(domain::Command::try_new(id, unit, key, context, action).unwrap())
    }

    /// Compares an answer with what was expected, and notes the names in it.
    pub fn hear(&mut self, play: Play, answer: Result<Answer, ApplyError>) -> Result<(), String> {
        let told = match answer {
            Ok(Answer::Operation { operation, replayed: false }) => {
                self.note(&play, &operation);
                Told::Done
            }
            Err(ApplyError::Denied(denied)) => ledger::told(denied),
            other => return Err(format!("{:?}: {other:?}", play.what)),
        };
        if told == play.expected {
            Ok(())
        } else {
            Err(format!("{:?}: told {told:?}, should be {:?}", play.what, play.expected))
        }
    }

    fn note(&mut self, play: &Play, operation: &Operation) {
        let names = &mut self.names[play.unit];
        let lots = operation.grants.iter().map(|lot| lot.grant_id);
        match play.what {
            Do::Grant { .. } | Do::Adjust { .. } | Do::Reverse { .. } => names.lots.extend(lots),
            Do::Revoke { .. } => names.lots.extend(lots.skip(1)),
            Do::Hold { .. } => names.holds.extend(operation.hold.iter().map(|hold| hold.hold_id)),
            _ => {}
        }
        if matches!(play.what, Do::Spend { .. } | Do::Capture { .. }) {
            names.takes.extend(operation.entries.first().map(domain::Entry::name));
        }
    }

    /// Compares the tables with both models.
    pub async fn compare(&self, pool: &PgPool) -> Result<(), String> {
        for (unit, (model, names)) in self.models.iter().zip(&self.names).enumerate() {
            let key = (name(self.number), UNITS[unit]);
            figures(pool, &key, model).await?;
            lots(pool, &key, model, names).await?;
            holds(pool, &key, model, names).await?;
            crossings(pool, &key, model).await?;
        }
        Ok(())
    }
}

type Key<'a> = (String, &'a str);

fn equal<T: PartialEq + std::fmt::Debug>(
    key: &Key<'_>,
    what: &str,
    is: T,
    should_be: T,
) -> Result<(), String> {
    if is == should_be {
        Ok(())
    } else {
        Err(format!("{}: {what}: is {is:?}, should be {should_be:?}", key.1))
    }
}

async fn figures(pool: &PgPool, key: &Key<'_>, model: &Model) -> Result<(), String> {
    let text = "select available, held, scheduled, debt from balances where account_id = $1 and unit = $2";
    let row: Option<(i64, i64, i64, i64)> =
        sqlx::query_as(text).bind(&key.0).bind(key.1).fetch_optional(pool).await.unwrap();
    let expected = (model.available(), model.held(), model.scheduled(), model.debt);
    equal(key, "figures", row.unwrap_or_default(), expected)
}

type LotRow = (Uuid, i64, i64, i64, i64, i64, i64, i64);

async fn lots(pool: &PgPool, key: &Key<'_>, model: &Model, names: &Names) -> Result<(), String> {
    let text = "select grant_id, remaining, held, expired, revoked_expired, revoked_taken, revoked_owed, revoked_forgiven
                from grants where account_id = $1 and unit = $2 order by version";
    let rows: Vec<LotRow> = sqlx::query_as(text).bind(&key.0).bind(key.1).fetch_all(pool).await.unwrap();
    equal(key, "number of lots", rows.len(), model.lots.len())?;
    for (place, (row, lot)) in rows.into_iter().zip(&model.lots).enumerate() {
        let [expired, taken, owed, forgiven] = lot.revoked();
        let expected = (
            names.lots[place].uuid(),
            lot.free + lot.held,
            lot.held,
            lot.expired,
            expired,
            taken,
            owed,
            forgiven,
        );
        equal(key, "lot", (place, row), (place, expected))?;
    }
    Ok(())
}

async fn holds(pool: &PgPool, key: &Key<'_>, model: &Model, names: &Names) -> Result<(), String> {
    let text = "select hold_id, remaining, captured, state from holds where account_id = $1 and unit = $2 order by version";
    let rows: Vec<(Uuid, i64, i64, i16)> =
        sqlx::query_as(text).bind(&key.0).bind(key.1).fetch_all(pool).await.unwrap();
    equal(key, "number of holds", rows.len(), model.holds.len())?;
    for (place, (row, hold)) in rows.into_iter().zip(&model.holds).enumerate() {
        let state = match hold.is {
            HoldIs::Open => 1,
            HoldIs::Captured => 2,
            HoldIs::Released => 3,
            HoldIs::Over => 4,
        };
        equal(
            key,
            "hold",
            (place, row),
            (place, (names.holds[place].uuid(), hold.left(), hold.captured, state)),
        )?;
    }
    Ok(())
}

async fn crossings(pool: &PgPool, key: &Key<'_>, model: &Model) -> Result<(), String> {
    let text =
        "select (crossing ->> 'direction')::int = 2 from entries, jsonb_array_elements(crossed) crossing
                where account_id = $1 and unit = $2 order by version";
    let crossed: Vec<bool> = sqlx::query_scalar(text).bind(&key.0).bind(key.1).fetch_all(pool).await.unwrap();
    equal(key, "crossings", &crossed, &model.crossed)
}
