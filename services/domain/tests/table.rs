//! `decide` by table: each refusal with its numbers, which one comes first when several apply, and the limits at their
//! last allowed value.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use domain::{
    AccountId, AccountState, Action, Adjust, Balance, Capture, Command, Context, DecideError, Denied,
    EntryKind, EntryRef, Expiry, Extend, Figures, Grant, GrantId, GrantKind, HoldId, HoldState,
    IdempotencyKey, Invalid, MAX_AMOUNT, MAX_BALANCE, MAX_HOLD_LIFETIME_US, MAX_OPEN_HOLDS, MAX_OPEN_LOTS,
    MIN_HOLD_TTL_US, NewHold, Operation, OperationId, Priority, Release, Reverse, Reversible, Revoke, Rules,
    Shortfall, Spend, Timestamp, Unit, decide, settle,
};
use uuid::Uuid;

/// A balance and its commands, each at a second of its own choice.
struct Book {
    balance: Balance,
    account: AccountState,
    number: u128,
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(0).plus_seconds(second)
}

fn try_command(action: Action) -> Result<Command, Invalid> {
    let (account, unit) = (AccountId::try_new("a").unwrap(), Unit::try_new("").unwrap());
    let key = IdempotencyKey::try_new("k").unwrap();
    Command::try_new(account, unit, key, Context { reason: "why".to_owned(), ..Context::default() }, action)
}

impl Book {
    fn new() -> Self {
        let balance = Balance::empty(AccountId::try_new("a").unwrap(), Unit::try_new("").unwrap());
        Self { balance, account: AccountState::Active, number: 0 }
    }

    /// One with a lot that never ends.
    fn with(amount: i64) -> Self {
        let mut book = Self::new();
        book.done(0, grant(amount, None));
        book
    }

    fn next_id(&mut self) -> OperationId {
        self.number += 1;
        OperationId::from_uuid(Uuid::from_u128(self.number))
    }

    fn settle(&mut self, second: i64) {
        let id = self.next_id();
        settle(&mut self.balance, &Context::default(), id, at(second)).unwrap();
    }

    fn decide(&mut self, second: i64, action: Action) -> Result<Operation, DecideError> {
        self.settle(second);
        let (before, id) = (self.balance.clone(), self.next_id());
        let command = try_command(action).unwrap();
        let decided = decide(&mut self.balance, &Rules::default(), self.account, &command, id, at(second));
        match &decided {
            Ok(operation) => {
                let own = &operation.entries[0];
                self.balance.spends.extend(Reversible::lookup(own, 0, 0));
            }
            Err(_) => assert_eq!(self.balance, before, "a refusal changes nothing"),
        }
        decided
    }

    fn done(&mut self, second: i64, action: Action) -> Operation {
        self.decide(second, action).unwrap()
    }

    fn denied(&mut self, second: i64, action: Action) -> Denied {
        match self.decide(second, action) {
            Err(DecideError::Denied(denied)) => denied,
            other => panic!("not denied: {other:?}"),
        }
    }

    fn granted(&mut self, second: i64, action: Action) -> GrantId {
        self.done(second, action).grants[0].grant_id
    }

    fn held(&mut self, second: i64, amount: i64, ttl_s: i64) -> HoldId {
        self.done(second, hold(amount, ttl_s)).hold.unwrap().hold_id
    }
}

fn grant(amount: i64, expires_at: Option<i64>) -> Action {
    let expiry = expires_at.map_or(Expiry::Never, |second| Expiry::At(at(second)));
    let (kind, priority) = (GrantKind::Purchase, Priority::default());
    Action::Grant(Grant { amount, kind, priority, effective_at: None, expiry, cost_basis: None })
}

fn spend(amount: i64) -> Action {
    Action::Spend(Spend { amount, allow_partial: false })
}

fn hold(amount: i64, ttl_s: i64) -> Action {
    Action::Hold(NewHold { amount, ttl_us: ttl_s * 1_000_000 })
}

