//! The reference model: the ledger of one balance as docs/api.md and the rules tell it, written to be read. Time runs
//! second by second, everything is looked for anew for each question, and nothing is shared with the crate.
//!
//! Used by the pure tests of `domain` and by those of `store` on a real database.

/// Credits granted at once, and what became of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lot {
    pub amount: i64,
    pub kind: i64,
    pub priority: i64,
    pub starts: i64,
    pub ends: Option<i64>,
    pub has_begun: bool,
    /// Neither held nor gone.
    pub free: i64,
    pub held: i64,
    pub expired: i64,
    /// Revocations, oldest first: expired, taken, owed, forgiven.
    pub raises: Vec<[i64; 4]>,
}

impl Lot {
    pub fn revoked(&self) -> [i64; 4] {
        let mut sum = [0; 4];
        for raise in &self.raises {
            for (part, more) in sum.iter_mut().zip(raise) {
                *part += more;
            }
        }
        sum
    }

    fn is_over(&self, now: i64) -> bool {
        self.ends.is_some_and(|ends| ends <= now)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldIs {
    Open,
    Captured,
    Released,
    Over,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub amount: i64,
    pub captured: i64,
    pub made: i64,
    pub ends: i64,
    pub is: HoldIs,
    /// Places of lots, and what is reserved of each.
    pub lines: Vec<(usize, i64)>,
}

impl Hold {
    pub fn left(&self) -> i64 {
        self.lines.iter().map(|(_, left)| left).sum()
    }
}

/// A spend or capture: places of lots and what each gave; and how much came back.
#[derive(Debug, Clone)]
pub struct Take {
    pub parts: Vec<(usize, i64)>,
    pub came_back: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Active,
    Frozen,
    Closed,
}

#[derive(Debug, Clone)]
pub enum Do {
    Grant { amount: i64, kind: i64, priority: i64, starts_in: i64, lasts: Option<i64> },
    Spend { amount: i64, partial: bool },
    Hold { amount: i64, ttl: i64 },
    Capture { hold: usize, amount: i64, last: bool, overage: bool },
    Extend { hold: usize, ttl: i64 },
    Release { hold: usize },
    Reverse { take: usize, amount: Option<i64> },
    Revoke { lot: usize, revoked: i64, owed: bool },
    Adjust { delta: i64, lasts: Option<i64> },
}

/// What a caller is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Done,
    Closed,
    Frozen,
    NotEnough { available: i64, required: i64 },
    AlreadyOver,
    TooMuch,
    HoldExceeded { left: i64, required: i64 },
    HoldOver,
    HoldClosed,
    HoldTooLong,
    NothingLeft { reversible: i64 },
    MoreThanGranted,
}

/// One balance.
#[derive(Debug, Clone)]
pub struct Model {
    pub now: i64,
    pub state: State,
    pub debt: i64,
    pub lots: Vec<Lot>,
    pub holds: Vec<Hold>,
    pub takes: Vec<Take>,
    /// A threshold of the available credits: at, re-arm at, armed; and what it did: below is false.
    pub threshold: (i64, i64, bool),
    pub crossed: Vec<bool>,
    /// The most that the lots summed to, or the debt, after an entry of what is being done.
    peak: i64,
}

const GRACE: i64 = 30 * 24 * 3600;
const LIFETIME: i64 = 30 * 24 * 3600;
const MOST: i64 = 9_000_000_000_000_000;

/// Credits that found no lot to return to: how many, and when they end.
type Homeless = Vec<(i64, Option<i64>)>;

impl Model {
    pub fn new(threshold: (i64, i64)) -> Self {
        Self {
            now: 0,
            state: State::Active,
            debt: 0,
            lots: Vec::new(),
            holds: Vec::new(),
            takes: Vec::new(),
            threshold: (threshold.0, threshold.1, false),
            crossed: Vec::new(),
            peak: 0,
        }
    }

    pub fn available(&self) -> i64 {
        self.lots.iter().filter(|lot| lot.has_begun).map(|lot| lot.free).sum()
    }

    pub fn held(&self) -> i64 {
        self.lots.iter().map(|lot| lot.held).sum()
    }

    pub fn scheduled(&self) -> i64 {
        self.lots.iter().filter(|lot| !lot.has_begun).map(|lot| lot.free).sum()
    }

