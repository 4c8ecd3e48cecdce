//! What a reader asks for, out of its message.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::{EntryHash, Problem};
use proto::v1;
use relay::{MAX_BOOKMARK_INTERVAL, MAX_TARGETS, MIN_BOOKMARK_INTERVAL, Mode, Order, Target};

use crate::error::CallError;
use crate::fields::Fields;
use crate::limits::{DEFAULT_BOOKMARK_INTERVAL, MAX_TOKEN_BYTES};

/// Where the message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rpc) enum Place {
    /// It is the call's request.
    Call,
    /// It opens a set, under this name.
    Set(&'static str),
}

/// # Errors
/// [`CallError::Invalid`] with every field that cannot be used.
pub(in crate::rpc) fn parse(request: v1::WatchCreditsRequest, place: Place) -> Result<Order, CallError> {
    let mut fields = Fields::default();
    let (is_set, list) = match place {
        Place::Call => (false, "targets".to_owned()),
        Place::Set(name) => (true, format!("{name}.targets")),
    };
    let may_be_empty = is_set && request.targets.is_empty();
    let targets = if may_be_empty { Vec::new() } else { parse_targets(&mut fields, &list, request.targets) };
    if let Place::Set(name) = place {
        fields.within(name);
    }
    let whole_s = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    let range = (whole_s(MIN_BOOKMARK_INTERVAL), whole_s(MAX_BOOKMARK_INTERVAL));
    let interval = fields.span("bookmark_interval", request.bookmark_interval, range);
    let mode = match v1::WatchMode::try_from(request.mode) {
        Ok(v1::WatchMode::Unspecified | v1::WatchMode::EveryChange) => Mode::EveryChange,
        Ok(v1::WatchMode::Latest) => Mode::Latest,
        Err(_) => {
            fields.violate("mode", Problem::Rule("must be EVERY_CHANGE or LATEST, or unset"));
            Mode::default()
        }
    };
    if request.resume_token.len() > MAX_TOKEN_BYTES {
        fields.violate("resume_token", Problem::Rule("must be at most 65536 bytes"));
    }
    let resume_token = Some(request.resume_token).filter(|token| !token.is_empty());
    fields.finish(|| {
        let bookmark_interval = interval?.unwrap_or(DEFAULT_BOOKMARK_INTERVAL);
        Some(Order {
            targets,
            bookmark_interval,
            mode,
            require_history: request.require_history,
            resume_token,
            is_set,
        })
    })
}

/// Those that can be used; every fault is noted. At least one, none twice.
pub(in crate::rpc) fn parse_targets(
    fields: &mut Fields,
    list: &str,
    targets: Vec<v1::WatchTarget>,
) -> Vec<Target> {
    let count = targets.len();
    fields.count(list, count, MAX_TARGETS);
    let mut seen = BTreeSet::new();
    let mut parsed = Vec::with_capacity(count.min(MAX_TARGETS));
    for (index, target) in targets.into_iter().take(MAX_TARGETS).enumerate() {
        fields.enter(list, index);
        let Some(target) = parse_target(fields, target) else { continue };
        if !seen.insert((target.account.clone(), target.unit.clone())) {
            fields.leave();
            let problem = Problem::Rule("must not name a balance that an earlier target names");
            fields.violate(&format!("{list}[{index}]"), problem);
        }
        parsed.push(target);
    }
    fields.leave();
    parsed
}

fn parse_target(fields: &mut Fields, target: v1::WatchTarget) -> Option<Target> {
    let account = fields.account(target.account_id);
    let unit = fields.unit(target.unit);
    let after_version = match target.after_version {
        None => Some(None),
        Some(version) => fields.range("after_version", version, 0, i64::MAX).map(Some),
    };
    let after_hash = if target.after_hash.is_empty() {
        Some(None)
    } else {
        let hash = <[u8; 32]>::try_from(&target.after_hash[..]).ok();
        let hash = hash.filter(|_| target.after_version.is_some_and(|version| version > 0));
        if hash.is_none() {
            let rule = "must be the 32 bytes of the entry at after_version, or empty";
            fields.violate("after_hash", Problem::Rule(rule));
        }
        hash.map(|hash| Some(EntryHash(hash)))
    };
    Some(Target { account: account?, unit: unit?, after_version: after_version?, after_hash: after_hash? })
}