fn capture(hold_id: HoldId, amount: i64, is_final: bool, allow_overage: bool) -> Action {
    Action::Capture(Capture { hold_id, amount, is_final, allow_overage })
}

fn extend(hold_id: HoldId, ttl_us: i64) -> Action {
    Action::Extend(Extend { hold_id, ttl_us })
}

fn release(hold_id: HoldId) -> Action {
    Action::Release(Release { hold_id })
}

fn reverse(entry: EntryRef, amount: Option<i64>) -> Action {
    Action::Reverse(Reverse { entry, amount })
}

fn revoke(grant_id: GrantId, revoked: i64, shortfall: Shortfall) -> Action {
    Action::Revoke(Revoke { grant_id, revoked, shortfall: Some(shortfall) })
}

fn adjust(delta: i64) -> Action {
    Action::Adjust(Adjust { delta, expires_at: None })
}

const NO_HOLD: HoldId = HoldId::from_uuid(Uuid::from_u128(999));
const NO_GRANT: GrantId = GrantId::from_uuid(Uuid::from_u128(999));
const NO_ENTRY: EntryRef = EntryRef { version: 999, digits: [0; 8] };

/// One of each command, none of which the state of an empty balance allows but the grants.
fn one_of_each() -> [(Action, bool); 10] {
    [
        (grant(1, None), false),
        (spend(1), true),
        (hold(1, 1), true),
        (capture(NO_HOLD, 1, false, false), true),
        (extend(NO_HOLD, MIN_HOLD_TTL_US), false),
        (release(NO_HOLD), false),
        (reverse(NO_ENTRY, None), false),
        (revoke(NO_GRANT, 0, Shortfall::Owed), false),
        (adjust(1), false),
        (adjust(-1), false),
    ]
}

#[test]
fn a_closed_account_refuses_everything_before_any_other_guard() {
    for (action, _) in one_of_each() {
        let mut book = Book::new();
        book.account = AccountState::Closed;
        assert_eq!(book.denied(0, action), Denied::AccountClosed);
    }
}

#[test]
fn a_frozen_account_refuses_what_goes_out_before_its_own_guards_and_nothing_else() {
    for (action, goes_out) in one_of_each() {
        let mut book = Book::new();
        book.account = AccountState::Frozen;
        let is_frozen = book.decide(0, action.clone()) == Err(Denied::AccountFrozen.into());
        assert_eq!(is_frozen, goes_out, "{action:?}");
    }
}

#[test]
fn what_does_not_exist_is_not_found() {
    let mut book = Book::with(10);
    for action in [capture(NO_HOLD, 99, true, false), extend(NO_HOLD, MIN_HOLD_TTL_US), release(NO_HOLD)] {
        assert_eq!(book.denied(1, action), Denied::HoldNotFound { hold_id: NO_HOLD });
    }
    assert_eq!(book.denied(1, reverse(NO_ENTRY, Some(99))), Denied::EntryNotFound { entry: NO_ENTRY });
    let action = revoke(NO_GRANT, 99, Shortfall::Owed);
    assert_eq!(book.denied(1, action), Denied::GrantNotFound { grant_id: NO_GRANT });
}

#[test]
fn an_entry_is_named_by_version_and_digits_and_only_spends_and_captures_can_be_reversed() {
    let mut book = Book::with(10);
    let own = book.done(1, spend(3)).entries[0].name();
    let wrong_digits = EntryRef { digits: [7; 8], ..own };
    assert_eq!(book.denied(1, reverse(wrong_digits, None)), Denied::EntryNotFound { entry: wrong_digits });
    let adjusted = book.done(1, adjust(-1)).entries[0].name();
    assert_eq!(book.denied(1, reverse(adjusted, None)), Denied::EntryNotFound { entry: adjusted });
    book.done(1, reverse(own, None));
}

