//! Promises 3 and 8: a jump has a reason that is true, and a history that is gone shows.

use super::walk::{Place, Step, Walk};
use super::{Bounds, Facts, Findings, micros};
use crate::history::{Account, Event, Hash, Reason};

/// Changes that a reader may be behind before they are skipped (docs/api.md, The contract of WatchCredits).
const MAX_CATCH_UP: i64 = 10_000;
/// A lost change may still be on its way to a slow reader when the loss is over.
const LATE: u64 = 10_000_000;

/// Promise 3: a snapshot comes only with a reason that applies.
pub(super) fn reliable(facts: &Facts<'_>, _: &Bounds) -> Findings {
    let mut findings = Findings::default();
    Walk::through(facts, |step| {
        if let Event::Snapshot { account, version, reason, .. } = step.event {
            let wrong = snapshot(facts, step, *account, *version, *reason);
            findings.check(step.line, wrong.map(|said| format!("snapshot {reason:?} at {version}: {said}")));
        }
    });
    findings
}

fn snapshot(
    facts: &Facts<'_>,
    step: &Step<'_>,
    account: Account,
    version: i64,
    reason: Reason,
) -> Option<String> {
    let Some(place) = step.stream.places.get(&account) else { return Some("it is not watched".to_owned()) };
    let stream = step.stream;
    match (reason, place.at) {
        (Reason::Initial, None) => None,
        (Reason::Initial, Some((at, _))) => Some(format!("the reader was at {at}")),
        (_, None) => Some("the reader had nothing".to_owned()),
        (Reason::TooOld, _) if stream.latest || stream.require_history => {
            Some("not in this mode of reading".to_owned())
        }
        (Reason::TooOld, Some((at, _))) => (version - at <= MAX_CATCH_UP)
            .then(|| format!("the reader was at {at}, less than {MAX_CATCH_UP} changes back")),
        (Reason::Diverged, Some(at)) => diverged_in_vain(facts, step.at, account, at),
        (Reason::Conflated, Some((at, _))) => {
            let wrong = !stream.latest || version < at;
            wrong.then(|| format!("the reader was at {at}, mode LATEST is {}", stream.latest))
        }
        (Reason::Unspecified, _) => Some("without a reason".to_owned()),
    }
}

/// Whether what the reader has was never lost.
fn diverged_in_vain(
    facts: &Facts<'_>,
    at: u64,
    account: Account,
    (version, hash): (i64, Option<Hash>),
) -> Option<String> {
    match hash {
        _ if version == 0 => Some("the reader had the empty history".to_owned()),
        Some(hash) if facts.is_kept(account, version, hash) => {
            Some(format!("version {version} of the reader is in the journal"))
        }
        _ if !facts.loss_began_before(at) => Some("no history was lost".to_owned()),
        _ => None,
    }
}

/// Promise 8: what a stream has told is in the journal, or the stream says RESET_DIVERGED; it never goes on from a
/// history that is gone, and no bookmark confirms one.
pub(super) fn diverged(facts: &Facts<'_>, bounds: &Bounds) -> Findings {
    let mut findings = Findings::default();
    let lost_at = facts.losses.iter().map(|loss| loss.until).max();
    Walk::through(facts, |step| match step.event {
        Event::Changes { account, entries, .. } => {
            let mut before = step.stream.places.get(account).and_then(|place| place.at);
            for entry in entries {
                let wrong = continued(facts, *account, before, (entry.0, entry.1));
                let wrong = wrong.or_else(|| gone(facts, step.at, lost_at, *account, (entry.0, entry.1)));
                findings.check(step.line, wrong);
                before = Some((entry.0, Some(entry.1)));
            }
        }
        Event::Snapshot { account, version, hash, .. } => {
            findings.check(step.line, gone(facts, step.at, lost_at, *account, (*version, *hash)));
        }
        Event::Bookmark { lag_us, .. } => {
            let margin = micros(bounds.margin);
            let held_up = facts.is_held_up(step.stream.replica, step.at, margin)
                || step.stream.was_paused(step.at, margin);
            let since = step.at.saturating_sub(lag_us.saturating_add(margin));
            if held_up || lost_at.is_none_or(|lost| since <= lost) {
                return;
            }
            let places = step.stream.places.iter();
            let stale = places.filter_map(|(account, place)| stale(facts, *account, place)).next();
            findings.check(step.line, stale.map(|at| format!("a bookmark confirms {at}, which is gone")));
        }
        _ => {}
    });
    findings
}

