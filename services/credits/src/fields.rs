//! Reads the fields of a request into the rules' own values, and collects every field that cannot be used, not just
//! the first. Names fields as the API does. Must not know: what the values are for.

mod account;
mod command;
mod read;

use std::collections::HashMap;
use std::time::Duration;

use domain::{
    AccountId, Context, CostBasis, GrantKind, IdempotencyKey, Invalid, MAX_AMOUNT, MAX_TIMESTAMP_US,
    MIN_AMOUNT, Metadata, Priority, Problem, Timestamp, Unit,
};

use crate::caller::Caller;
use crate::error::{CallError, Violation};
use crate::limits::MAX_VIOLATIONS;

/// The fields read so far.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    violations: Vec<Violation>,
    /// Stands in front of field names: `targets[3].`, or nothing.
    prefix: String,
}

/// The caller's own texts beside a write.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) reference: String,
    pub(crate) reason: String,
    pub(crate) on_behalf_of: String,
    pub(crate) metadata: HashMap<String, String>,
}

impl Fields {
    /// Field names from here on are inside an element of a list.
    pub(crate) fn enter(&mut self, list: &str, index: usize) {
        self.prefix = format!("{list}[{index}].");
    }

    /// Field names from here on are inside a message of the request.
    pub(crate) fn within(&mut self, message: &str) {
        self.prefix = format!("{message}.");
    }

    /// Field names from here on are those of the request itself.
    pub(crate) fn leave(&mut self) {
        self.prefix.clear();
    }