#[test]
fn less_than_required_refuses_whole_with_both_numbers() {
    let missing = |required| Denied::InsufficientCredits { available: 10, required };
    let mut book = Book::with(10);
    for action in [spend(11), hold(11, 1), adjust(-11)] {
        assert_eq!(book.denied(1, action), missing(11));
    }
    let hold_id = book.held(1, 4, 60);
    let action = capture(hold_id, 11, false, true);
    assert_eq!(book.denied(1, action), Denied::InsufficientCredits { available: 6, required: 7 });
    book.done(1, capture(hold_id, 10, false, true));
    assert_eq!(book.balance.figures, Figures::default());
    let action = Action::Spend(Spend { amount: 5, allow_partial: true });
    assert_eq!(book.denied(1, action), Denied::InsufficientCredits { available: 0, required: 5 });
}

#[test]
fn exactly_what_is_available_can_be_taken() {
    for action in [spend(10), hold(10, 1), adjust(-10)] {
        let mut book = Book::with(10);
        book.done(1, action);
        assert_eq!(book.balance.figures.available, 0);
    }
}

#[test]
fn a_grant_must_end_after_it_begins_and_after_now() {
    let over = |expires, not_before| Denied::ExpiryNotInFuture {
        expires_at_us: at(expires).micros(),
        not_before_us: at(not_before).micros(),
    };
    let mut book = Book::new();
    assert_eq!(book.denied(5, grant(1, Some(5))), over(5, 5));
    let mut later = Grant { effective_at: Some(at(9)), ..plain_grant() };
    later.expiry = Expiry::At(at(9));
    assert_eq!(book.denied(5, Action::Grant(later.clone())), over(9, 9));
    later.expiry = Expiry::At(Timestamp::from_micros(at(9).micros() + 1));
    book.done(5, Action::Grant(later));
    book.done(5, grant(1, Some(6)));
    let action = Action::Adjust(Adjust { delta: 1, expires_at: Some(at(5)) });
    assert_eq!(book.denied(5, action), over(5, 5));
}

fn plain_grant() -> Grant {
    let (kind, priority, expiry) = (GrantKind::Purchase, Priority::default(), Expiry::Never);
    Grant { amount: 1, kind, priority, effective_at: None, expiry, cost_basis: None }
}

#[test]
fn a_hold_gives_no_more_than_it_has_unless_overage_is_allowed() {
    let mut book = Book::with(10);
    let hold_id = book.held(1, 4, 60);
    let action = capture(hold_id, 5, true, false);
    assert_eq!(book.denied(1, action), Denied::HoldExceeded { remaining: 4, required: 5 });
    book.done(1, capture(hold_id, 4, false, false));
    // It is open, with nothing left: beyond it means all of it.
    let action = capture(hold_id, 1, false, false);
    assert_eq!(book.denied(1, action), Denied::HoldExceeded { remaining: 0, required: 1 });
    let closing = book.done(1, capture(hold_id, 0, true, false));
    assert_eq!(closing.hold.unwrap().state, HoldState::Captured);
}

#[test]
fn a_closed_hold_says_how_and_one_that_ended_says_when() {
    let mut book = Book::with(10);
    let commands = |hold_id| {
        [capture(hold_id, 99, true, false), extend(hold_id, MAX_HOLD_LIFETIME_US), release(hold_id)]
    };
    let captured = book.held(1, 1, 60);
    book.done(1, capture(captured, 1, true, false));
    let released = book.held(1, 1, 60);
    book.done(1, release(released));
    let expired = book.held(1, 1, 4);
    for (hold_id, state) in [(captured, HoldState::Captured), (released, HoldState::Released)] {
        for action in commands(hold_id) {
            assert_eq!(book.denied(2, action), Denied::HoldClosed { hold_id, state });
        }
    }
    for action in commands(expired) {
        let expired_at_us = at(5).micros();
        assert_eq!(book.denied(5, action), Denied::HoldExpired { hold_id: expired, expired_at_us });
    }
}

