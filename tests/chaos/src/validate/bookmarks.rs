//! Promises 6 and 7: what a bookmark proves.

use super::walk::{Step, Walk};
use super::{Bounds, Facts, Findings, micros};
use crate::history::{Event, Nemesis};

/// Promise 6: everything that was acknowledged before the moment for which a bookmark vouches (its receipt, less its
/// stated lag, less a margin for the way) was told before it.
pub(super) fn bookmarked(facts: &Facts<'_>, bounds: &Bounds) -> Findings {
    let mut findings = Findings::default();
    let margin = micros(bounds.margin);
    Walk::through(facts, |step| {
        let Event::Bookmark { lag_us, .. } = step.event else { return };
        if facts.is_held_up(step.stream.replica, step.at, margin) || step.stream.was_paused(step.at, margin) {
            return;
        }
        let vouched = step.at.saturating_sub(lag_us.saturating_add(margin));
        findings.check(step.line, behind(facts, step, vouched));
    });
    findings
}

/// Promise 7: `in_sync` says that every target is at least as new as when the request was sent.
pub(super) fn current(facts: &Facts<'_>, _: &Bounds) -> Findings {
    let mut findings = Findings::default();
    Walk::through(facts, |step| {
        if let Event::Bookmark { in_sync: true, .. } = step.event {
            findings.check(step.line, behind(facts, step, step.stream.opened));
        }
    });
    findings
}

/// A target that lacks what was acknowledged before this time.
fn behind(facts: &Facts<'_>, step: &Step<'_>, time: u64) -> Option<String> {
    step.stream.places.iter().find_map(|(account, place)| {
        let wanted = facts.acknowledged_before(*account, time);
        let at = place.at.map_or(0, |(version, _)| version);
        (at < wanted)
            .then(|| format!("account {account} is at {at}; {wanted} was acknowledged before {time} µs"))
    })
}

/// Promise 6: bookmarks stop while the source is cut.
pub(super) fn silent(facts: &Facts<'_>, bounds: &Bounds) -> Findings {
    let mut findings = Findings::default();
    let wait = micros(bounds.stale_after).saturating_add(micros(bounds.margin));
    let cuts: Vec<_> = facts.windows.iter().filter(|window| is_a_cut(window.nemesis)).collect();
    Walk::through(facts, |step| {
        let Event::Bookmark { .. } = step.event else { return };
        let margin = micros(bounds.margin);
        if facts.is_held_up(step.stream.replica, step.at, margin) || step.stream.was_paused(step.at, margin) {
            return;
        }
        for cut in cuts.iter().filter(|cut| cut.is_of(step.stream.replica)) {
            if cut.begin <= step.at && step.at < cut.lift {
                let late = step.at - cut.begin;
                let wrong = (late > wait).then(|| {
                    format!("a bookmark {late} µs after the source was cut (strike {})", cut.strike)
                });
                findings.check(step.line, wrong);
            }
        }
    });
    findings
}

/// Whether no poll of the source can succeed during it.
fn is_a_cut(nemesis: Nemesis) -> bool {
    matches!(
        nemesis,
        Nemesis::CutDatabase
            | Nemesis::StallDatabase
            | Nemesis::KillPostgres
            | Nemesis::StopPostgres
            | Nemesis::FreezePostgres
    )
}

#[cfg(test)]
mod tests {
    use super::super::script::{Script, entry};
    use crate::history::Nemesis;

    const S: u64 = 1_000_000;

    #[test]
    fn a_bookmark_that_overtakes_what_was_acknowledged_before_is_caught() {
        let script = Script::new().journal(3).open(1, &[(1, Some(0))]).changes(1, 1, &[entry(1), entry(2)]);
        script.clone().bookmark(1, false, 0, 7).keeps("bookmarked");
        let later = script.later(3 * S);
        later.clone().bookmark(1, false, 0, 7).breaks("bookmarked");
        later.clone().bookmark(1, false, 2_900_000, 7).keeps("bookmarked");
        later.changes(1, 1, &[entry(3)]).bookmark(1, false, 0, 7).holds();
    }

    #[test]
    fn a_bookmark_that_was_held_up_on_its_way_is_not_blamed() {
        let script = Script::new().journal(3).open(1, &[(1, Some(0))]).changes(1, 1, &[entry(1), entry(2)]);
        let script = script.begin(1, Nemesis::StallClients, Some(0)).later(3 * S).lift(1).finish(1);
        script.clone().bookmark(1, false, 0, 7).keeps("bookmarked");
        script.later(3 * S).bookmark(1, false, 0, 7).breaks("bookmarked");
    }

    #[test]
    fn in_sync_without_what_was_acknowledged_before_the_request_is_caught() {
        let script = Script::new().journal(3).open(1, &[(1, Some(0))]).changes(1, 1, &[entry(1), entry(2)]);
        script.clone().bookmark(1, false, 0, 7).keeps("current");
        script.clone().bookmark(1, true, 0, 7).breaks("current");
        script.changes(1, 1, &[entry(3)]).bookmark(1, true, 0, 7).holds();
    }

    #[test]
    fn a_bookmark_while_the_source_is_cut_is_caught() {
        let script = Script::new().journal(1).open(1, &[(1, Some(1))]);
        let cut = script.begin(1, Nemesis::StallDatabase, Some(0));
        cut.clone().later(S).bookmark(1, false, S, 7).keeps("silent");
        cut.clone().later(4 * S).bookmark(1, false, 4 * S, 7).breaks("silent");
        cut.clone().later(4 * S).lift(1).bookmark(1, false, 0, 7).finish(1).holds();
        let other = Script::new().journal(1).open(1, &[(1, Some(1))]).begin(1, Nemesis::CutDatabase, Some(1));
        other.later(4 * S).bookmark(1, false, 0, 7).keeps("silent");
    }
}
