//! The fields of AdminService.

use std::collections::HashSet;

use domain::{
    AccountState, Context, MAX_AMOUNT, MAX_THRESHOLDS, Metadata, Problem, Threshold, Timestamp, Unit,
};
use proto::v1;

use super::Fields;

/// What an update changes; `None`: left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mask {
    pub(crate) state: bool,
    pub(crate) thresholds: bool,
}

impl Fields {
    /// Paths of an update; at least one, each known.
    pub(crate) fn mask(&mut self, mask: Option<prost_types::FieldMask>) -> Mask {
        const FIELD: &str = "update_mask";
        let paths = mask.map(|mask| mask.paths).unwrap_or_default();
        if paths.is_empty() {
            self.violate(FIELD, Problem::Empty);
        }
        let mut mask = Mask::default();
        for path in paths {
            match path.as_str() {
                "state" => mask.state = true,
                "thresholds" => mask.thresholds = true,
                _ => {
                    self.violate(FIELD, Problem::Rule("must have only the paths state and thresholds"));
                    break;
                }
            }
        }
        mask
    }

    pub(crate) fn account_state(&mut self, number: i32) -> Option<AccountState> {
        match v1::AccountState::try_from(number) {
            Ok(v1::AccountState::Active) => Some(AccountState::Active),
            Ok(v1::AccountState::Frozen) => Some(AccountState::Frozen),
            Ok(v1::AccountState::Closed) => Some(AccountState::Closed),
            Ok(v1::AccountState::Unspecified) | Err(_) => {
                self.violate("state", Problem::Rule("must be an AccountState that this version knows"));
                None
            }
        }
    }

    /// All thresholds of an account, whose names differ.
    pub(crate) fn thresholds(
        &mut self,
        list: &str,
        thresholds: Vec<v1::Threshold>,
    ) -> Option<Vec<Threshold>> {
        if thresholds.len() > MAX_THRESHOLDS {
            let problem = Problem::TooMany { limit: MAX_THRESHOLDS, actual: thresholds.len() };
            self.leave();
            self.violate(list, problem);
            return None;
        }
        let mut names = HashSet::new();
        let mut sound = Vec::with_capacity(thresholds.len());
        for (index, threshold) in thresholds.into_iter().enumerate() {
            self.enter(list, index);
            if !names.insert(threshold.name.clone()) {
                self.violate("name", Problem::Rule("must be unique in the account"));
            }
            sound.push(self.threshold(threshold));
        }
        self.leave();
        sound.into_iter().collect()
    }

    fn threshold(&mut self, threshold: v1::Threshold) -> Option<Threshold> {
        let v1::Threshold { name, unit, at, rearm_at } = threshold;
        let unit: Unit = self.unit(unit)?;
        // One by one, beside sound values of the others, so that each fault is listed.
        let named = self.check(Threshold::try_new(name.as_str(), unit.clone(), MAX_AMOUNT, MAX_AMOUNT));
        let fires = self.check(Threshold::try_new("name", unit.clone(), at, MAX_AMOUNT));
        named.and(fires)?;
        self.check(Threshold::try_new(name, unit, at, rearm_at))
    }

    /// Words for the audit, which may not be left out.
    pub(crate) fn reason(&mut self, reason: String) -> Option<String> {
        self.required("reason", &reason);
        let none = String::new;
        self.check(Context::try_new(none(), reason, none(), Metadata::default()))
            .map(|context| context.reason)
    }

    /// A moment that may not be left out.
    pub(crate) fn required_moment(
        &mut self,
        field: &str,
        moment: Option<prost_types::Timestamp>,
    ) -> Option<Timestamp> {
        let moment = self.moment(field, moment)?;
        if moment.is_none() {
            self.violate(field, Problem::Empty);
        }
        moment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threshold(name: &str, at: i64, rearm_at: i64) -> v1::Threshold {
        v1::Threshold { name: name.to_owned(), unit: String::new(), at, rearm_at }
    }

    fn violated(thresholds: Vec<v1::Threshold>) -> Vec<String> {
        let mut fields = Fields::default();
        fields.thresholds("account.thresholds", thresholds);
        fields.violations.into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn thresholds_that_cannot_be_used_are_named_by_their_place() {
        let bad =
            vec![threshold("low", 5, 5), threshold("", 0, 5), threshold("x", 5, 4), threshold("low", 1, 1)];
        let expected = [
            "account.thresholds[1].name",
            "account.thresholds[1].at",
            "account.thresholds[2].rearm_at",
            "account.thresholds[3].name",
        ];
        assert_eq!(violated(bad), expected);
        assert_eq!(violated(vec![threshold("x", 1, 1); 17]), ["account.thresholds"]);
    }

    #[test]
    fn a_mask_names_what_is_known_and_something() {
        let mask = |paths: &[&str]| {
            let mut fields = Fields::default();
            let paths = paths.iter().map(|path| (*path).to_owned()).collect();
            let mask = fields.mask(Some(prost_types::FieldMask { paths }));
            fields.violations.is_empty().then_some(mask)
        };
        assert_eq!(mask(&["state"]), Some(Mask { state: true, thresholds: false }));
        assert_eq!(mask(&["thresholds", "state", "state"]), Some(Mask { state: true, thresholds: true }));
        assert_eq!((mask(&[]), mask(&["sandbox"]), mask(&["*"])), (None, None, None));
    }
}