#[test]
fn a_hold_lives_at_most_30_days_from_its_creation_and_an_extension_never_shortens() {
    let mut book = Book::with(10);
    let hold_id = book.held(0, 1, 60);
    let latest_us = MAX_HOLD_LIFETIME_US;
    let action = extend(hold_id, MAX_HOLD_LIFETIME_US - 9_999_999);
    assert_eq!(book.denied(10, action), Denied::HoldLifetimeExceeded { hold_id, latest_us });
    let extended = book.done(10, extend(hold_id, MAX_HOLD_LIFETIME_US - 10_000_000));
    assert_eq!(extended.hold.unwrap().expires_at.micros(), latest_us);
    let late = book.done(10, extend(hold_id, MIN_HOLD_TTL_US));
    assert_eq!(late.hold.unwrap().expires_at.micros(), latest_us);
}

#[test]
fn a_time_to_live_is_between_a_second_and_30_days() {
    for (ttl_us, is_valid) in [
        (MIN_HOLD_TTL_US - 1, false),
        (MIN_HOLD_TTL_US, true),
        (MAX_HOLD_LIFETIME_US, true),
        (MAX_HOLD_LIFETIME_US + 1, false),
    ] {
        assert_eq!(try_command(Action::Hold(NewHold { amount: 1, ttl_us })).is_ok(), is_valid, "{ttl_us}");
        assert_eq!(try_command(extend(NO_HOLD, ttl_us)).is_ok(), is_valid, "{ttl_us}");
    }
}

#[test]
fn amounts_are_between_1_and_their_limit_and_only_a_final_capture_may_be_0() {
    for (amount, is_valid) in
        [(-1, false), (0, false), (1, true), (MAX_AMOUNT, true), (MAX_AMOUNT + 1, false)]
    {
        for action in [grant(amount, None), spend(amount), hold(amount, 1), reverse(NO_ENTRY, Some(amount))] {
            assert_eq!(try_command(action.clone()).is_ok(), is_valid, "{action:?}");
        }
        let is_valid_final = is_valid || amount == 0;
        assert_eq!(try_command(capture(NO_HOLD, amount, false, false)).is_ok(), is_valid, "{amount}");
        assert_eq!(try_command(capture(NO_HOLD, amount, true, false)).is_ok(), is_valid_final, "{amount}");
        let action = revoke(NO_GRANT, amount, Shortfall::Owed);
        assert_eq!(try_command(action).is_ok(), is_valid_final, "{amount}");
        assert_eq!(try_command(adjust(amount)).is_ok(), amount != 0 && amount <= MAX_AMOUNT, "{amount}");
    }
}

#[test]
fn a_reversal_gives_back_no_more_than_is_left() {
    let mut book = Book::with(10);
    let entry = book.done(1, spend(5)).entries[0].name();
    let exceeded = |reversible, required| Denied::ReversalExceeded { reversible, required };
    assert_eq!(book.denied(1, reverse(entry, Some(6))), exceeded(5, 6));
    book.done(1, reverse(entry, Some(2)));
    assert_eq!(book.denied(1, reverse(entry, Some(4))), exceeded(3, 4));
    book.done(1, reverse(entry, Some(3)));
    assert_eq!(book.denied(1, reverse(entry, Some(1))), exceeded(0, 1));
    assert_eq!(book.denied(1, reverse(entry, None)), exceeded(0, 1));
}

#[test]
fn no_more_can_be_revoked_than_was_granted() {
    let mut book = Book::new();
    let grant_id = book.granted(0, grant(10, None));
    let action = revoke(grant_id, 11, Shortfall::Owed);
    assert_eq!(book.denied(1, action), Denied::RevocationOutOfRange { granted: 10, revoked: 11 });
    book.done(1, revoke(grant_id, 10, Shortfall::Owed));
    assert_eq!(book.balance.open_lots, 0);
}

