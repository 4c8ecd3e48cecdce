//! The fields of reads: filters, pages, past times.

use domain::{Context, GrantId, HoldId, Metadata, Problem, Timestamp};

use super::Fields;
use crate::limits::{DEFAULT_PAGE_SIZE, MAX_KINDS, MAX_PAGE_SIZE};

impl Fields {
    /// A filter by kind: each known; empty is every kind.
    pub(crate) fn kinds<K>(
        &mut self,
        numbers: &[i32],
        lookup: impl Fn(i16) -> Option<K>,
        rule: &'static str,
    ) -> Option<Vec<K>> {
        if numbers.len() > MAX_KINDS {
            self.violate("kinds", Problem::TooMany { limit: MAX_KINDS, actual: numbers.len() });
            return None;
        }
        let known = |number: &i32| i16::try_from(*number).ok().and_then(&lookup);
        let kinds: Option<Vec<K>> = numbers.iter().map(known).collect();
        if kinds.is_none() {
            self.violate("kinds", Problem::Rule(rule));
        }
        kinds
    }

    /// Unset is the default.
    pub(crate) fn page_size(&mut self, size: i32) -> Option<i64> {
        match i64::from(size) {
            0 => Some(DEFAULT_PAGE_SIZE),
            size => self.range("page_size", size, 1, MAX_PAGE_SIZE),
        }
    }

    /// A reference to look for; empty is every one.
    pub(crate) fn reference(&mut self, text: String) -> Option<String> {
        let context = Context::try_new(text, String::new(), String::new(), Metadata::default());
        self.check(context).map(|context| context.reference)
    }

    /// A grant to look for. `Some(None)`: not given.
    #[allow(clippy::option_option, reason = "outer: usable; inner: given")]
    pub(crate) fn grant_id(&mut self, text: &str) -> Option<Option<GrantId>> {
        if text.is_empty() {
            return Some(None);
        }
        self.check(text.parse()).map(Some)
    }

    /// A hold to look for. `Some(None)`: not given.
    #[allow(clippy::option_option, reason = "outer: usable; inner: given")]
    pub(crate) fn hold_id(&mut self, text: &str) -> Option<Option<HoldId>> {
        if text.is_empty() {
            return Some(None);
        }
        self.check(text.parse()).map(Some)
    }

    /// A past time, which excludes waiting for a version. `Some(None)`: not given.
    #[allow(clippy::option_option, reason = "outer: usable; inner: given")]
    pub(crate) fn at(
        &mut self,
        at: Option<prost_types::Timestamp>,
        min_version: Option<i64>,
    ) -> Option<Option<Timestamp>> {
        if at.is_some() && min_version.is_some() {
            self.violate("at", Problem::Rule("excludes min_version"));
            return None;
        }
        self.moment("at", at)
    }
}
