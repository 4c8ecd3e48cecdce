//! `decide` and `settle` against a small model that was written for clarity and shares no code with them: time
//! runs second by second, and every credit is looked at anew for each question.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use domain::{
    AccountId, AccountState, Action, Balance, Command, Context, DecideError, Denied, EntryHash, Expiry,
    Figures, Grant, GrantKind, IdempotencyKey, Lot, MAX_BALANCE, OperationId, Priority, Rules, Spend,
    Timestamp, Unit, decide, settle,
};
use proptest::prelude::*;
use uuid::Uuid;

#[derive(Debug, Clone)]
enum Step {
    Wait(i64),
    Grant { amount: i64, kind: usize, priority: i64, starts_in: i64, ends_after: Option<i64> },
    Spend { amount: i64, partial: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let amount = || prop_oneof![4 => 1..200_i64, 1 => Just(domain::MAX_AMOUNT)];
    let grant = (amount(), 0..5_usize, 0..4_i64, 0..8_i64, prop::option::of(-2..12_i64)).prop_map(
        |(amount, kind, priority, starts_in, ends_after)| {
            let starts_in = (starts_in - 4).max(0);
            Step::Grant { amount, kind, priority, starts_in, ends_after }
        },
    );
    let spend = (amount(), any::<bool>()).prop_map(|(amount, partial)| Step::Spend { amount, partial });
    prop::collection::vec(prop_oneof![2 => (0..6_i64).prop_map(Step::Wait), 3 => grant, 4 => spend], 1..60)
}

/// The model: credits in piles, in the order in which they were granted.
#[derive(Debug, Default)]
struct Model {
    now: i64,
    debt: i64,
    piles: Vec<Pile>,
}

#[derive(Debug, Clone)]
struct Pile {
    left: i64,
    kind: usize,
    priority: i64,
    starts: i64,
    ends: Option<i64>,
}

#[derive(Debug, PartialEq, Eq)]
enum Said {
    Yes,
    NotEnough(i64),
    AlreadyOver,
    TooMuch,
}

impl Model {
    fn wait(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.now += 1;
            for pile in &mut self.piles {
                if pile.ends == Some(self.now) && pile.starts < self.now {
                    pile.left = 0;
                }
            }
            let order = self.order(|pile, now| pile.starts == now);
            for place in order {
                let repaid = self.piles[place].left.min(self.debt);
                self.piles[place].left -= repaid;
                self.debt -= repaid;
            }
        }
    }

    fn order(&self, wanted: impl Fn(&Pile, i64) -> bool) -> Vec<usize> {
        let mut places: Vec<usize> =
            (0..self.piles.len()).filter(|place| wanted(&self.piles[*place], self.now)).collect();
        places.sort_by_key(|place| {
            let pile = &self.piles[*place];
            (pile.priority, pile.ends.unwrap_or(i64::MAX), pile.kind, *place)
        });
        places
    }

    fn figures(&self) -> Figures {
        let sum = |started: bool| -> i64 {
            self.piles.iter().filter(|pile| (pile.starts <= self.now) == started).map(|pile| pile.left).sum()
        };
        Figures { available: sum(true), held: 0, scheduled: sum(false), debt: self.debt }
    }

    fn grant(&mut self, amount: i64, kind: usize, priority: i64, starts: i64, ends: Option<i64>) -> Said {
        if ends.is_some_and(|ends| ends <= starts) {
            return Said::AlreadyOver;
        }
        let repaid = if starts <= self.now { amount.min(self.debt) } else { 0 };
        if self.figures().total() + amount - repaid > MAX_BALANCE {
            return Said::TooMuch;
        }
        self.debt -= repaid;
        self.piles.push(Pile { left: amount - repaid, kind, priority, starts, ends });
        Said::Yes
    }

    fn spend(&mut self, amount: i64, partial: bool) -> Said {
        let available = self.figures().available;
        let amount = if partial && available > 0 { amount.min(available) } else { amount };
        if amount > available {
            return Said::NotEnough(available);
        }
        let mut left = amount;
        for place in self.order(|pile, now| pile.starts <= now) {
            let taken = left.min(self.piles[place].left);
            self.piles[place].left -= taken;
            left -= taken;
        }
        Said::Yes
    }
}

fn moment(second: i64) -> Timestamp {
    Timestamp::from_micros(0).plus_seconds(1_000_000 + second)
}

fn empty(debt: i64) -> Balance {
    let mut balance = Balance::empty(AccountId::try_new("a").unwrap(), Unit::try_new("").unwrap());
    balance.figures.debt = debt;
    balance
}