    /// Lets time pass.
    pub fn wait(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.now += 1;
            for hold in 0..self.holds.len() {
                if self.holds[hold].is == HoldIs::Open && self.holds[hold].ends == self.now {
                    self.give_all_back(hold);
                    self.holds[hold].is = HoldIs::Over;
                }
            }
            self.end_lots(|lot, now| lot.ends == Some(now));
            self.look_at_threshold();
            for place in self.in_burn_order() {
                if self.lots[place].starts == self.now && !self.lots[place].has_begun {
                    let repaid = self.repay(self.lots[place].free);
                    self.lots[place].has_begun = true;
                    self.lots[place].free -= repaid;
                }
            }
            self.look_at_threshold();
        }
    }

    /// Does one thing, or says why not.
    pub fn act(&mut self, what: &Do) -> Told {
        let before = self.clone();
        self.peak = 0;
        let told = self.try_to(what);
        if told != Told::Done {
            *self = before;
        }
        told
    }

    fn try_to(&mut self, what: &Do) -> Told {
        if self.state == State::Closed {
            return Told::Closed;
        }
        let goes_out = matches!(what, Do::Spend { .. } | Do::Hold { .. } | Do::Capture { .. });
        if self.state == State::Frozen && goes_out {
            return Told::Frozen;
        }
        match *what {
            Do::Grant { amount, kind, priority, starts_in, lasts } => {
                self.grant(amount, kind, priority, self.now + starts_in.max(0), lasts)
            }
            Do::Adjust { delta, lasts } if delta > 0 => self.grant(delta, 3, 50, self.now, lasts),
            Do::Adjust { delta, .. } => self.burn(-delta, false),
            Do::Spend { amount, partial } => {
                let available = self.available();
                if partial && available == 0 {
                    return Told::NotEnough { available, required: amount };
                }
                self.burn(if partial { amount.min(available) } else { amount }, true)
            }
            Do::Hold { amount, ttl } => self.hold(amount, ttl),
            Do::Capture { hold, amount, last, overage } => self.capture(hold, amount, last, overage),
            Do::Extend { hold, ttl } => self.extend(hold, ttl),
            Do::Release { hold } => self.release(hold),
            Do::Reverse { take, amount } => self.reverse(take, amount),
            Do::Revoke { lot, revoked, owed } => self.revoke(lot, revoked, owed),
        }
    }

    fn done(&mut self) -> Told {
        self.look_at_threshold();
        if self.peak > MOST { Told::TooMuch } else { Told::Done }
    }

    /// After each entry.
    fn look_at_threshold(&mut self) {
        let total = self.available() + self.held() + self.scheduled();
        self.peak = self.peak.max(total).max(self.debt);
        let (at, rearm_at, is_armed) = self.threshold;
        if is_armed && self.available() < at {
            self.threshold.2 = false;
            self.crossed.push(false);
        } else if !is_armed && self.available() >= rearm_at {
            self.threshold.2 = true;
            self.crossed.push(true);
        }
    }

    fn repay(&mut self, credits: i64) -> i64 {
        let repaid = credits.min(self.debt);
        self.debt -= repaid;
        repaid
    }