#[test]
fn open_lots_and_holds_are_limited_before_anything_else_is_looked_at() {
    let mut book = Book::with(10);
    let entry = book.done(1, spend(10)).entries[0].name();
    book.balance.open_lots = MAX_OPEN_LOTS;
    let limit = MAX_OPEN_LOTS;
    assert_eq!(book.denied(1, grant(1, None)), Denied::TooManyOpenLots { limit });
    assert_eq!(book.denied(1, adjust(1)), Denied::TooManyOpenLots { limit });
    // Credits that return to an emptied lot open it again.
    assert_eq!(book.denied(1, reverse(entry, None)), Denied::TooManyOpenLots { limit });
    book.balance.open_lots = limit - 1;
    book.done(1, reverse(entry, None));
    assert_eq!(book.balance.open_lots, limit);

    book.balance.open_holds = MAX_OPEN_HOLDS;
    assert_eq!(book.denied(1, hold(99, 1)), Denied::TooManyOpenHolds { limit: MAX_OPEN_HOLDS });
    book.balance.open_holds -= 1;
    book.done(1, hold(1, 1));
}

fn full(second: i64, book: &mut Book, missing: i64) {
    let left = MAX_BALANCE - missing - book.balance.figures.total();
    for _ in 0..left / MAX_AMOUNT {
        book.done(second, grant(MAX_AMOUNT, None));
    }
    if left % MAX_AMOUNT > 0 {
        book.done(second, grant(left % MAX_AMOUNT, None));
    }
}

#[test]
fn the_lots_of_a_balance_sum_to_their_limit_at_most() {
    let would_be = MAX_BALANCE + 1;
    let limited = Denied::BalanceLimitExceeded { limit: MAX_BALANCE, would_be };
    let mut book = Book::with(2);
    let entry = book.done(1, spend(2)).entries[0].name();
    full(1, &mut book, 1);
    for action in [grant(2, None), adjust(2), reverse(entry, None)] {
        assert_eq!(book.denied(1, action), limited);
    }
    book.done(1, reverse(entry, Some(1)));
    assert_eq!(book.balance.figures.available, MAX_BALANCE);
}

/// A lot that ended while it was revoked: its reinstatement comes back by one entry and expires by the next. Fails
/// without a look at the figures in between, which found the limit broken when it was too late for a refusal.
#[test]
fn credits_that_come_back_only_to_expire_keep_the_limit_in_between() {
    let mut book = Book::new();
    let grant_id = book.granted(0, grant(5, Some(3)));
    book.done(1, revoke(grant_id, 5, Shortfall::Owed));
    full(1, &mut book, 4);
    let would_be = MAX_BALANCE + 1;
    let action = revoke(grant_id, 0, Shortfall::Owed);
    assert_eq!(book.denied(4, action), Denied::BalanceLimitExceeded { limit: MAX_BALANCE, would_be });
    let operation = book.done(4, revoke(grant_id, 1, Shortfall::Owed));
    let kinds: Vec<EntryKind> = operation.entries.iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [EntryKind::Reinstatement, EntryKind::Expiry]);
    assert_eq!(operation.grants[0].expired, 4);
}

#[test]
fn the_clock_of_a_command_is_never_before_the_last_entry() {
    let mut book = Book::with(10);
    book.done(100, spend(1));
    let held = book.done(40, hold(1, 10));
    assert_eq!(held.entries[0].effective_at, at(100));
    assert_eq!(held.hold.unwrap().expires_at, at(110));
}

#[test]
fn what_returns_to_ended_lots_becomes_one_compensation_with_the_grace() {
    let mut book = Book::new();
    book.done(0, grant(3, Some(5)));
    book.done(0, grant(4, Some(6)));
    let entry = book.done(1, spend(7)).entries[0].name();
    let operation = book.done(8, reverse(entry, None));
    assert_eq!(operation.grants.len(), 1);
    let lot = &operation.grants[0];
    assert_eq!((lot.kind, lot.amount), (GrantKind::Compensation, 7));
    assert_eq!(lot.expires_at, Some(at(8).plus_seconds(Rules::default().reversal_grace_s)));
}
