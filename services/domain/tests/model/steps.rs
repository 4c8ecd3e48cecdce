//! What the model and the ledger are asked to do, by a seed: small amounts, few lots, many things at one moment.

use super::reference::{Do, Model, State};

/// A small generator (xorshift64*): the same seed, the same steps, on every machine.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    /// 0..below
    pub fn below(&mut self, below: usize) -> usize {
        usize::try_from(self.next()).unwrap() % below
    }

    /// low..=high
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + i64::try_from(self.below(usize::try_from(high - low + 1).unwrap())).unwrap()
    }

    pub fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }
}

/// One step.
#[derive(Debug, Clone)]
pub enum Step {
    Wait(i64),
    Become(State),
    Act(Do),
}

/// A step that makes sense for the state of the model, mostly.
pub fn step(dice: &mut Dice, model: &Model) -> Step {
    if model.state != State::Active && dice.one_in(3) {
        return Step::Become(State::Active);
    }
    match dice.below(100) {
        0..18 => Step::Wait(dice.between(0, 6)),
        18 => Step::Become(if dice.one_in(4) { State::Closed } else { State::Frozen }),
        _ => Step::Act(act(dice, model)),
    }
}

fn amount(dice: &mut Dice) -> i64 {
    if dice.one_in(400) { 1_000_000_000_000_000 } else { dice.between(1, 60) }
}

fn act(dice: &mut Dice, model: &Model) -> Do {
    loop {
        match dice.below(20) {
            0..4 => return grant(dice),
            4..8 => return Do::Spend { amount: amount(dice), partial: dice.one_in(3) },
            8..10 => {
                return Do::Hold { amount: dice.between(1, 40), ttl: dice.between(1, 12) };
            }
            10..13 if !model.holds.is_empty() => {
                let hold = recent(dice, model.holds.len());
                let last = dice.one_in(3);
                let amount = if last && dice.one_in(4) { 0 } else { dice.between(1, 25) };
                return Do::Capture { hold, amount, last, overage: dice.one_in(3) };
            }
            13 if !model.holds.is_empty() => {
                let hold = recent(dice, model.holds.len());
                let ttl = if dice.one_in(20) { 30 * 24 * 3600 } else { dice.between(1, 12) };
                return Do::Extend { hold, ttl };
            }
            14 if !model.holds.is_empty() => return Do::Release { hold: recent(dice, model.holds.len()) },
            15..17 if !model.takes.is_empty() => {
                let take = recent(dice, model.takes.len());
                return Do::Reverse { take, amount: (!dice.one_in(3)).then(|| dice.between(1, 30)) };
            }
            17..19 if !model.lots.is_empty() => {
                let lot = recent(dice, model.lots.len());
                let most = model.lots[lot].amount;
                let revoked = match dice.below(8) {
                    0 => most.saturating_add(1).min(1_000_000_000_000_000),
                    1 => most,
                    2 => 0,
                    _ => dice.between(0, most.min(70)),
                };
                return Do::Revoke { lot, revoked, owed: dice.one_in(2) };
            }
            19 => {
                let delta = if dice.one_in(2) { dice.between(1, 30) } else { -dice.between(1, 30) };
                let lasts = (delta > 0 && dice.one_in(2)).then(|| dice.between(1, 12));
                return Do::Adjust { delta, lasts };
            }
            _ => {}
        }
    }
}

fn grant(dice: &mut Dice) -> Do {
    let starts_in = (dice.between(-8, 8)).max(0);
    let lasts = dice.one_in(2).then(|| dice.between(-1, 14));
    let (kind, priority) = (dice.between(1, 5), if dice.one_in(3) { dice.between(0, 3) } else { 50 });
    Do::Grant { amount: amount(dice), kind, priority, starts_in, lasts }
}

/// The newer, the likelier.
fn recent(dice: &mut Dice, count: usize) -> usize {
    if dice.one_in(6) { dice.below(count) } else { count - 1 - dice.below(count.min(5)) }
}
