//! The crate's side: one balance with everything loaded, asked in the model's terms.

use domain::{
    AccountId, AccountState, Action, Adjust, Balance, Capture, Command, Context, DecideError, Denied, Entry,
    EntryHash, Expiry, Extend, Figures, Grant, GrantId, GrantKind, HoldId, HoldState, IdempotencyKey,
    JournalCheck, Lot, NewHold, Operation, OperationId, Priority, Release, Reverse, Reversible, Revoke,
    Rules, Shortfall, Spend, Threshold, Timestamp, Unit, decide, settle,
};
use uuid::Uuid;

use super::reference::{self, Do, HoldIs, Model, State, Told};

/// Second 0 of the model.
const BEGIN: i64 = 1_000_000;

pub fn moment(second: i64) -> Timestamp {
    Timestamp::from_micros(0).plus_seconds(BEGIN + second)
}

pub struct Ledger {
    pub balance: Balance,
    journal: JournalCheck,
    lots: Vec<GrantId>,
    holds: Vec<HoldId>,
    takes: Vec<domain::EntryRef>,
    pub crossed: Vec<bool>,
    pub entries: Vec<Entry>,
    number: u128,
}

impl Ledger {
    pub fn new((at, rearm_at): (i64, i64)) -> Self {
        let (account, unit) = (AccountId::try_new("a").unwrap(), Unit::try_new("").unwrap());
        let mut balance = Balance::empty(account.clone(), unit.clone());
        balance.thresholds = vec![Threshold::try_new("low", unit.clone(), at, rearm_at).unwrap()];
        Self {
            balance,
            journal: JournalCheck::new(account, unit),
            lots: Vec::new(),
            holds: Vec::new(),
            takes: Vec::new(),
            crossed: Vec::new(),
            entries: Vec::new(),
            number: 0,
        }
    }

    fn next_id(&mut self) -> OperationId {
        self.number += 1;
        OperationId::from_uuid(Uuid::from_u128(self.number))
    }

    /// Settles, and decides one thing.
    pub fn act(&mut self, what: &Do, state: State, second: i64) -> Result<Told, String> {
        let clock = moment(second);
        self.settle(second)?;
        let id = self.next_id();
        let command = self.command(what, second);
        let before = self.balance.clone();
        let account = match state {
            State::Active => AccountState::Active,
            State::Frozen => AccountState::Frozen,
            State::Closed => AccountState::Closed,
        };
        match decide(&mut self.balance, &Rules::default(), account, &command, id, clock) {
            Ok(operation) => {
                self.note(&operation, what)?;
                Ok(Told::Done)
            }
            Err(DecideError::Denied(_)) if self.balance != before => {
                Err("a refusal changed the balance".to_owned())
            }
            Err(DecideError::Denied(denied)) => Ok(told(denied)),
            Err(DecideError::Broken(what)) => Err(format!("broken: {what}")),
        }
    }

    pub fn settle(&mut self, second: i64) -> Result<(), String> {
        let id = self.next_id();
        let settled = settle(&mut self.balance, &Context::default(), id, moment(second));
        let settled = settled.map_err(|error| format!("settle: {error}"))?;
        settled.map_or(Ok(()), |operation| self.journal(&operation.entries))
    }

    fn journal(&mut self, entries: &[Entry]) -> Result<(), String> {
        for entry in entries {
            self.journal.check(entry).map_err(|difference| difference.to_string())?;
            let rearmed = |crossing: &domain::Crossing| crossing.direction == domain::Direction::Rearmed;
            self.crossed.extend(entry.crossed.iter().map(rearmed));
            self.entries.push(entry.clone());
        }
        Ok(())
    }

    fn note(&mut self, operation: &Operation, what: &Do) -> Result<(), String> {
        self.journal(&operation.entries)?;
        match what {
            Do::Grant { .. } => self.lots.push(operation.grants[0].grant_id),
            Do::Adjust { .. } | Do::Reverse { .. } => {
                self.lots.extend(operation.grants.iter().map(|lot| lot.grant_id));
            }
            Do::Revoke { .. } => self.lots.extend(operation.grants.iter().skip(1).map(|lot| lot.grant_id)),
            Do::Hold { .. } => self.holds.push(operation.hold.as_ref().unwrap().hold_id),
            _ => {}
        }
        if matches!(what, Do::Spend { .. } | Do::Capture { .. }) {
            let own = &operation.entries[0];
            self.takes.push(own.name());
            self.balance.spends.push(Reversible::lookup(own, 0, 0).unwrap());
        }
        Ok(())
    }

    fn command(&mut self, what: &Do, now: i64) -> Command {
        let key = IdempotencyKey::try_new(format!("k{}", self.number)).unwrap();
        let context = Context { reason: "why".to_owned(), ..Context::default() };
        let action = action(what, now, &self.lots, &self.holds, &self.takes);
        let (account, unit) = (self.balance.account.clone(), self.balance.unit.clone());
        Command::try_new(account, unit, key, context, action).unwrap()
    }

