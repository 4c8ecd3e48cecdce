//! Thresholds of the available credits: edge-triggered, with hysteresis.

use std::collections::BTreeMap;

use crate::id::{Invalid, Problem, Unit, check_length};
use crate::limits::{MAX_AMOUNT, MAX_THRESHOLD_NAME_BYTES, MIN_AMOUNT};

/// Fires when the available credits fall below `at`, and not again before they have reached `rearm_at`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Threshold {
    name: String,
    unit: Unit,
    at: i64,
    rearm_at: i64,
}

impl Threshold {
    /// # Errors
    /// [`Invalid`] for `name` of no or more than 64 bytes or with control characters, `at` outside 1..=10^15, and
    /// `rearm_at` below `at` or above 10^15.
    pub fn try_new(name: impl Into<String>, unit: Unit, at: i64, rearm_at: i64) -> Result<Self, Invalid> {
        let name = name.into();
        check_length("name", name.len(), MAX_THRESHOLD_NAME_BYTES)?;
        if name.chars().any(char::is_control) {
            let problem = Problem::Characters { allowed: "characters that are no control characters" };
            return Err(Invalid::new("name", problem));
        }
        let range = |field, value, min| {
            let problem = Problem::OutOfRange { min, max: MAX_AMOUNT, actual: value };
            if (min..=MAX_AMOUNT).contains(&value) { Ok(()) } else { Err(Invalid::new(field, problem)) }
        };
        range("at", at, MIN_AMOUNT)?;
        range("rearm_at", rearm_at, at)?;
        Ok(Self { name, unit, at, rearm_at })
    }

    /// Unique in its account.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is counted.
    #[must_use]
    pub const fn unit(&self) -> &Unit {
        &self.unit
    }

    /// Fires below this.
    #[must_use]
    pub const fn at(&self) -> i64 {
        self.at
    }

    /// Armed again from this on.
    #[must_use]
    pub const fn rearm_at(&self) -> i64 {
        self.rearm_at
    }
}

/// Which way a threshold was crossed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Available fell below it.
    Below,
    /// Available rose to the re-arm value.
    Rearmed,
}

impl Direction {
    /// The number that the API and the database use.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::Below => 1,
            Self::Rearmed => 2,
        }
    }

    /// The direction of a code.
    #[must_use]
    pub const fn lookup(code: i16) -> Option<Self> {
        match code {
            1 => Some(Self::Below),
            2 => Some(Self::Rearmed),
            _ => None,
        }
    }
}

/// A threshold that an entry crossed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crossing {
    /// Name of the threshold.
    pub name: String,
    /// Its value.
    pub at: i64,
    /// Which way.
    pub direction: Direction,
}

/// Which thresholds are armed, by name. One that is not here counts as armed when the available credits, before
/// the entry, are not below it: so a new threshold does not fire for what had happened before.
pub type Armed = BTreeMap<String, bool>;

/// What the change of the available credits crosses; keeps `armed` up to date.
pub(crate) fn cross(thresholds: &[Threshold], armed: &mut Armed, before: i64, after: i64) -> Vec<Crossing> {
    let mut crossed = Vec::new();
    for threshold in thresholds {
        let was_armed = armed.get(&threshold.name).copied().unwrap_or(before >= threshold.at);
        let direction = match was_armed {
            true if after < threshold.at => Some(Direction::Below),
            false if after >= threshold.rearm_at => Some(Direction::Rearmed),
            _ => None,
        };
        armed.insert(threshold.name.clone(), was_armed ^ direction.is_some());
        if let Some(direction) = direction {
            crossed.push(Crossing { name: threshold.name.clone(), at: threshold.at, direction });
        }
    }
    crossed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_fires_once_and_again_only_after_it_was_armed_again() {
        let low = [Threshold::try_new("low", Unit::try_new("").unwrap(), 100, 150).unwrap()];
        let mut armed = Armed::new();
        let mut directions = Vec::new();
        for (before, after) in
            [(0, 120), (120, 149), (149, 150), (150, 99), (99, 120), (120, 90), (90, 200), (200, 1)]
        {
            directions
                .extend(cross(&low, &mut armed, before, after).into_iter().map(|c| (after, c.direction)));
        }
        use Direction::{Below, Rearmed};
        assert_eq!(directions, [(150, Rearmed), (99, Below), (200, Rearmed), (1, Below)]);
    }

    #[test]
    fn a_new_threshold_is_armed_where_there_is_enough() {
        let low = [Threshold::try_new("low", Unit::try_new("").unwrap(), 100, 100).unwrap()];
        assert_eq!(cross(&low, &mut Armed::new(), 100, 99).len(), 1);
        assert_eq!(cross(&low, &mut Armed::new(), 99, 98).len(), 0);
    }

    #[test]
    fn limits_name_the_field() {
        let unit = || Unit::try_new("").unwrap();
        for (name, at, rearm_at, field) in
            [("", 1, 1, "name"), ("a\n", 1, 1, "name"), ("a", 0, 1, "at"), ("a", 5, 4, "rearm_at")]
        {
            assert_eq!(Threshold::try_new(name, unit(), at, rearm_at).unwrap_err().field, field);
        }
    }
}