    fn in_burn_order(&self) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.lots.len()).collect();
        places.sort_by_key(|place| {
            let lot = &self.lots[*place];
            (lot.priority, lot.ends.unwrap_or(i64::MAX), lot.kind, *place)
        });
        places
    }

    fn end_lots(&mut self, ends: impl Fn(&Lot, i64) -> bool) {
        let now = self.now;
        for lot in self.lots.iter_mut().filter(|lot| lot.has_begun && ends(lot, now)) {
            lot.expired += lot.free;
            lot.free = 0;
        }
    }

    fn grant(&mut self, amount: i64, kind: i64, priority: i64, starts: i64, lasts: Option<i64>) -> Told {
        let ends = lasts.map(|lasts| starts + lasts);
        if ends.is_some_and(|ends| ends <= starts) {
            return Told::AlreadyOver;
        }
        let has_begun = starts <= self.now;
        let repaid = if has_begun { self.repay(amount) } else { 0 };
        let free = amount - repaid;
        let (held, expired, raises) = (0, 0, Vec::new());
        self.lots.push(Lot { amount, kind, priority, starts, ends, has_begun, free, held, expired, raises });
        self.done()
    }

    /// Which lots give how much, in burn order.
    fn taken(&mut self, amount: i64) -> Vec<(usize, i64)> {
        let mut left = amount;
        let mut parts = Vec::new();
        for place in self.in_burn_order() {
            let lot = &mut self.lots[place];
            if lot.has_begun && left > 0 && lot.free > 0 {
                let part = left.min(lot.free);
                lot.free -= part;
                left -= part;
                parts.push((place, part));
            }
        }
        assert_eq!(left, 0, "the caller has looked");
        parts
    }

    fn burn(&mut self, amount: i64, is_reversible: bool) -> Told {
        let available = self.available();
        if amount > available {
            return Told::NotEnough { available, required: amount };
        }
        let parts = self.taken(amount);
        if is_reversible {
            self.takes.push(Take { parts, came_back: 0 });
        }
        self.done()
    }

    fn hold(&mut self, amount: i64, ttl: i64) -> Told {
        let available = self.available();
        if amount > available {
            return Told::NotEnough { available, required: amount };
        }
        let lines = self.taken(amount);
        for (place, part) in &lines {
            self.lots[*place].held += part;
        }
        let (made, ends) = (self.now, self.now + ttl);
        self.holds.push(Hold { amount, captured: 0, made, ends, is: HoldIs::Open, lines });
        self.done()
    }

    fn closed(&self, hold: usize) -> Option<Told> {
        match self.holds[hold].is {
            HoldIs::Open => None,
            HoldIs::Over => Some(Told::HoldOver),
            HoldIs::Captured | HoldIs::Released => Some(Told::HoldClosed),
        }
    }

    fn capture(&mut self, hold: usize, amount: i64, last: bool, overage: bool) -> Told {
        if let Some(told) = self.closed(hold) {
            return told;
        }
        let left = self.holds[hold].left();
        let beyond = (amount - left).max(0);
        if beyond > 0 && !overage {
            return Told::HoldExceeded { left, required: amount };
        }
        let available = self.available();
        if beyond > available {
            return Told::NotEnough { available, required: beyond };
        }
        let mut parts: Vec<(usize, i64)> = Vec::new();
        let mut from_hold = amount - beyond;
        self.holds[hold].captured += from_hold;
        for line in 0..self.holds[hold].lines.len() {
            let (place, reserved) = self.holds[hold].lines[line];
            let part = from_hold.min(reserved);
            from_hold -= part;
            self.holds[hold].lines[line].1 -= part;
            self.lots[place].held -= part;
            if part > 0 {
                parts.push((place, part));
            }
        }
        for (place, part) in self.taken(beyond) {
            match parts.iter_mut().find(|known| known.0 == place) {
                Some(known) => known.1 += part,
                None => parts.push((place, part)),
            }
        }
        self.takes.push(Take { parts, came_back: 0 });
        // An entry of its own, so that its crossing is seen even if the release undoes it.
        self.look_at_threshold();
        if last {
            self.give_all_back(hold);
            self.holds[hold].is = HoldIs::Captured;
        }
        self.done()
    }

    /// Held credits go back to their lots, last line first; a lot that is over ends again.
    fn give_all_back(&mut self, hold: usize) {
        let lines = self.holds[hold].lines.clone();
        for (line, (place, reserved)) in lines.into_iter().enumerate().rev() {
            self.holds[hold].lines[line].1 = 0;
            self.lots[place].held -= reserved;
            let kept = self.reclaim(place, reserved);
            let repaid = self.repay(reserved - kept);
            self.lots[place].free += reserved - kept - repaid;
        }
        self.look_at_threshold();
        // The others that end at this very moment end after all holds.
        let now = self.now;
        for (place, _) in self.holds[hold].lines.clone() {
            let lot = &mut self.lots[place];
            if lot.is_over(now) {
                lot.expired += lot.free;
                lot.free = 0;
            }
        }
        self.look_at_threshold();
    }

    /// What a revocation keeps of credits that come back.
    fn reclaim(&mut self, place: usize, credits: i64) -> i64 {
        let mut left = credits;
        for raise in &mut self.lots[place].raises {
            let kept = left.min(raise[3]);
            raise[3] -= kept;
            raise[1] += kept;
            left -= kept;
        }
        credits - left
    }

    fn extend(&mut self, hold: usize, ttl: i64) -> Told {
        if let Some(told) = self.closed(hold) {
            return told;
        }
        if self.now + ttl > self.holds[hold].made + LIFETIME {
            return Told::HoldTooLong;
        }
        self.holds[hold].ends = self.holds[hold].ends.max(self.now + ttl);
        self.done()
    }

    fn release(&mut self, hold: usize) -> Told {
        if let Some(told) = self.closed(hold) {
            return told;
        }
        self.give_all_back(hold);
        self.holds[hold].is = HoldIs::Released;
        self.done()
    }

    fn reverse(&mut self, take: usize, amount: Option<i64>) -> Told {
        let taken: i64 = self.takes[take].parts.iter().map(|(_, part)| part).sum();
        let reversible = taken - self.takes[take].came_back;
        let amount = amount.unwrap_or(reversible);
        if amount > reversible || amount == 0 {
            return Told::NothingLeft { reversible };
        }
        let mut skip = self.takes[take].came_back;
        let mut left = amount;
        let mut homeless = Vec::new();
        for (place, part) in self.takes[take].parts.clone().into_iter().rev() {
            let gone = skip.min(part);
            skip -= gone;
            let back = left.min(part - gone);
            left -= back;
            let kept = self.reclaim(place, back);
            if self.lots[place].is_over(self.now) {
                homeless.push((back - kept, Some(self.now + GRACE)));
            } else {
                self.refill(place, back - kept, &mut homeless);
            }
        }
        self.takes[take].came_back += amount;
        self.house(homeless);
        self.done()
    }

    /// Credits from outside: debt first, then the lot up to what was granted.
    fn refill(&mut self, place: usize, credits: i64, homeless: &mut Homeless) {
        let left = credits - self.repay(credits);
        let lot = &mut self.lots[place];
        let room = lot.amount - lot.free - lot.held;
        let fits = left.min(room);
        lot.free += fits;
        let ends = if lot.is_over(self.now) { Some(self.now + GRACE) } else { lot.ends };
        homeless.push((left - fits, ends));
    }

    /// A compensation for what has no lot, with the latest of the ends.
    fn house(&mut self, homeless: Homeless) {
        let pieces: Homeless = homeless.into_iter().filter(|(credits, _)| *credits > 0).collect();
        let credits: i64 = pieces.iter().map(|(credits, _)| credits).sum();
        let left = credits - self.repay(credits);
        if left == 0 {
            return;
        }
        let never = pieces.iter().any(|(_, ends)| ends.is_none());
        let ends = if never { None } else { pieces.iter().filter_map(|(_, ends)| *ends).max() };
        self.lots.push(Lot {
            amount: left,
            kind: 2,
            priority: 50,
            starts: self.now,
            ends,
            has_begun: true,
            free: left,
            held: 0,
            expired: 0,
            raises: Vec::new(),
        });
    }

    fn revoke(&mut self, lot: usize, revoked: i64, owed: bool) -> Told {
        if revoked > self.lots[lot].amount {
            return Told::MoreThanGranted;
        }
        let by = revoked - self.lots[lot].revoked().iter().sum::<i64>();
        if by >= 0 {
            self.raise(lot, by, owed)
        } else {
            self.lower(lot, -by)
        }
        self.done()
    }

    fn raise(&mut self, lot: usize, by: i64, owed: bool) {
        let expired = by.min(self.lots[lot].expired - self.lots[lot].revoked()[0]);
        let taken = (by - expired).min(self.lots[lot].free);
        self.lots[lot].free -= taken;
        let missing = by - expired - taken;
        if by > 0 {
            let (owes, lets_go) = if owed { (missing, 0) } else { (0, missing) };
            self.lots[lot].raises.push([expired, taken, owes, lets_go]);
        }
        if owed {
            let from_others = missing.min(self.available());
            self.taken(from_others);
            self.debt += missing - from_others;
        }
    }

    fn lower(&mut self, lot: usize, by: i64) {
        let mut left = by;
        let mut undone = [0; 4];
        while left > 0 {
            let raise = self.lots[lot].raises.last_mut().expect("the total is larger");
            // Forgiven, owed, taken, expired.
            for part in [3, 2, 1, 0] {
                let gone = left.min(raise[part]);
                raise[part] -= gone;
                undone[part] += gone;
                left -= gone;
            }
            if raise.iter().sum::<i64>() == 0 {
                self.lots[lot].raises.pop();
            }
        }
        let [_, taken, owed, _] = undone;
        let paid = self.repay(owed);
        let from_others = owed - paid;
        let mut homeless = Vec::new();
        if !self.lots[lot].has_begun {
            self.lots[lot].free += from_others + taken;
        } else if self.lots[lot].is_over(self.now) {
            homeless.push((from_others, Some(self.now + GRACE)));
            self.refill(lot, taken, &mut homeless);
        } else {
            self.refill(lot, from_others + taken, &mut homeless);
        }
        self.house(homeless);
        self.look_at_threshold();
        self.end_lots(Lot::is_over);
    }
}