    /// Raises a revocation and lowers it by the same amount, on a copy: nothing may be left of it.
    pub fn raise_and_lower(&self, place: usize, by: i64, owed: bool, second: i64) -> Result<(), String> {
        let Some(id) = self.lots.get(place) else { return Ok(()) };
        let find = |balance: &Balance| {
            let lot = balance.lots.iter().chain(&balance.closed).find(|lot| lot.grant_id == *id);
            lot.cloned().expect("a lot does not go away")
        };
        let before = find(&self.balance);
        let revoked = before.revoked.total();
        let by = by.min(before.amount - revoked);
        let mut balance = self.balance.clone();
        let mut takes_from_others = false;
        for (number, target) in [(1_u128 << 100, revoked + by), ((1 << 100) + 1, revoked)] {
            let what = Do::Revoke { lot: place, revoked: target, owed };
            let action = action(&what, second, &self.lots, &self.holds, &self.takes);
            let key = IdempotencyKey::try_new(format!("trial{number}")).unwrap();
            let (account, unit) = (balance.account.clone(), balance.unit.clone());
            let command = Command::try_new(account, unit, key, Context::default(), action).unwrap();
            let id = OperationId::from_uuid(Uuid::from_u128(number));
            let decided =
                decide(&mut balance, &Rules::default(), AccountState::Active, &command, id, moment(second));
            match decided {
                Ok(operation) => takes_from_others |= operation.entries[0].lines.len() > 1,
                Err(DecideError::Denied(_)) => return Ok(()),
                Err(DecideError::Broken(what)) => return Err(format!("broken: {what}")),
            }
        }
        let after = find(&balance);
        equal("figures after a raise and a lowering", balance.figures, self.balance.figures)?;
        equal("revoked after a raise and a lowering", &after.revoked, &before.revoked)?;
        // What other lots gave refills this one; else every lot is as it was.
        let lots = |balance: &Balance| -> Vec<_> {
            let facts = |lot: &Lot| (lot.grant_id, lot.remaining, lot.held, lot.expired, lot.revoked.parts());
            balance.lots.iter().map(facts).collect()
        };
        if takes_from_others {
            return Ok(());
        }
        equal("lots after a raise and a lowering", lots(&balance), lots(&self.balance))
    }

    /// Everything that the model knows, compared.
    pub fn compare(&self, model: &Model) -> Result<(), String> {
        let Figures { available, held, scheduled, debt } = self.balance.figures;
        equal(
            "figures",
            (available, held, scheduled, debt),
            (model.available(), model.held(), model.scheduled(), model.debt),
        )?;
        for (place, (id, expected)) in self.lots.iter().zip(&model.lots).enumerate() {
            let lots = self.balance.lots.iter().chain(&self.balance.closed);
            let lot = lots.clone().find(|lot| lot.grant_id == *id).ok_or(format!("lot {place} is gone"))?;
            compare_lot(place, lot, expected)?;
        }
        equal("number of lots", self.lots.len(), model.lots.len())?;
        let open = self.balance.lots.len();
        equal("open lots", self.balance.open_lots, i64::try_from(open).unwrap())?;
        if !self.balance.lots.is_sorted_by_key(Lot::burn_key) {
            return Err("lots are not in burn order".to_owned());
        }
        for (place, (id, expected)) in self.holds.iter().zip(&model.holds).enumerate() {
            let hold = self.balance.holds.iter().find(|hold| hold.hold_id == *id).unwrap();
            let state = match hold.state {
                HoldState::Open => HoldIs::Open,
                HoldState::Captured => HoldIs::Captured,
                HoldState::Released => HoldIs::Released,
                HoldState::Expired => HoldIs::Over,
            };
            let is = (hold.remaining, hold.captured, hold.expires_at, state);
            equal(
                "hold",
                (place, is),
                (place, (expected.left(), expected.captured, moment(expected.ends), expected.is)),
            )?;
        }
        let open = model.holds.iter().filter(|hold| hold.is == HoldIs::Open).count();
        equal("open holds", self.balance.open_holds, i64::try_from(open).unwrap())?;
        for (place, (name, expected)) in self.takes.iter().zip(&model.takes).enumerate() {
            let spend = self.balance.spends.iter().find(|spend| spend.entry == *name).unwrap();
            equal("came back", (place, spend.reversed), (place, expected.came_back))?;
        }
        equal("crossed", &self.crossed, &model.crossed)?;
        self.compare_journal()
    }

