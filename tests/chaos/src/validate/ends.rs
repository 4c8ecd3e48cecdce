//! How streams, services, the library and the audits may end.

use super::walk::{Stream, Walk};
use super::{Bounds, Facts, Findings};
use crate::history::{Event, Outcome};

/// Ends that a reader answers by coming again.
const PASSING: [&str; 5] =
    ["SHUTTING_DOWN", "DATABASE_UNAVAILABLE", "OVERLOADED", "TOO_MANY_STREAMS", "DEADLINE_PASSED"];

/// The audits of the database: there is one, and all passed.
pub(super) fn audited(facts: &Facts<'_>, _: &Bounds) -> Findings {
    let mut findings = Findings::default();
    for (line, record) in facts.history.records() {
        if let Event::Audit { name, passed, said } = &record.event {
            findings.check(line, (!passed).then(|| format!("{name}: {said}")));
        }
    }
    if findings.checked == 0 {
        findings.check(None, Some("the database was not audited".to_owned()));
    }
    findings
}

/// No service died or panicked, no stream and no write ended with a fault of the service, the library trusts what it was
/// told.
pub(super) fn sound(facts: &Facts<'_>, _: &Bounds) -> Findings {
    let mut findings = Findings::default();
    for (line, record) in facts.history.records() {
        match &record.event {
            Event::Fault { replica, said } => {
                findings.check(line, Some(format!("service {replica}: {said}")));
            }
            Event::Library { said } => findings.check(line, Some(format!("the client library: {said}"))),
            _ => {}
        }
    }
    for call in &facts.calls {
        if let Some((line, _, Outcome::Unknown(reason) | Outcome::Refused(reason))) = call.answer {
            let wrong = matches!(reason.as_str(), "INTERNAL" | "INVALID_FIELD");
            findings.check(line, wrong.then(|| format!("{} was answered {reason}", call.key)));
        }
    }
    Walk::through(facts, |step| {
        if let Event::End { by_reader: false, code, reason, .. } = step.event {
            findings.check(step.line, ended_wrongly(step.stream, step.at, code, reason));
        }
    });
    findings
}

fn ended_wrongly(stream: &Stream, at: u64, code: &str, reason: &str) -> Option<String> {
    let may = match reason {
        // With OK only after a GoAway; without a reason the transport broke.
        "" => code != "Ok" || stream.had_go_away,
        "SLOW_READER" => stream.was_paused(at, u64::MAX / 2),
        "HISTORY_NOT_AVAILABLE" => stream.require_history,
        other => PASSING.contains(&other),
    };
    (!may).then(|| format!("the stream ended with {code} {reason}"))
}

#[cfg(test)]
mod tests {
    use super::super::script::Script;
    use crate::history::Event;

    fn open() -> Script {
        Script::new().journal(1).open(1, &[(1, Some(1))])
    }

    #[test]
    fn ends_that_a_reader_may_meet_are_sound() {
        open().end_with(1, "Unavailable", "").holds();
        open().end_with(1, "Unavailable", "SHUTTING_DOWN").holds();
        open().go_away(1, 7).end_with(1, "Ok", "").holds();
    }

    #[test]
    fn ends_that_no_reader_may_meet_are_caught() {
        open().end_with(1, "Ok", "").breaks("sound");
        for reason in ["INTERNAL", "BAD_RESUME_TOKEN", "SLOW_READER", "HISTORY_NOT_AVAILABLE"] {
            open().end_with(1, "Unknown", reason).breaks("sound");
        }
    }

    #[test]
    fn a_dead_service_and_a_distrusting_library_are_caught() {
        open().push(Event::Fault { replica: 0, said: "panicked".to_owned() }).breaks("sound");
        open().push(Event::Library { said: "contract broken".to_owned() }).breaks("sound");
        open().refuse("new", "INTERNAL").breaks("sound");
    }

    #[test]
    fn an_audit_that_failed_or_is_missing_is_caught() {
        open().breaks("audited");
        let audit = |passed| Event::Audit { name: "verify".to_owned(), passed, said: String::new() };
        open().push(audit(true)).keeps("audited");
        open().push(audit(false)).breaks("audited");
    }
}
