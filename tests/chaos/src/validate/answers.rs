//! I3 and I7: what callers were told is true, and one key has one effect.

use std::collections::BTreeMap;

use super::facts::{Call, Entry};
use super::{Bounds, Facts, Findings};
use crate::history::{Account, Answered, Command, Figures, Outcome};

/// Refusals that deny that a command was done. After its acknowledgement they would be lies.
const DENIALS: [&str; 5] =
    ["INSUFFICIENT_CREDITS", "IDEMPOTENCY_KEY_REUSED", "HOLD_EXCEEDED", "HOLD_CLOSED", "HOLD_NOT_FOUND"];

type ByKey<'f, 'a> = BTreeMap<(Account, &'a str), Vec<&'f Call<'a>>>;

fn by_key<'f, 'a>(facts: &'f Facts<'a>) -> ByKey<'f, 'a> {
    let mut by_key = ByKey::new();
    for call in &facts.calls {
        by_key.entry((call.account, call.key)).or_default().push(call);
    }
    by_key
}

fn acknowledged<'a>(call: &Call<'a>) -> Option<(u64, &'a Answered)> {
    match call.answer {
        Some((_, at, Outcome::Acknowledged(answered))) => Some((at, answered)),
        _ => None,
    }
}

/// I3: one key has one effect and one answer, and the effect is the command's.
pub(super) fn keys(facts: &Facts<'_>, _: &Bounds) -> Findings {
    let mut findings = Findings::default();
    let by_key = by_key(facts);
    for ((account, key), calls) in &by_key {
        // A second answer may differ only when the first write was lost.
        let lasting = calls.iter().filter_map(|call| {
            let (at, answered) = acknowledged(call)?;
            (!facts.may_be_lost(call.at, at)).then_some((call, answered))
        });
        let mut first: Option<&Answered> = None;
        for (call, answered) in lasting {
            let other = first.get_or_insert(answered);
            let same = (&other.operation, &other.entries, other.version, other.hash, other.figures)
                == (
                    &answered.operation,
                    &answered.entries,
                    answered.version,
                    answered.hash,
                    answered.figures,
                );
            findings.check(call.line, (!same).then(|| format!("{key} was answered in two ways")));
        }
        let Some(stored) = facts.operations.get(&(*account, *key)) else { continue };
        let effect = facts.entry(*account, stored.first);
        let wrong = match (calls.first(), effect) {
            (Some(call), Some(effect)) => (!is_effect(call.command, effect))
                .then(|| format!("{key}, {:?}, had the effect {:?}", call.command, effect.delta)),
            _ => None,
        };
        findings.check(stored.line, wrong);
    }
    for ((account, key), stored) in &facts.operations {
        let wrong = !by_key.contains_key(&(*account, *key));
        findings.check(stored.line, wrong.then(|| format!("nobody sent {key}")));
    }
    findings
}

fn is_effect(command: Command, entry: &Entry<'_>) -> bool {
    let Figures(available, held, _, debt) = entry.delta;
    match command {
        Command::Grant(amount) => available - debt == amount,
        Command::Spend(amount) => available == -amount && held == 0,
        Command::Hold(amount) => available == -amount && held == amount,
        Command::Capture(amount) => held == -amount,
        Command::Release => held < 0 || entry.delta == Figures::default(),
    }
}

/// I7: what was acknowledged is in the journal as it was told, what was only ever refused is not, and nothing that was
/// acknowledged is denied later. Excused is what was lost on purpose.
pub(super) fn truthful(facts: &Facts<'_>, _: &Bounds) -> Findings {
    let mut findings = Findings::default();
    for ((account, key), calls) in &by_key(facts) {
        let stored = facts.operations.get(&(*account, *key));
        let mut done: Option<u64> = None;
        for call in calls {
            let Some((line, at, outcome)) = call.answer else { continue };
            let wrong = match outcome {
                Outcome::Acknowledged(_) if facts.may_be_lost(call.at, at) => None,
                Outcome::Acknowledged(answered) => {
                    done = Some(done.map_or(at, |done| done.min(at)));
                    untrue(facts, *account, answered, stored.map(|stored| stored.operation))
                }
                Outcome::Refused(reason) => {
                    let denied =
                        DENIALS.contains(&reason.as_str()) && done.is_some_and(|done| call.at > done);
                    denied.then(|| format!("{key} was denied ({reason}) after its acknowledgement"))
                }
                Outcome::Unknown(_) => None,
            };
            findings.check(line, wrong);
        }
        let is_only_refused =
            calls.iter().all(|call| matches!(call.answer, Some((_, _, Outcome::Refused(_)))));
        if is_only_refused {
            let wrong = stored.map(|_| format!("{key} was refused, and written all the same"));
            findings.check(calls.first().map(|call| call.line), wrong);
        }
    }
    findings
}