    /// Notes a violation.
    pub(crate) fn violate(&mut self, field: &str, problem: Problem) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(Violation { field: format!("{}{field}", self.prefix), problem });
        }
    }

    /// The value, or its violation noted.
    pub(crate) fn check<T>(&mut self, result: Result<T, Invalid>) -> Option<T> {
        result.map_err(|invalid| self.violate(invalid.field, invalid.problem)).ok()
    }

    /// The whole request, when no field was violated.
    ///
    /// # Errors
    /// [`CallError::Invalid`] with every violation.
    pub(crate) fn finish<T>(self, build: impl FnOnce() -> Option<T>) -> Result<T, CallError> {
        if self.violations.is_empty() {
            build().ok_or(CallError::Broken("a field is missing without a violation"))
        } else {
            Err(CallError::Invalid(self.violations))
        }
    }

    pub(crate) fn account(&mut self, text: String) -> Option<AccountId> {
        self.check(AccountId::try_new(text))
    }

    /// Empty is the default unit.
    pub(crate) fn unit(&mut self, text: String) -> Option<Unit> {
        self.check(Unit::try_new(text))
    }

    pub(crate) fn key(&mut self, text: String) -> Option<IdempotencyKey> {
        self.check(IdempotencyKey::try_new(text))
    }

    /// Checked here as well as by the rules, so that it is listed beside the other fields.
    pub(crate) fn amount(&mut self, amount: i64) -> Option<i64> {
        self.range("amount", amount, MIN_AMOUNT, MAX_AMOUNT)
    }

    pub(crate) fn range(&mut self, field: &str, actual: i64, min: i64, max: i64) -> Option<i64> {
        if (min..=max).contains(&actual) {
            return Some(actual);
        }
        self.violate(field, Problem::OutOfRange { min, max, actual });
        None
    }

    /// Unset is PROMOTION.
    pub(crate) fn grant_kind(&mut self, number: i32) -> Option<GrantKind> {
        if number == 0 {
            return Some(GrantKind::default());
        }
        let kind = i16::try_from(number).ok().and_then(GrantKind::lookup);
        if kind.is_none() {
            self.violate("kind", Problem::Rule("must be a GrantKind that this version knows"));
        }
        kind
    }

    /// Of a list that must have between 1 and `limit` elements.
    pub(crate) fn count(&mut self, list: &str, actual: usize, limit: usize) {
        if actual == 0 {
            self.violate(list, Problem::Empty);
        } else if actual > limit {
            self.violate(list, Problem::TooMany { limit, actual });
        }
    }

    /// Unset is the middle.
    pub(crate) fn priority(&mut self, value: Option<i32>) -> Option<Priority> {
        match value {
            None => Some(Priority::default()),
            Some(value) => self.check(Priority::try_new(i64::from(value))),
        }
    }

    /// `Some(None)`: not given.
    #[allow(clippy::option_option, reason = "outer: usable; inner: given")]
    pub(crate) fn cost_basis(&mut self, cost: Option<proto::v1::CostBasis>) -> Option<Option<CostBasis>> {
        let Some(cost) = cost else { return Some(None) };
        // One by one, each beside a sound value of the other, so that both faults are listed.
        let currency = self.check(CostBasis::try_new(cost.currency.as_str(), 0));
        let minor_units = self.check(CostBasis::try_new("usd", cost.minor_units));
        currency.and(minor_units)?;
        self.check(CostBasis::try_new(cost.currency, cost.minor_units)).map(Some)
    }

    /// A moment between 1970 and 9999; what is finer than a microsecond is dropped. `Some(None)`: not given.
    #[allow(clippy::option_option, reason = "outer: usable; inner: given")]
    pub(crate) fn moment(
        &mut self,
        field: &str,
        moment: Option<prost_types::Timestamp>,
    ) -> Option<Option<Timestamp>> {
        let Some(moment) = moment else { return Some(None) };
        let micros = || {
            let nanos = u32::try_from(moment.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
            let micros = moment.seconds.checked_mul(1_000_000)?.checked_add(i64::from(nanos / 1_000))?;
            Some(micros).filter(|micros| (0..=MAX_TIMESTAMP_US).contains(micros))
        };
        let Some(micros) = micros() else {
            let rule = "must be a moment between the years 1970 and 9999, nanos 0 to 999999999";
            self.violate(field, Problem::Rule(rule));
            return None;
        };
        Some(Some(Timestamp::from_micros(micros)))
    }

    /// A span of whole seconds between `min_s` and `max_s`, with any fraction within. `Some(None)`: not given.
    #[allow(clippy::option_option, reason = "outer: usable; inner: given")]
    pub(crate) fn span(
        &mut self,
        field: &str,
        span: Option<prost_types::Duration>,
        (min_s, max_s): (i64, i64),
    ) -> Option<Option<Duration>> {
        let Some(span) = span else { return Some(None) };
        let Some(nanos) = u32::try_from(span.nanos).ok().filter(|nanos| *nanos < 1_000_000_000) else {
            self.violate(field, Problem::Rule("must have nanos between 0 and 999999999"));
            return None;
        };
        // A fraction above the last second is above the range.
        let counted = span.seconds.saturating_add(i64::from(span.seconds == max_s && nanos > 0));
        self.range(field, counted, min_s, max_s)?;
        Some(Some(Duration::new(u64::try_from(span.seconds).ok()?, nanos)))
    }

    /// What goes with a command: the caller's notes, its name as the actor, its trace.
    pub(crate) fn context(&mut self, notes: Notes, caller: &Caller) -> Option<Context> {
        let Notes { reference, reason, on_behalf_of, metadata } = notes;
        let (none, no_pairs) = (String::new, Metadata::default);
        // One by one, so that each fault is listed.
        let reference = self.check(Context::try_new(reference, none(), none(), no_pairs()));
        let reason = self.check(Context::try_new(none(), reason, none(), no_pairs()));
        let on_behalf_of = self.check(Context::try_new(none(), none(), on_behalf_of, no_pairs()));
        let metadata = self.check(Metadata::try_new(metadata));
        Some(Context {
            actor: caller.principal.id().to_owned(),
            on_behalf_of: on_behalf_of?.on_behalf_of,
            reason: reason?.reason,
            reference: reference?.reference,
            metadata: metadata?,
            traceparent: caller.traceparent.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violated(read: impl FnOnce(&mut Fields)) -> Vec<String> {
        let mut fields = Fields::default();
        read(&mut fields);
        fields.violations.into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn every_field_that_cannot_be_used_is_listed() {
        let all = violated(|fields| {
            fields.account("a b".to_owned());
            fields.unit("A".to_owned());
            fields.key(String::new());
            fields.amount(0);
            fields.grant_kind(99);
            fields.priority(Some(101));
            let cost = proto::v1::CostBasis { currency: "USD".to_owned(), minor_units: -1 };
            fields.cost_basis(Some(cost));
        });
        let names = ["account_id", "unit", "idempotency_key", "amount", "kind", "priority"];
        assert_eq!(all[..6], names);
        assert_eq!(all[6..], ["cost_basis.currency", "cost_basis.minor_units"]);
    }

    #[test]
    fn elements_of_lists_are_named_by_their_place_and_the_list_of_faults_is_bounded() {
        let all = violated(|fields| {
            for index in 0..1000 {
                fields.enter("targets", index);
                fields.unit("A".to_owned());
            }
            fields.leave();
            fields.amount(0);
        });
        assert_eq!(all.len(), MAX_VIOLATIONS);
        assert_eq!(all[3], "targets[3].unit");
    }

    #[test]
    fn moments_outside_1970_to_9999_or_with_wrong_nanos_are_refused() {
        let moment = |seconds, nanos| {
            Fields::default().moment("expires_at", Some(prost_types::Timestamp { seconds, nanos }))
        };
        assert_eq!(moment(1, 1_999).unwrap().unwrap().micros(), 1_000_001);
        assert_eq!(moment(253_402_300_799, 999_999_999).unwrap().unwrap().micros(), MAX_TIMESTAMP_US);
        for (seconds, nanos) in
            [(-1, 0), (253_402_300_800, 0), (0, -1), (0, 1_000_000_000), (i64::MAX, 0), (i64::MIN, 0)]
        {
            assert_eq!(moment(seconds, nanos), None, "{seconds} {nanos}");
        }
        assert_eq!(Fields::default().moment("expires_at", None), Some(None));
    }

    #[test]
    fn spans_keep_to_their_range() {
        let span = |seconds, nanos| {
            Fields::default().span("b", Some(prost_types::Duration { seconds, nanos }), (1, 3600))
        };
        assert_eq!(span(1, 5), Some(Some(Duration::new(1, 5))));
        assert_eq!(span(3600, 0), Some(Some(Duration::from_secs(3600))));
        for (seconds, nanos) in [(0, 999_999_999), (3600, 1), (-1, 0), (1, -1), (i64::MAX, 0), (i64::MIN, -1)]
        {
            assert_eq!(span(seconds, nanos), None, "{seconds} {nanos}");
        }
    }
}
