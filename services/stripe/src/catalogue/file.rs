//! The catalogue's TOML shape, and its checks. Every fault is reported with the line of its value.

use std::collections::BTreeMap;
use std::fmt::Display;

use domain::{CostBasis, GrantKind, Invalid, MAX_AMOUNT, Priority, Problem, Unit};
use serde::Deserialize;
use toml::Spanned;

use super::ledger::{LedgerFile, ThresholdFile};
use super::offer::{BillingReason, PlanTerms, RolloverTerms};
use super::{
    Catalogue, CatalogueError, MAX_CATALOGUE_BYTES, MAX_DISPLAY_NAME_BYTES, MAX_OFFERS, MAX_PRICES,
    MAX_SCALE, MAX_UNITS, Offer, UnitInfo,
};

/// Longest id of an offer or a Stripe price, in bytes.
const MAX_ID_BYTES: usize = 128;
/// Largest price: Stripe's amounts have at most 12 digits.
const MAX_UNIT_AMOUNT: i64 = 999_999_999_999;
/// Longest life of a grant, in seconds: 100 years; "never" is written by leaving it out.
const MAX_EXPIRES_AFTER_S: i64 = 100 * 366 * 86_400;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogueFile {
    #[serde(default)]
    units: BTreeMap<String, Spanned<UnitFile>>,
    #[serde(default)]
    packs: Vec<Spanned<OfferFile>>,
    #[serde(default)]
    plans: Vec<Spanned<OfferFile>>,
    #[serde(default)]
    ledger: LedgerFile,
    #[serde(default)]
    thresholds: Vec<Spanned<ThresholdFile>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnitFile {
    scale: Spanned<i64>,
    display_name: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfferFile {
    id: Spanned<String>,
    unit: Option<Spanned<String>>,
    credits: Spanned<i64>,
    currency: Spanned<String>,
    unit_amount: Spanned<i64>,
    kind: Option<Spanned<String>>,
    priority: Option<Spanned<i64>>,
    expires_after_s: Option<Spanned<i64>>,
    #[serde(default)]
    stripe_prices: Vec<Spanned<String>>,
    at_end: Option<Spanned<String>>,
    #[serde(default)]
    also_for: Vec<Spanned<String>>,
    rollover: Option<Spanned<RolloverFile>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RolloverFile {
    percent: Option<Spanned<i64>>,
    cap: Option<Spanned<i64>>,
    expires_after_s: Option<Spanned<i64>>,
}

/// Packs and plans have one shape; they differ in name and in the kind of their grants.
#[derive(Clone, Copy)]
struct List {
    name: &'static str,
    kind: GrantKind,
}

const PACKS: List = List { name: "packs", kind: GrantKind::Purchase };
const PLANS: List = List { name: "plans", kind: GrantKind::Subscription };

pub(super) fn parse(text: &str) -> Result<Catalogue, CatalogueError> {
    if text.len() > MAX_CATALOGUE_BYTES {
        return Err(CatalogueError::TooLarge { limit: MAX_CATALOGUE_BYTES, actual: text.len() });
    }
    let file: CatalogueFile = toml::from_str(text).map_err(|error| CatalogueError::Syntax {
        line: line_at(text, error.span().map_or(0, |span| span.start)),
        message: error.message().to_owned(),
    })?;
    let mut checker = Checker { text, catalogue: Catalogue::default() };
    checker.add_units(file.units)?;
    checker.add_offers(PACKS, file.packs)?;
    checker.add_offers(PLANS, file.plans)?;
    checker.add_ledger(file.ledger)?;
    checker.add_thresholds(file.thresholds)?;
    Ok(checker.catalogue)
}

/// Lines count from 1.
fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// The file's text, for line numbers, and what has passed so far.
pub(super) struct Checker<'a> {
    text: &'a str,
    pub(super) catalogue: Catalogue,
}

impl Checker<'_> {
    pub(super) fn fault<T>(&self, at: &Spanned<T>, field: impl Display, problem: Problem) -> CatalogueError {
        let line = line_at(self.text, at.span().start);
        CatalogueError::Field { line, field: field.to_string(), problem }
    }

    fn add_units(&mut self, units: BTreeMap<String, Spanned<UnitFile>>) -> Result<(), CatalogueError> {
        let count = units.len();
        for (name, file) in units {
            if count > MAX_UNITS {
                let problem = Problem::TooMany { limit: MAX_UNITS, actual: count };
                return Err(self.fault(&file, "units", problem));
            }
            let field = format!("units.{name}");
            if name.is_empty() {
                return Err(self.fault(&file, field, Problem::Empty));
            }
            let unit = Unit::try_new(name).map_err(|invalid| self.fault(&file, &field, invalid.problem))?;
            let UnitFile { scale, display_name } = file.into_inner();
            let decimals = self.in_range(&scale, format!("{field}.scale"), 0, MAX_SCALE)?;
            let display_name = self.display_name(display_name, format!("{field}.display_name"))?;
            // In range, so the fallback is unreachable.
            let info = UnitInfo { scale: u8::try_from(decimals).unwrap_or(0), display_name };
            self.catalogue.units.insert(unit, info);
        }
        Ok(())
    }

    fn display_name(&self, name: Option<Spanned<String>>, field: String) -> Result<String, CatalogueError> {
        let Some(name) = name else { return Ok(String::new()) };
        let text = name.get_ref();
        let problem = if text.trim().is_empty() {
            Problem::Empty
        } else if text.len() > MAX_DISPLAY_NAME_BYTES {
            Problem::TooLong { limit: MAX_DISPLAY_NAME_BYTES, actual: text.len() }
        } else if text.chars().any(char::is_control) {
            Problem::Characters { allowed: "printable characters" }
        } else {
            return Ok(name.into_inner());
        };
        Err(self.fault(&name, field, problem))
    }

    fn add_offers(&mut self, list: List, offers: Vec<Spanned<OfferFile>>) -> Result<(), CatalogueError> {
        if let Some(beyond) = offers.get(MAX_OFFERS) {
            let problem = Problem::TooMany { limit: MAX_OFFERS, actual: offers.len() };
            return Err(self.fault(beyond, list.name, problem));
        }
        for file in offers {
            let offer = self.offer(list, file.into_inner())?;
            let own =
                if list.name == PACKS.name { &mut self.catalogue.packs } else { &mut self.catalogue.plans };
            own.insert(offer.id.clone(), offer);
        }
        Ok(())
    }

    fn offer(&self, list: List, file: OfferFile) -> Result<Offer, CatalogueError> {
        let id = self.offer_id(list, &file.id)?;
        let path = |field: &str| format!("{}.{id}.{field}", list.name);
        let credits = self.in_range(&file.credits, path("credits"), domain::MIN_AMOUNT, MAX_AMOUNT)?;
        let unit_amount = self.in_range(&file.unit_amount, path("unit_amount"), 0, MAX_UNIT_AMOUNT)?;
        let currency = file.currency.get_ref();
        if let Err(Invalid { problem, .. }) = CostBasis::try_new(currency.as_str(), unit_amount) {
            return Err(self.fault(&file.currency, path("currency"), problem));
        }
        let priority = match &file.priority {
            None => Priority::default(),
            Some(value) => Priority::try_new(*value.get_ref())
                .map_err(|invalid| self.fault(value, path("priority"), invalid.problem))?,
        };
        let expires_after_s = match &file.expires_after_s {
            None => None,
            Some(value) => Some(self.in_range(value, path("expires_after_s"), 1, MAX_EXPIRES_AFTER_S)?),
        };
        let kind = match &file.kind {
            None => list.kind,
            Some(value) => kind(value.get_ref()).ok_or_else(|| {
                let rule = "must be promotion, compensation, adjustment, subscription or purchase";
                self.fault(value, path("kind"), Problem::Rule(rule))
            })?,
        };
        Ok(Offer {
            plan: self.plan_terms(list, &file, &path)?,
            unit: self.unit(&file, path("unit"))?,
            stripe_prices: self.prices(path("stripe_prices"), &file.stripe_prices)?,
            currency: currency.clone(),
            id,
            credits,
            unit_amount,
            kind,
            priority,
            expires_after_s,
        })
    }

    /// What plans alone have; a pack that has it is a slip.
    fn plan_terms(
        &self,
        list: List,
        file: &OfferFile,
        path: &dyn Fn(&str) -> String,
    ) -> Result<PlanTerms, CatalogueError> {
        let only_plans = Problem::Rule("is for plans only");
        let is_pack = list.name == PACKS.name;
        let mut terms = PlanTerms::default();
        if let Some(at_end) = &file.at_end {
            terms.ends_with_subscription = match at_end.get_ref().as_str() {
                _ if is_pack => return Err(self.fault(at_end, path("at_end"), only_plans)),
                "keep" => false,
                "expire" => true,
                _ => {
                    let problem = Problem::Rule("must be keep or expire");
                    return Err(self.fault(at_end, path("at_end"), problem));
                }
            };
        }
        for reason in &file.also_for {
            if is_pack {
                return Err(self.fault(reason, path("also_for"), only_plans));
            }
            let rule = "must be subscription_update, subscription_threshold or manual";
            let known = BillingReason::lookup(reason.get_ref());
            terms
                .also_for
                .push(known.ok_or_else(|| self.fault(reason, path("also_for"), Problem::Rule(rule)))?);
        }
        if let Some(rollover) = &file.rollover {
            if is_pack {
                return Err(self.fault(rollover, path("rollover"), only_plans));
            }
            if let Some(expiry) = &file.expires_after_s {
                let rule = "cannot stand beside rollover; say rollover.expires_after_s";
                return Err(self.fault(expiry, path("expires_after_s"), Problem::Rule(rule)));
            }
            let number = |value: &Option<Spanned<i64>>, field: &str, min, max| {
                let check = |value| self.in_range(value, path(&format!("rollover.{field}")), min, max);
                value.as_ref().map(check).transpose()
            };
            let rollover = rollover.get_ref();
            terms.rollover = Some(RolloverTerms {
                percent: number(&rollover.percent, "percent", 0, 100)?.unwrap_or(100),
                cap: number(&rollover.cap, "cap", 0, MAX_AMOUNT)?,
                expires_after_s: number(
                    &rollover.expires_after_s,
                    "expires_after_s",
                    1,
                    MAX_EXPIRES_AFTER_S,
                )?,
            });
        }
        Ok(terms)
    }

    fn offer_id(&self, list: List, id: &Spanned<String>) -> Result<String, CatalogueError> {
        let field = format!("{}.id", list.name);
        let text = id.get_ref();
        self.check_id(id, &field)?;
        let taken = if list.name == PACKS.name { &self.catalogue.packs } else { &self.catalogue.plans };
        if taken.contains_key(text) {
            return Err(self.fault(id, field, Problem::Rule("is used twice")));
        }
        Ok(text.clone())
    }

    fn unit(&self, file: &OfferFile, field: String) -> Result<Unit, CatalogueError> {
        let named = file.unit.as_ref();
        let at = named.unwrap_or(&file.id);
        let text = named.map_or("", |unit| unit.get_ref());
        let unit = Unit::try_new(text).map_err(|invalid| self.fault(at, &field, invalid.problem))?;
        if !self.catalogue.units.contains_key(&unit) {
            return Err(self.fault(at, field, Problem::Rule("must be declared under [units]")));
        }
        Ok(unit)
    }

    fn prices(&self, field: String, prices: &[Spanned<String>]) -> Result<Vec<String>, CatalogueError> {
        if let Some(beyond) = prices.get(MAX_PRICES) {
            let problem = Problem::TooMany { limit: MAX_PRICES, actual: prices.len() };
            return Err(self.fault(beyond, field, problem));
        }
        let mut seen = self.catalogue.prices();
        for price in prices {
            self.check_id(price, &field)?;
            if !seen.insert(price.get_ref()) {
                let rule = "names a Stripe price twice; one price sells one thing";
                return Err(self.fault(price, field, Problem::Rule(rule)));
            }
        }
        Ok(prices.iter().map(|price| price.get_ref().clone()).collect())
    }

    fn check_id(&self, id: &Spanned<String>, field: &str) -> Result<(), CatalogueError> {
        let text = id.get_ref();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        let problem = if text.is_empty() {
            Problem::Empty
        } else if text.len() > MAX_ID_BYTES {
            Problem::TooLong { limit: MAX_ID_BYTES, actual: text.len() }
        } else if !text.bytes().all(allowed) {
            Problem::Characters { allowed: "letters, digits and . _ : -" }
        } else {
            return Ok(());
        };
        Err(self.fault(id, field, problem))
    }

    pub(super) fn in_range(
        &self,
        value: &Spanned<i64>,
        field: String,
        min: i64,
        max: i64,
    ) -> Result<i64, CatalogueError> {
        let actual = *value.get_ref();
        if (min..=max).contains(&actual) {
            return Ok(actual);
        }
        Err(self.fault(value, field, Problem::OutOfRange { min, max, actual }))
    }
}

fn kind(name: &str) -> Option<GrantKind> {
    Some(match name {
        "promotion" => GrantKind::Promotion,
        "compensation" => GrantKind::Compensation,
        "adjustment" => GrantKind::Adjustment,
        "subscription" => GrantKind::Subscription,
        "purchase" => GrantKind::Purchase,
        _ => return None,
    })
}