/// What an acknowledgement says that the journal does not.
fn untrue(facts: &Facts<'_>, account: Account, answered: &Answered, stored: Option<&str>) -> Option<String> {
    let Some(stored) = stored else {
        return Some(format!("{} was acknowledged and is lost", answered.operation));
    };
    if stored != answered.operation {
        return Some(format!("{} was acknowledged, the journal has {stored}", answered.operation));
    }
    for told in &answered.entries {
        let is = facts.entry(account, told.0);
        let is_true = is.is_some_and(|is| {
            (is.hash, is.index, is.size, is.operation) == (told.1, told.2, told.3, &*answered.operation)
        });
        if !is_true {
            return Some(format!("version {} was acknowledged, the journal has another", told.0));
        }
    }
    let last = answered.entries.last().and_then(|last| facts.entry(account, last.0));
    let is_true = last.is_some_and(|last| {
        (last.version, last.hash, last.after) == (answered.version, answered.hash, answered.figures)
    });
    (!is_true).then(|| format!("the balance of {} is not that after its last entry", answered.operation))
}

#[cfg(test)]
mod tests {
    use super::super::script::Script;
    use crate::history::{Event, Outcome};

    #[test]
    fn an_acknowledged_write_that_is_lost_is_caught_unless_it_was_lost_on_purpose() {
        Script::new().journal(3).without_operation(3).breaks("truthful");
        let script = Script::new().journal(2).losing(|script| script.write(3));
        script.without_operation(3).without_entry(3).keeps("truthful");
    }

    #[test]
    fn an_answer_with_another_hash_or_balance_is_caught() {
        let script = Script::new().journal(3);
        let other = |event: &mut Event| {
            if let Event::Answer { outcome: Outcome::Acknowledged(answered), .. } = event {
                answered.figures.0 += 1;
            }
        };
        script.clone().with_answers(other).breaks("truthful");
        let hash = |event: &mut Event| {
            if let Event::Answer { outcome: Outcome::Acknowledged(answered), .. } = event {
                answered.entries[0].1.0 += 1;
            }
        };
        script.with_answers(hash).breaks("truthful");
    }

    #[test]
    fn a_refused_write_that_was_written_is_caught() {
        let script = Script::new().journal(2);
        script.clone().refuse("new", "INSUFFICIENT_CREDITS").holds();
        script
            .with_answers(|event| {
                if let Event::Answer { call: 2, outcome } = event {
                    *outcome = Outcome::Refused("INSUFFICIENT_CREDITS".to_owned());
                }
            })
            .breaks("truthful");
    }

    #[test]
    fn a_denial_after_the_acknowledgement_is_caught() {
        let script = Script::new().journal(2);
        script.clone().refuse("k2", "OVERLOADED").holds();
        script.refuse("k2", "INSUFFICIENT_CREDITS").breaks("truthful");
    }

    #[test]
    fn two_answers_to_one_key_an_unknown_key_and_another_effect_are_caught() {
        let script = Script::new().journal(2);
        script.clone().again(2).holds();
        let second = |event: &mut Event| {
            if let Event::Answer { call, outcome: Outcome::Acknowledged(answered) } = event
                && *call > 2
            {
                answered.operation = "another".to_owned();
            }
        };
        script.clone().again(2).with_answers(second).breaks("keys");
        script.clone().without_calls().breaks("keys");
        script
            .with_journal(|event| {
                if let Event::Entry { version: 2, delta, .. } = event {
                    delta.0 = 2;
                }
            })
            .breaks("keys");
    }
}
