//! What is sold: units, packs and plans. The one place that says how many credits a purchase is worth.
//!
//! A catalogue is valid by construction: ids and Stripe prices are unique, units are declared, every number is
//! in its range. Knows nothing about events.

mod file;
mod ledger;
mod offer;

use std::collections::{BTreeMap, BTreeSet};

use domain::{Problem, Rules, Threshold, Unit};

pub use offer::{BillingReason, Offer, PlanTerms, RolloverTerms};

/// Largest file, in bytes: a thousand offers with comments.
pub const MAX_CATALOGUE_BYTES: usize = 1024 * 1024;
/// Most packs, and most plans: a price list that people read.
pub const MAX_OFFERS: usize = 1000;
/// Most units.
pub const MAX_UNITS: usize = 100;
/// Most Stripe prices of one offer.
pub const MAX_PRICES: usize = 100;
/// Longest name of a unit for people, in bytes: it stands beside a number on a screen.
pub const MAX_DISPLAY_NAME_BYTES: usize = 64;
/// Most decimals that a unit shows: amounts have at most 16 digits.
pub const MAX_SCALE: i64 = 9;

/// Why a catalogue file cannot be used. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// The file is too large.
    #[error("the catalogue is {actual} bytes long; at most {limit} are allowed")]
    TooLarge {
        /// Bytes allowed.
        limit: usize,
        /// Bytes given.
        actual: usize,
    },
    /// Not TOML, or not of the catalogue's shape.
    #[error("line {line}: {message}")]
    Syntax {
        /// Line of the fault.
        line: usize,
        /// What the TOML parser says.
        message: String,
    },
    /// A field has no usable value.
    #[error("line {line}: {field} {problem}")]
    Field {
        /// Line of the value.
        line: usize,
        /// The field, such as `packs.starter.credits`.
        field: String,
        /// What is wrong with it.
        problem: Problem,
    },
}

/// How a unit is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitInfo {
    /// Decimals, 0–9: 10^scale steps are one.
    pub scale: u8,
    /// For people; empty when the file has none.
    pub display_name: String,
}

/// Everything that is sold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalogue {
    units: BTreeMap<Unit, UnitInfo>,
    packs: BTreeMap<String, Offer>,
    plans: BTreeMap<String, Offer>,
    rules: Rules,
    thresholds: Vec<Threshold>,
}

impl Catalogue {
    /// Reads a catalogue from TOML text.
    ///
    /// # Errors
    /// [`CatalogueError`] with the line and the field of the first fault.
    pub fn parse(text: &str) -> Result<Self, CatalogueError> {
        file::parse(text)
    }

    /// What `dev` sells: packs `starter` (1000 credits for USD 10) and `studio` (5500 for USD 50), plan `pro`
    /// (5000 credits a month for USD 39, Stripe price `price_tallystick_pro`).
    ///
    /// # Errors
    /// None in a released build, since a test reads the built-in text; the type is that of [`Catalogue::parse`].
    pub fn dev() -> Result<Self, CatalogueError> {
        Self::parse(include_str!("catalogue/dev.toml"))
    }

    /// A pack: bought once.
    #[must_use]
    pub fn lookup_pack(&self, id: &str) -> Option<&Offer> {
        self.packs.get(id)
    }

    /// A plan: granted each period.
    #[must_use]
    pub fn lookup_plan(&self, id: &str) -> Option<&Offer> {
        self.plans.get(id)
    }

    /// The plan that a Stripe price sells.
    #[must_use]
    pub fn lookup_plan_of_price(&self, price: &str) -> Option<&Offer> {
        self.plans().find(|plan| plan.stripe_prices().iter().any(|own| own == price))
    }

    /// The decimals that a declared unit shows, 0–9. `None`: the unit is not declared.
    #[must_use]
    pub fn lookup_scale(&self, unit: &Unit) -> Option<u8> {
        self.units.get(unit).map(|info| info.scale)
    }

    /// Declared units, by name.
    pub fn units(&self) -> impl Iterator<Item = (&Unit, &UnitInfo)> {
        self.units.iter()
    }

    /// Packs, by id.
    pub fn packs(&self) -> impl Iterator<Item = &Offer> {
        self.packs.values()
    }

    /// Plans, by id.
    pub fn plans(&self) -> impl Iterator<Item = &Offer> {
        self.plans.values()
    }

    /// The installation's choices about the ledger.
    #[must_use]
    pub const fn rules(&self) -> Rules {
        self.rules
    }

    /// Thresholds of accounts that have none of their own.
    #[must_use]
    pub fn thresholds(&self) -> &[Threshold] {
        &self.thresholds
    }