/// A hash covers all before it: what continues a lost version is lost, too.
fn continued(
    facts: &Facts<'_>,
    account: Account,
    before: Option<(i64, Option<Hash>)>,
    entry: (i64, Hash),
) -> Option<String> {
    let (version, Some(hash)) = before? else { return None };
    let silent = entry.0 == version + 1
        && facts.is_kept(account, entry.0, entry.1)
        && !facts.is_kept(account, version, hash);
    silent.then(|| format!("version {} continues a version {version} that is not in the journal", entry.0))
}

fn gone(
    facts: &Facts<'_>,
    at: u64,
    lost_at: Option<u64>,
    account: Account,
    (version, hash): (i64, Hash),
) -> Option<String> {
    let excused = lost_at.is_some_and(|lost| at <= lost.saturating_add(LATE));
    let gone = !facts.is_kept(account, version, hash) && !excused;
    gone.then(|| format!("version {version} of account {account} is not in the journal with this hash"))
}

fn stale(facts: &Facts<'_>, account: Account, place: &Place) -> Option<String> {
    let (version, Some(hash)) = place.at? else { return None };
    let is_stale = !facts.is_kept(account, version, hash);
    is_stale.then(|| format!("version {version} of account {account}"))
}

#[cfg(test)]
mod tests {
    use super::super::script::{Script, entry, lost};
    use crate::history::Reason;

    #[test]
    fn snapshots_with_a_true_reason_are_sound() {
        let script = Script::new().journal(4).open(1, &[(1, None)]);
        script.clone().snapshot(1, 1, 2, Reason::Initial).changes(1, 1, &[entry(3)]).holds();
        let latest = Script::new().journal(4).open_latest(1, &[(1, None)]).snapshot(1, 1, 2, Reason::Initial);
        latest.clone().snapshot(1, 1, 4, Reason::Conflated).holds();
        latest.snapshot(1, 1, 1, Reason::Conflated).breaks("reliable");
    }

    #[test]
    fn a_jump_without_a_true_reason_is_caught() {
        let script = Script::new().journal(4).open(1, &[(1, Some(1))]);
        for reason in
            [Reason::Initial, Reason::TooOld, Reason::Diverged, Reason::Conflated, Reason::Unspecified]
        {
            script.clone().snapshot(1, 1, 3, reason).breaks("reliable");
        }
    }

    #[test]
    fn a_reset_is_caught_unless_it_is_more_than_ten_thousand_changes_back() {
        let script = Script::new().journal(10_003).open(1, &[(1, Some(2))]);
        script.clone().snapshot(1, 1, 10_003, Reason::TooOld).keeps("reliable");
        script.snapshot(1, 1, 10_002, Reason::TooOld).breaks("reliable");
    }

    #[test]
    fn a_divergence_is_sound_only_after_a_loss_of_what_the_reader_has() {
        let script = Script::new().journal(4).open(1, &[(1, Some(0))]);
        let script = script.changes(1, 1, &[entry(1), entry(2), lost(3)]);
        let after = script.clone().loss().snapshot(1, 1, 2, Reason::Diverged);
        after.clone().changes(1, 1, &[entry(3), entry(4)]).holds();
        script.clone().snapshot(1, 1, 2, Reason::Diverged).breaks("reliable");
        let kept = Script::new().journal(4).open(1, &[(1, Some(2))]).loss();
        kept.snapshot(1, 1, 2, Reason::Diverged).breaks("reliable");
    }

    #[test]
    fn a_silent_mismatch_is_caught() {
        let script = Script::new().journal(4).open(1, &[(1, Some(0))]);
        let script = script.changes(1, 1, &[entry(1), entry(2), lost(3)]);
        script.clone().breaks("diverged");
        let after = script.loss();
        after.clone().changes(1, 1, &[entry(4)]).breaks("diverged");
        after.clone().later(5_000_000).bookmark(1, false, 0, 7).breaks("diverged");
        after.later(20_000_000).changes(1, 1, &[lost(4)]).breaks("diverged");
    }
}
