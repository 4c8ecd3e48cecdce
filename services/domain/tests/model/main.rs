//! The rules against an independent model, seeded; and the mutation gate, which proves that the comparison sees.
//!
//! `TALLYSTICK_MODEL_CASES` and `TALLYSTICK_MODEL_SEED` make a longer run, or one case again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod ledger;
mod reference;
mod replay;
mod steps;

use domain::mutants::{self, Mutant};
use ledger::Ledger;
use reference::{Do, HoldIs, Model};
use replay::Replay;
use steps::{Dice, Step};

const STEPS: usize = 120;

/// Amounts of some cases are near the limits: few grants fill a balance.
const LARGE: i64 = 15_000_000_000_000;

fn scaled(step: Step, scale: i64) -> Step {
    let Step::Act(mut what) = step else { return step };
    let most = domain::MAX_AMOUNT;
    let grow = |amount: &mut i64| *amount = amount.saturating_mul(scale).clamp(-most, most);
    match &mut what {
        Do::Grant { amount, .. }
        | Do::Spend { amount, .. }
        | Do::Hold { amount, .. }
        | Do::Capture { amount, .. }
        | Do::Revoke { revoked: amount, .. }
        | Do::Adjust { delta: amount, .. }
        | Do::Reverse { amount: Some(amount), .. } => grow(amount),
        Do::Extend { .. } | Do::Release { .. } | Do::Reverse { amount: None, .. } => {}
    }
    Step::Act(what)
}

/// When the model would change by itself next.
fn next_change(model: &Model) -> Option<i64> {
    let lots = model.lots.iter().filter(|lot| lot.free > 0);
    let lots = lots.filter_map(|lot| if lot.has_begun { lot.ends } else { Some(lot.starts) });
    let holds = model.holds.iter().filter(|hold| hold.is == HoldIs::Open).map(|hold| hold.ends);
    lots.chain(holds).min()
}

fn compare(ledger: &Ledger, model: &Model, replay: &mut Replay) -> Result<(), String> {
    ledger.compare(model)?;
    let (is, should_be) = (ledger.balance.next_due_at(), next_change(model).map(ledger::moment));
    if is != should_be {
        return Err(format!("next due time: is {is:?}, should be {should_be:?}"));
    }
    replay.compare(&ledger.entries, &ledger.balance)
}

/// Runs one case. The error says what differs, after how many steps, and what was done last.
fn run(seed: u64) -> Result<(), (usize, String)> {
    let mut dice = Dice::new(seed);
    let threshold = (dice.between(1, 40), dice.between(40, 80));
    let (mut model, mut ledger) = (Model::new(threshold), Ledger::new(threshold));
    let mut replay = Replay::default();
    let scale = if seed.is_multiple_of(8) { LARGE } else { 1 };
    let mut done: Vec<Step> = Vec::new();
    for number in 1..=STEPS {
        let step = scaled(steps::step(&mut dice, &model), scale);
        done.push(step.clone());
        let differs = |what: String| {
            let last = &done[done.len().saturating_sub(12)..];
            (number, format!("{what}\n  after {last:#?}"))
        };
        match &step {
            Step::Wait(seconds) => {
                model.wait(*seconds);
                ledger.settle(model.now).map_err(differs)?;
            }
            Step::Become(state) => model.state = *state,
            Step::Act(what) => {
                let expected = model.act(what);
                let told = ledger.act(what, model.state, model.now).map_err(differs)?;
                if told != expected {
                    return Err(differs(format!("told {told:?}, should be {expected:?}")));
                }
            }
        }
        let (by, owed) = (scale * dice.between(1, 40), dice.one_in(2));
        let place = dice.below(model.lots.len().max(1));
        let neutral =
            if number % 4 == 0 { ledger.raise_and_lower(place, by, owed, model.now) } else { Ok(()) };
        neutral.and_then(|()| compare(&ledger, &model, &mut replay)).map_err(|what| {
            let last = &done[done.len().saturating_sub(12)..];
            (number, format!("{what}\n  after {last:#?}"))
        })?;
    }
    Ok(())
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// One test, since the switch of the mutants is one for the process.
#[test]
fn the_rules_agree_with_the_model_and_each_mutant_is_caught() {
    let first = setting("TALLYSTICK_MODEL_SEED").unwrap_or(1);
    let cases = setting("TALLYSTICK_MODEL_CASES").unwrap_or(400);
    for seed in first..first + cases {
        if let Err((step, what)) = run(seed) {
            panic!("seed {seed}, step {step}: {what}");
        }
    }
    println!("{} steps agree, seeds {first} to {}", cases * STEPS as u64, first + cases - 1);

    println!("| mutant | caught by | seed | step |\n| --- | --- | ---: | ---: |");
    for mutant in Mutant::ALL {
        // Of the store: its own gate has a race for it.
        if mutant == Mutant::LockAndReadInOneStatement {
            continue;
        }
        mutants::switch(Some(mutant));
        let caught = (1..=500).find_map(|seed| run(seed).err().map(|(step, what)| (seed, step, what)));
        mutants::switch(None);
        let (seed, step, what) = caught.unwrap_or_else(|| panic!("{mutant:?} is not caught"));
        let check = what.split(['\n', ':']).next().unwrap_or_default();
        println!("| {mutant:?} | {check} | {seed} | {step} |");
    }
}
