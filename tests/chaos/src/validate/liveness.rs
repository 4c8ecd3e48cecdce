//! That streams reach the end of the journal when the faults are over, and that an idle writer holds up nobody.

use std::collections::BTreeMap;

use super::facts::Window;
use super::walk::Walk;
use super::{Bounds, Facts, Findings, micros};
use crate::history::{Event, Nemesis, Outcome};

/// Time in which a replica finds its feet after another fault.
const RECOVERY: u64 = 1_500_000;

/// After the last fault writes are answered, every reader has a stream, and every stream is at the journal's end.
pub(super) fn converged(facts: &Facts<'_>, _: &Bounds) -> Findings {
    let mut findings = Findings::default();
    let (Some(calm), Some(settled)) = (facts.calm, facts.settled) else {
        findings.check(None, Some("the history ends before the streams had time to settle".to_owned()));
        return findings;
    };
    let answered = |at: u64| at > calm && at < settled;
    let is_progress = facts.calls.iter().any(|call| {
        matches!(call.answer, Some((_, at, Outcome::Acknowledged(_))) if answered(at)) && call.at > calm
    });
    findings.check(None, (!is_progress).then(|| "no write was acknowledged after the faults".to_owned()));
    let mut without: BTreeMap<u16, _> = BTreeMap::new();
    for (line, record) in facts.history.records() {
        if let Event::Open { reader, .. } = &record.event {
            without.insert(*reader, line);
        }
    }
    for stream in Walk::through(facts, |_| {}) {
        without.remove(&stream.reader);
        for (account, place) in &stream.places {
            let (version, hash) = facts.head(*account);
            let is_there =
                place.at.is_some_and(|(at, told)| at == version && told.is_none_or(|told| told == hash));
            let wrong = (!is_there).then(|| {
                let at = place.at.map_or(0, |(at, _)| at);
                format!("reader {} is at {at} of account {account}, not at {version}", stream.reader)
            });
            findings.check(None, wrong);
        }
    }
    for (reader, line) in without {
        findings.check(line, Some(format!("reader {reader} has no stream at the end")));
    }
    findings
}

/// While a stranger's transaction is open, and nothing else is wrong, changes come in time.
pub(super) fn immune(facts: &Facts<'_>, bounds: &Bounds) -> Findings {
    let mut findings = Findings::default();
    let idle: Vec<&Window> = facts.windows.iter().filter(|w| w.nemesis == Nemesis::IdleWriter).collect();
    if idle.is_empty() {
        return findings;
    }
    let limit = micros(bounds.delivery);
    Walk::through(facts, |step| {
        let Event::Changes { account, entries, .. } = step.event else { return };
        for entry in entries {
            if !facts.is_kept(*account, entry.0, entry.1) {
                continue;
            }
            let Some(answered) = facts.acknowledged_at(*account, entry.0) else { continue };
            let in_time = idle.iter().any(|w| w.begin <= answered && answered < w.lift);
            let is_old = step.stream.opened.saturating_add(RECOVERY) < answered;
            if !in_time || !is_old || step.stream.was_paused(step.at, RECOVERY) {
                continue;
            }
            let late = step.at.saturating_sub(answered);
            if late > limit && is_troubled(facts, answered, limit) {
                continue;
            }
            let wrong = (late > limit)
                .then(|| format!("version {} of account {account} came {late} µs after its answer", entry.0));
            findings.check(step.line, wrong);
        }
    });
    findings
}

/// Whether another fault was about while a change was under way, or shortly before.
fn is_troubled(facts: &Facts<'_>, at: u64, limit: u64) -> bool {
    facts.windows.iter().any(|window| {
        window.nemesis != Nemesis::IdleWriter
            && window.begin <= at.saturating_add(limit)
            && at <= window.finish.saturating_add(RECOVERY)
    })
}

#[cfg(test)]
mod tests {
    use super::super::script::{Script, entry};
    use crate::history::Nemesis;

    const S: u64 = 1_000_000;

    #[test]
    fn a_stream_that_is_not_at_the_end_is_caught() {
        let script = Script::new().journal(1).open(1, &[(1, Some(0))]).calm().write(2);
        script.clone().changes(1, 1, &[entry(1), entry(2)]).settle().keeps("converged");
        script.clone().changes(1, 1, &[entry(1)]).settle().breaks("converged");
        script.clone().changes(1, 1, &[entry(1), entry(2)]).breaks("converged");
        script.changes(1, 1, &[entry(1), entry(2)]).end(1).settle().breaks("converged");
    }

    #[test]
    fn writes_that_do_not_come_back_are_caught() {
        let script = Script::new().journal(1).open(1, &[(1, Some(0))]).changes(1, 1, &[entry(1)]);
        script.calm().settle().breaks("converged");
    }

    #[test]
    fn a_delay_by_an_idle_writer_is_caught() {
        let script = Script::new().open(1, &[(1, Some(0))]).later(10 * S);
        let idle = script.begin(1, Nemesis::IdleWriter, None).write(1);
        idle.clone().later(S).changes(1, 1, &[entry(1)]).lift(1).finish(1).holds();
        idle.clone().later(5 * S).lift(1).finish(1).changes(1, 1, &[entry(1)]).breaks("immune");
        let both = idle.begin(2, Nemesis::CutClients, Some(0)).lift(2).finish(2);
        both.later(5 * S).changes(1, 1, &[entry(1)]).lift(1).finish(1).keeps("immune");
    }
}
