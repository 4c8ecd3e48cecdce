//! One thing that is sold: how much of what, for which price.

use domain::{CostBasis, Expiry, Grant, GrantKind, MAX_AMOUNT, Priority, Unit};

/// A pack (bought once) or a plan (granted each period).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub(super) id: String,
    pub(super) unit: Unit,
    pub(super) credits: i64,
    pub(super) currency: String,
    pub(super) unit_amount: i64,
    pub(super) kind: GrantKind,
    pub(super) priority: Priority,
    pub(super) expires_after_s: Option<i64>,
    pub(super) stripe_prices: Vec<String>,
}

impl Offer {
    /// Its name, unique among packs or among plans; 1–128 bytes of letters, digits and `. _ : -`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What is counted.
    #[must_use]
    pub const fn unit(&self) -> &Unit {
        &self.unit
    }

    /// How much one of it grants, in the unit's smallest step; 1 to 10^15.
    #[must_use]
    pub const fn credits(&self) -> i64 {
        self.credits
    }

    /// ISO 4217, lower case.
    #[must_use]
    pub fn currency(&self) -> &str {
        &self.currency
    }

    /// The price of one before tax and discounts, in the currency's minor unit; 0: free.
    #[must_use]
    pub const fn unit_amount(&self) -> i64 {
        self.unit_amount
    }

    /// The Stripe prices that sell it.
    #[must_use]
    pub fn stripe_prices(&self) -> &[String] {
        &self.stripe_prices
    }

    /// The price of several before tax and discounts, in minor units. `None` when it exceeds 10^15.
    #[must_use]
    pub fn subtotal(&self, quantity: i64) -> Option<i64> {
        self.unit_amount.checked_mul(quantity).filter(|amount| (0..=MAX_AMOUNT).contains(amount))
    }

    /// The lot that several of it grant. `None` when a lot cannot hold that much, or costs more than 10^15.
    #[must_use]
    pub fn grant(&self, quantity: i64) -> Option<Grant> {
        let amount = self.credits.checked_mul(quantity).filter(|n| (1..=MAX_AMOUNT).contains(n))?;
        let cost_basis = CostBasis::try_new(self.currency.as_str(), self.subtotal(quantity)?).ok()?;
        Some(Grant {
            amount,
            kind: self.kind,
            priority: self.priority,
            effective_at: None,
            expiry: self.expires_after_s.map_or(Expiry::Never, Expiry::AfterSeconds),
            cost_basis: Some(cost_basis),
        })
    }
}
