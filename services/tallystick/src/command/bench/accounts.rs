//! The accounts that load is spread over: their names, and which one a call takes.

use clap::Args;
use domain::{AccountId, Unit};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::error::Error;

/// Most accounts: each is given credits before a run.
pub(super) const MAX_ACCOUNTS: u64 = 10_000_000;

/// How the accounts are named.
#[derive(Debug, Args)]
pub(super) struct NameArgs {
    /// What is counted.
    #[arg(long, default_value = "credits", value_name = "UNIT", help_heading = "Accounts")]
    unit: String,
    /// The accounts are named by it and a number from 0.
    #[arg(long, default_value = "bench_", value_name = "PREFIX", help_heading = "Accounts")]
    account_prefix: String,
}

/// Numbered accounts.
#[derive(Debug, Clone)]
pub(super) struct Accounts {
    prefix: String,
    unit: String,
    count: u64,
    seed: u64,
}

impl NameArgs {
    /// As the flags would give them.
    #[cfg(test)]
    pub(super) fn of(unit: &str, prefix: &str) -> Self {
        Self { unit: unit.to_owned(), account_prefix: prefix.to_owned() }
    }

    /// This many of them.
    ///
    /// # Errors
    /// As [`Accounts::try_new`].
    pub(super) fn accounts(&self, count: u64, seed: u64) -> Result<Accounts, Error> {
        Accounts::try_new(&self.account_prefix, &self.unit, count, seed)
    }
}

impl Accounts {
    /// `count` of them, at least one.
    ///
    /// # Errors
    /// [`Error::Config`] when the prefix and a number are no account id, or for what is no unit.
    pub(super) fn try_new(prefix: &str, unit: &str, count: u64, seed: u64) -> Result<Self, Error> {
        let config = |setting, problem: String| Error::Config { setting, problem };
        let unit = Unit::try_new(unit).map_err(|invalid| config("--unit", invalid.problem.to_string()))?;
        AccountId::try_new(format!("{prefix}{count}"))
            .map_err(|invalid| config("--account-prefix", invalid.problem.to_string()))?;
        Ok(Self { prefix: prefix.to_owned(), unit: unit.as_str().to_owned(), count: count.max(1), seed })
    }

    /// How many.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// What is counted.
    pub(super) fn unit(&self) -> &str {
        &self.unit
    }

    /// The name of one of them.
    pub(super) fn name(&self, index: u64) -> String {
        format!("{}{index}", self.prefix)
    }

    /// Which one call `number` takes: each with the same chance, the same with the same seed.
    pub(super) fn choose(&self, number: u64) -> u64 {
        if self.count == 1 {
            return 0;
        }
        // Seeds differ in the upper half and calls in the lower one, so that no seed is another one shifted.
        SmallRng::seed_from_u64(self.seed.rotate_left(32) ^ number).random_range(0..self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(count: u64, seed: u64) -> Accounts {
        NameArgs::of("credits", "bench_").accounts(count, seed).unwrap()
    }

    #[test]
    fn the_choice_is_even_and_repeatable() {
        let (first, again, other) = (accounts(10, 1), accounts(10, 1), accounts(10, 2));
        let mut counts = [0_u32; 10];
        let mut same = 0;
        for number in 0..100_000 {
            let chosen = first.choose(number);
            assert_eq!(chosen, again.choose(number));
            same += u32::from(chosen == other.choose(number));
            counts[usize::try_from(chosen).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
        assert!((9_000..11_000).contains(&same), "{same}");
        assert_eq!(accounts(1, 9).choose(5), 0);
    }

    #[test]
    fn what_is_no_name_is_told_by_its_flag() {
        for (unit, prefix, flag) in [("Credits", "bench_", "--unit"), ("credits", "a b", "--account-prefix")]
        {
            let error = NameArgs::of(unit, prefix).accounts(10, 1).unwrap_err();
            assert!(error.to_string().starts_with(flag) && error.exit_code() == 2, "{error}");
        }
    }
}