fn command(number: usize, action: Action) -> Command {
    let key = IdempotencyKey::try_new(format!("k{number}")).unwrap();
    let (account, unit) = (AccountId::try_new("a").unwrap(), Unit::try_new("").unwrap());
    Command::try_new(account, unit, key, Context::default(), action).unwrap()
}

fn operation_id(number: usize) -> OperationId {
    OperationId::from_uuid(Uuid::from_u128(u128::try_from(number).unwrap()))
}

/// Invariants I1, I2 and I5 of a balance whose lots are all loaded, and of the entries it gained.
fn check(balance: &Balance, debt_at_first: i64, entries: &[domain::Entry]) {
    assert!(balance.figures.are_sound(), "{:?}", balance.figures);
    let sum = |of: fn(&Lot) -> i64| -> i64 { balance.lots.iter().map(of).sum() };
    assert_eq!(balance.figures.available, sum(Lot::available));
    assert_eq!(balance.figures.total(), sum(|lot| lot.remaining));
    assert_eq!(balance.open_lots, i64::try_from(balance.lots.len()).unwrap());
    assert!(balance.lots.is_sorted_by_key(Lot::burn_key));
    assert!(balance.lots.iter().all(|lot| lot.remaining > 0));
    let mut hash = EntryHash::default();
    let mut figures = Figures { debt: debt_at_first, ..Figures::default() };
    for (version, entry) in (1..).zip(entries) {
        assert_eq!(entry.version, version);
        assert_eq!(entry.chained(hash), entry.hash);
        hash = entry.hash;
        figures = figures.checked_add(entry.delta).unwrap();
        assert_eq!(figures, entry.after);
    }
    assert_eq!(figures, balance.figures);
    assert_eq!(hash, balance.hash);
    assert!(entries.is_sorted_by_key(|entry| entry.effective_at));
}

fn said(result: &Result<domain::Operation, DecideError>) -> Said {
    match result {
        Ok(_) => Said::Yes,
        Err(DecideError::Denied(Denied::InsufficientCredits { available, .. })) => {
            Said::NotEnough(*available)
        }
        Err(DecideError::Denied(Denied::ExpiryNotInFuture { .. })) => Said::AlreadyOver,
        Err(DecideError::Denied(Denied::BalanceLimitExceeded { .. })) => Said::TooMuch,
        Err(other) => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_rules_agree_with_the_model(steps in steps(), debt in prop_oneof![3 => Just(0), 1 => 1..300_i64]) {
        let mut model = Model { debt, ..Model::default() };
        let mut balance = empty(debt);
        let mut entries = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            let action = match step {
                Step::Wait(seconds) => {
                    model.wait(seconds);
                    continue;
                }
                Step::Grant { amount, kind, priority, starts_in, ends_after } => Action::Grant(Grant {
                    amount,
                    kind: GrantKind::ALL[kind],
                    priority: Priority::try_new(priority).unwrap(),
                    effective_at: (starts_in > 0).then(|| moment(model.now + starts_in)),
                    expiry: ends_after.map_or(Expiry::Never, |ends| Expiry::At(moment(model.now + starts_in + ends))),
                    cost_basis: None,
                }),
                Step::Spend { amount, partial } => Action::Spend(Spend { amount, allow_partial: partial }),
            };
            let expected = match &step {
                Step::Grant { amount, kind, priority, starts_in, ends_after } => {
                    let starts = model.now + starts_in;
                    model.grant(*amount, *kind, *priority, starts, ends_after.map(|ends| starts + ends))
                }
                Step::Spend { amount, partial } => model.spend(*amount, *partial),
                Step::Wait(_) => unreachable!(),
            };
            let now = moment(model.now);
            let settled = settle(&mut balance, &Context::default(), operation_id(2 * number + 1), now).unwrap();
            entries.extend(settled.into_iter().flat_map(|operation| operation.entries));
            let before = balance.clone();
            let command = command(number, action);
            let decided = decide(&mut balance, &Rules::default(), AccountState::Active, &command, operation_id(2 * number), now);
            prop_assert_eq!(said(&decided), expected);
            match decided {
                Ok(operation) => entries.extend(operation.entries),
                Err(_) => prop_assert_eq!(&before, &balance, "a refusal changes nothing"),
            }
            prop_assert_eq!(balance.figures, model.figures());
            check(&balance, debt, &entries);
        }
    }
}
