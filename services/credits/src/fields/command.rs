//! What every command has, and the fields of the commands that name something.

use domain::{
    AccountId, Action, Command, Context, EntryRef, GrantId, HoldId, IdempotencyKey, MAX_AMOUNT,
    MAX_HOLD_LIFETIME_US, MIN_HOLD_TTL_US, Problem, Shortfall, Unit,
};
use proto::v1::ShortfallPolicy;

use super::{Fields, Notes};
use crate::caller::Caller;
use crate::error::CallError;

const US_PER_S: i64 = 1_000_000;

/// The fields that all commands share; `None`: violated.
pub(crate) struct Head {
    account: Option<AccountId>,
    pub(crate) unit: Option<Unit>,
    key: Option<IdempotencyKey>,
}

impl Fields {
    pub(crate) fn head(&mut self, account_id: String, unit: String, key: String) -> Head {
        Head { account: self.account(account_id), unit: self.unit(unit), key: self.key(key) }
    }

    /// The command, when no field was violated.
    ///
    /// # Errors
    /// [`CallError::Invalid`] with every violation.
    pub(crate) fn command(
        mut self,
        head: Head,
        notes: Notes,
        caller: &Caller,
        action: impl FnOnce() -> Option<Action>,
    ) -> Result<Command, CallError> {
        let context: Option<Context> = self.context(notes, caller);
        let Head { account, unit, key } = head;
        let command = self.finish(|| Some(Command::try_new(account?, unit?, key?, context?, action()?)))?;
        Ok(command?)
    }

    /// A text that may not be left out.
    pub(crate) fn required(&mut self, field: &str, text: &str) {
        if text.is_empty() {
            self.violate(field, Problem::Empty);
        }
    }

    pub(crate) fn hold(&mut self, text: &str) -> Option<HoldId> {
        self.check(text.parse())
    }

    pub(crate) fn grant(&mut self, text: &str) -> Option<GrantId> {
        self.check(text.parse())
    }

    /// An entry of the unit, which must be usable itself.
    pub(crate) fn entry(&mut self, text: &str, unit: Option<&Unit>) -> Option<EntryRef> {
        self.check(EntryRef::try_new(text, unit?))
    }

    /// The time to the end of a hold, in microseconds; what is finer is dropped.
    pub(crate) fn ttl(&mut self, ttl: Option<prost_types::Duration>) -> Option<i64> {
        let range = (MIN_HOLD_TTL_US / US_PER_S, MAX_HOLD_LIFETIME_US / US_PER_S);
        let Some(ttl) = self.span("ttl", ttl, range)? else {
            self.violate("ttl", Problem::Empty);
            return None;
        };
        i64::try_from(ttl.as_micros()).ok()
    }

    /// Credits to add or to take.
    pub(crate) fn delta(&mut self, delta: i64) -> Option<i64> {
        if delta == 0 {
            self.violate("delta", Problem::Rule("must not be 0"));
            return None;
        }
        self.range("delta", delta, -MAX_AMOUNT, MAX_AMOUNT)
    }

    /// `Some(None)`: as configured.
    #[allow(clippy::option_option, reason = "outer: usable; inner: given")]
    pub(crate) fn shortfall(&mut self, number: i32) -> Option<Option<Shortfall>> {
        match ShortfallPolicy::try_from(number) {
            Ok(ShortfallPolicy::Unspecified) => Some(None),
            Ok(ShortfallPolicy::Owed) => Some(Some(Shortfall::Owed)),
            Ok(ShortfallPolicy::Forgiven) => Some(Some(Shortfall::Forgiven)),
            Err(_) => {
                let rule = "must be a ShortfallPolicy that this version knows";
                self.violate("shortfall_policy", Problem::Rule(rule));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_is_given_and_between_a_second_and_thirty_days() {
        let ttl = |seconds, nanos| Fields::default().ttl(Some(prost_types::Duration { seconds, nanos }));
        assert_eq!(ttl(1, 1_999), Some(1_000_001));
        assert_eq!(ttl(30 * 24 * 3600, 0), Some(MAX_HOLD_LIFETIME_US));
        for (seconds, nanos) in [(0, 999_999_999), (30 * 24 * 3600, 1), (-1, 0), (i64::MAX, 0), (1, -1)] {
            assert_eq!(ttl(seconds, nanos), None, "{seconds} {nanos}");
        }
        assert_eq!(Fields::default().ttl(None), None);
    }

    #[test]
    fn the_rules_and_the_api_number_policies_alike() {
        for policy in [Shortfall::Owed, Shortfall::Forgiven] {
            assert_eq!(Fields::default().shortfall(i32::from(policy.code())), Some(Some(policy)));
        }
        assert_eq!(Fields::default().shortfall(3), None);
    }

    #[test]
    fn an_entry_of_another_unit_names_its_field_and_an_unusable_unit_only_itself() {
        let mut fields = Fields::default();
        let unit = fields.unit("A".to_owned());
        assert_eq!(fields.entry("credits/7/9f86d081884c7d65", unit.as_ref()), None);
        let unit = fields.unit("gems".to_owned());
        assert_eq!(fields.entry("credits/7/9f86d081884c7d65", unit.as_ref()), None);
        let names: Vec<&str> = fields.violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(names, ["unit", "entry_id"]);
    }
}