    /// Every Stripe price id in use: one price sells one thing.
    fn prices(&self) -> BTreeSet<&str> {
        self.packs().chain(self.plans()).flat_map(Offer::stripe_prices).map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use domain::{Expiry, GrantKind};

    use super::*;

    const GOOD: &str = r#"[units.credits]
scale = 0
[units.minutes]
scale = 2
display_name = "Render minutes"

[[packs]]
id = "big"
unit = "minutes"
credits = 250
currency = "eur"
unit_amount = 499
kind = "promotion"
priority = 10
expires_after_s = 86400
stripe_prices = ["price_1", "price_2"]

[[plans]]
id = "big"
credits = 7
currency = "eur"
unit_amount = 0
"#;

    fn fault(text: &str) -> (usize, String) {
        match Catalogue::parse(text).unwrap_err() {
            CatalogueError::Field { line, field, .. } => (line, field),
            CatalogueError::Syntax { line, .. } => (line, "syntax".to_owned()),
            error @ CatalogueError::TooLarge { .. } => panic!("{error}"),
        }
    }

    #[test]
    fn the_dev_catalogue_is_the_documented_one() {
        let dev = Catalogue::dev().unwrap();
        let terms = |offer: &Offer| {
            (offer.credits(), offer.unit().to_string(), offer.currency().to_owned(), offer.unit_amount())
        };
        let usd = |credits, amount| (credits, "credits".to_owned(), "usd".to_owned(), amount);
        assert_eq!(terms(dev.lookup_pack("starter").unwrap()), usd(1000, 1000));
        assert_eq!(terms(dev.lookup_pack("studio").unwrap()), usd(5500, 5000));
        let pro = dev.lookup_plan("pro").unwrap();
        assert_eq!(terms(pro), usd(5000, 3900));
        assert_eq!(pro.stripe_prices(), ["price_tallystick_pro"]);
        assert_eq!((dev.packs().count(), dev.plans().count(), dev.units().count()), (2, 1, 1));
        assert!(dev.lookup_pack("pro").is_none());
    }

    #[test]
    fn an_offer_is_granted_on_its_own_terms_times_the_quantity() {
        let catalogue = Catalogue::parse(GOOD).unwrap();
        let pack = catalogue.lookup_pack("big").unwrap();
        let grant = pack.grant(3).unwrap();
        assert_eq!((grant.amount, grant.kind, grant.priority.get()), (750, GrantKind::Promotion, 10));
        assert_eq!(grant.expiry, Expiry::AfterSeconds(86400));
        assert_eq!(grant.cost_basis.unwrap().minor_units(), 1497);
        assert_eq!(pack.grant(i64::MAX), None);
        assert_eq!(pack.grant(4_000_000_000_001), None, "more than 10^15");
        let plan = catalogue.lookup_plan("big").unwrap().grant(1).unwrap();
        assert_eq!((plan.kind, plan.expiry), (GrantKind::Subscription, Expiry::Never));
        assert_eq!(catalogue.lookup_scale(&Unit::try_new("minutes").unwrap()), Some(2));
        let names: Vec<&str> = catalogue.units().map(|(_, info)| info.display_name.as_str()).collect();
        assert_eq!(names, ["", "Render minutes"]);
    }

    #[test]
    fn every_fault_names_its_line_and_field() {
        let changed = |from: &str, to: &str| {
            assert!(GOOD.contains(from), "{from}");
            fault(&GOOD.replacen(from, to, 1))
        };
        let at = |line, field: &str| (line, field.to_owned());
        assert_eq!(changed("credits = 250", "credits = 0"), at(10, "packs.big.credits"));
        assert_eq!(changed("credits = 250", "credits = 1000000000000001"), at(10, "packs.big.credits"));
        assert_eq!(changed("unit_amount = 499", "unit_amount = -1"), at(12, "packs.big.unit_amount"));
        assert_eq!(changed("\"eur\"", "\"EUR\""), at(11, "packs.big.currency"));
        assert_eq!(changed("priority = 10", "priority = 101"), at(14, "packs.big.priority"));
        assert_eq!(changed("86400", "0"), at(15, "packs.big.expires_after_s"));
        assert_eq!(changed("promotion", "gift"), at(13, "packs.big.kind"));
        assert_eq!(changed("\"minutes\"", "\"hours\""), at(9, "packs.big.unit"));
        assert_eq!(changed("\"minutes\"", "\"Minutes\""), at(9, "packs.big.unit"));
        assert_eq!(changed("id = \"big\"", "id = \"a b\""), at(8, "packs.id"));
        assert_eq!(changed("\"price_2\"", "\"price_1\""), at(16, "packs.big.stripe_prices"));
        assert_eq!(changed("\"price_2\"", "\"\""), at(16, "packs.big.stripe_prices"));
        assert_eq!(changed("scale = 2", "scale = 10"), at(4, "units.minutes.scale"));
        for name in ["", "  ", r"a\u0007b", &"x".repeat(65)] {
            assert_eq!(changed("Render minutes", name), at(5, "units.minutes.display_name"), "{name}");
        }
        assert_eq!(changed("[[plans]]", "[[packs]]"), at(19, "packs.id"));
        assert_eq!(changed("priority = 10", "prority = 10"), at(14, "syntax"));
        assert_eq!(changed("credits = 250", "credits = 2.5"), at(10, "syntax"));
        assert_eq!(changed("credits = 250", "credits = "), at(10, "syntax"));
    }

    #[test]
    fn one_stripe_price_sells_one_thing() {
        let text = format!("{GOOD}stripe_prices = [\"price_2\"]\n");
        assert_eq!(fault(&text), (23, "plans.big.stripe_prices".to_owned()));
    }

    #[test]
    fn plans_say_what_rolls_over_what_ends_and_what_else_grants() {
        let plan = |terms: &str| Catalogue::parse(&format!("{GOOD}{terms}"));
        let terms = plan("").unwrap().lookup_plan("big").unwrap().plan().clone();
        assert_eq!(terms, PlanTerms::default());
        let text = "at_end = \"expire\"\nalso_for = [\"manual\"]\n\
                    rollover = { percent = 50, cap = 2000, expires_after_s = 86400 }\n";
        let catalogue = plan(text).unwrap();
        let big = catalogue.lookup_plan("big").unwrap();
        let rollover = RolloverTerms { percent: 50, cap: Some(2000), expires_after_s: Some(86400) };
        let expected = PlanTerms {
            ends_with_subscription: true,
            also_for: vec![BillingReason::Manual],
            rollover: Some(rollover),
        };
        assert_eq!(big.plan(), &expected);
        let at = |seconds: i64| domain::Timestamp::from_micros(seconds * 1_000_000);
        let grant = big.grant_for_period(2, (100, 200), None).unwrap();
        assert_eq!((grant.amount, grant.effective_at), (14, Some(at(100))));
        assert_eq!(grant.expiry, Expiry::At(at(200 + 86400)));
        let whole = plan("rollover = {}\n").unwrap();
        let whole = whole.lookup_plan("big").unwrap();
        assert_eq!(whole.plan().rollover.unwrap().percent, 100);
        assert_eq!(whole.grant_for_period(1, (100, 200), None).unwrap().expiry, Expiry::Never);
        let plain = plan("").unwrap();
        let plain = plain.lookup_plan("big").unwrap().grant_for_period(1, (100, 200), None).unwrap();
        assert_eq!(plain.expiry, Expiry::At(at(200)));
    }

    #[test]
    fn faults_of_plans_name_their_line_and_field() {
        for (terms, line, field) in [
            ("at_end = \"stop\"", 23, "plans.big.at_end"),
            ("also_for = [\"manual\", \"upcoming\"]", 23, "plans.big.also_for"),
            ("rollover = { percent = 101 }", 23, "plans.big.rollover.percent"),
            ("rollover = { cap = -1 }", 23, "plans.big.rollover.cap"),
            ("rollover = { expires_after_s = 0 }", 23, "plans.big.rollover.expires_after_s"),
            ("rollover = { percnt = 1 }", 23, "syntax"),
            ("expires_after_s = 5\nrollover = {}", 23, "plans.big.expires_after_s"),
        ] {
            assert_eq!(fault(&format!("{GOOD}{terms}\n")), (line, field.to_owned()), "{terms}");
        }
        for terms in ["at_end = \"keep\"", "also_for = [\"manual\"]", "rollover = {}"] {
            let text = GOOD.replacen("priority = 10", terms, 1);
            let field = terms.split(' ').next().unwrap();
            assert_eq!(fault(&text), (14, format!("packs.big.{field}")), "{terms}");
        }
    }

    #[test]
    fn the_message_is_a_sentence_for_the_operator() {
        let error = Catalogue::parse(&GOOD.replacen("credits = 250", "credits = 0", 1)).unwrap_err();
        let sentence = "line 10: packs.big.credits is 0; must be between 1 and 1000000000000000";
        assert_eq!(error.to_string(), sentence);
    }

    #[test]
    fn files_and_lists_are_bounded() {
        let large = "#".repeat(MAX_CATALOGUE_BYTES + 1);
        assert!(matches!(Catalogue::parse(&large), Err(CatalogueError::TooLarge { .. })));
        let packs: String = (0..=MAX_OFFERS)
            .map(|i| format!("[[packs]]\nid = \"p{i}\"\ncredits = 1\ncurrency = \"usd\"\nunit_amount = 1\n"))
            .collect();
        assert_eq!(fault(&format!("[units.credits]\nscale = 0\n{packs}")).1, "packs");
        assert_eq!(Catalogue::parse("").unwrap(), Catalogue::default());
    }
}