    /// The journal alone must say what the lots have left.
    fn compare_journal(&self) -> Result<(), String> {
        equal("journal's version", self.journal.version(), self.balance.version)?;
        equal("journal's hash", self.journal.hash(), self.balance.hash)?;
        equal("open lots of the journal", self.journal.lots().len(), self.balance.lots.len())?;
        for lot in &self.balance.lots {
            let sum = self.journal.lots().get(&lot.grant_id).copied().unwrap_or_default();
            let scheduled = if lot.active { 0 } else { lot.unheld() };
            equal(
                "lot of the journal",
                (sum.available, sum.held, sum.scheduled),
                (lot.available(), lot.held, scheduled),
            )?;
        }
        let is_first = self.balance.version == 0;
        let is_whole = is_first || self.balance.hash != EntryHash::default();
        if is_whole { Ok(()) } else { Err("a balance without a hash".to_owned()) }
    }
}

fn compare_lot(place: usize, lot: &Lot, expected: &reference::Lot) -> Result<(), String> {
    let parts = lot.revoked.parts();
    let revoked = [parts.expired, parts.taken, parts.owed, parts.forgiven];
    // An empty lot has nothing that could begin.
    let has_begun = if lot.is_empty() { expected.has_begun } else { lot.active };
    let is = (lot.unheld(), lot.held, lot.expired, has_begun, revoked);
    let ends = expected.ends.map(moment);
    equal(
        "lot",
        (place, is, lot.expires_at),
        (
            place,
            (expected.free, expected.held, expected.expired, expected.has_begun, expected.revoked()),
            ends,
        ),
    )
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, is: T, should_be: T) -> Result<(), String> {
    if is == should_be { Ok(()) } else { Err(format!("{what}: is {is:?}, should be {should_be:?}")) }
}

/// The command for a deed; lots, holds and takes by their places.
pub fn action(what: &Do, now: i64, lots: &[GrantId], holds: &[HoldId], takes: &[domain::EntryRef]) -> Action {
    let us = |seconds: i64| seconds * 1_000_000;
    match *what {
        Do::Grant { amount, kind, priority, starts_in, lasts } => Action::Grant(Grant {
            amount,
            kind: GrantKind::lookup(i16::try_from(kind).unwrap()).unwrap(),
            priority: Priority::try_new(priority).unwrap(),
            effective_at: (starts_in > 0).then(|| moment(now + starts_in)),
            expiry: lasts.map_or(Expiry::Never, |lasts| Expiry::At(moment(now + starts_in.max(0) + lasts))),
            cost_basis: None,
        }),
        Do::Spend { amount, partial } => Action::Spend(Spend { amount, allow_partial: partial }),
        Do::Hold { amount, ttl } => Action::Hold(NewHold { amount, ttl_us: us(ttl) }),
        Do::Capture { hold, amount, last, overage } => {
            Action::Capture(Capture { hold_id: holds[hold], amount, is_final: last, allow_overage: overage })
        }
        Do::Extend { hold, ttl } => Action::Extend(Extend { hold_id: holds[hold], ttl_us: us(ttl) }),
        Do::Release { hold } => Action::Release(Release { hold_id: holds[hold] }),
        Do::Reverse { take, amount } => Action::Reverse(Reverse { entry: takes[take], amount }),
        Do::Revoke { lot, revoked, owed } => {
            let shortfall = Some(if owed { Shortfall::Owed } else { Shortfall::Forgiven });
            Action::Revoke(Revoke { grant_id: lots[lot], revoked, shortfall })
        }
        Do::Adjust { delta, lasts } => {
            Action::Adjust(Adjust { delta, expires_at: lasts.map(|lasts| moment(now + lasts)) })
        }
    }
}

/// A refusal in the model's words.
pub fn told(denied: Denied) -> Told {
    match denied {
        Denied::AccountClosed => Told::Closed,
        Denied::AccountFrozen => Told::Frozen,
        Denied::InsufficientCredits { available, required } => Told::NotEnough { available, required },
        Denied::ExpiryNotInFuture { .. } => Told::AlreadyOver,
        Denied::BalanceLimitExceeded { .. } => Told::TooMuch,
        Denied::HoldExceeded { remaining, required } => Told::HoldExceeded { left: remaining, required },
        Denied::HoldExpired { .. } => Told::HoldOver,
        Denied::HoldClosed { .. } => Told::HoldClosed,
        Denied::HoldLifetimeExceeded { .. } => Told::HoldTooLong,
        Denied::ReversalExceeded { reversible, .. } => Told::NothingLeft { reversible },
        Denied::RevocationOutOfRange { .. } => Told::MoreThanGranted,
        Denied::TooManyOpenLots { .. }
        | Denied::TooManyOpenHolds { .. }
        | Denied::HoldNotFound { .. }
        | Denied::GrantNotFound { .. }
        | Denied::EntryNotFound { .. } => panic!("not asked for: {denied:?}"),
    }
}
