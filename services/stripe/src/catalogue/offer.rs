//! One thing that is sold: how much of what, for which price.

use domain::{CostBasis, Expiry, Grant, GrantKind, MAX_AMOUNT, Priority, Timestamp, Unit};

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
    pub(super) plan: PlanTerms,
}

/// What a plan says beyond what a pack says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlanTerms {
    /// What is left of a period's credits goes when the subscription ends; otherwise it lives on to its own end.
    pub ends_with_subscription: bool,
    /// Invoices that grant, beside those of a new period (`subscription_create`, `subscription_cycle`).
    pub also_for: Vec<BillingReason>,
    /// What is left of a period goes on into the next.
    pub rollover: Option<RolloverTerms>,
}

/// Why Stripe made an invoice, for those reasons that grant only when a plan says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BillingReason {
    /// The subscription was changed in the middle of a period.
    SubscriptionUpdate,
    /// Usage reached a threshold.
    SubscriptionThreshold,
    /// Somebody made it by hand.
    Manual,
}

impl BillingReason {
    /// The reason of Stripe's word.
    #[must_use]
    pub fn lookup(word: &str) -> Option<Self> {
        Some(match word {
            "subscription_update" => Self::SubscriptionUpdate,
            "subscription_threshold" => Self::SubscriptionThreshold,
            "manual" => Self::Manual,
            _ => return None,
        })
    }
}

/// How what is left of a period goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RolloverTerms {
    /// The share of it that goes on, 0–100.
    pub percent: i64,
    /// The most that goes on, of all periods together.
    pub cap: Option<i64>,
    /// How long it lives beyond its period, in seconds; `None`: for ever.
    pub expires_after_s: Option<i64>,
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

    /// What a plan says beyond what a pack says; a pack says nothing.
    #[must_use]
    pub const fn plan(&self) -> &PlanTerms {
        &self.plan
    }

    /// The lot that several of a plan grant for one period, and what was paid for it. It ends with the period, unless the
    /// plan says how long it lives or rolls it over. `None` as for [`Offer::grant`].
    #[must_use]
    pub fn grant_for_period(
        &self,
        quantity: i64,
        (start_s, end_s): (i64, i64),
        cost_basis: Option<CostBasis>,
    ) -> Option<Grant> {
        let moment = |seconds: i64| Timestamp::from_micros(0).plus_seconds(seconds);
        let expiry = match (self.expires_after_s, self.plan.rollover) {
            (Some(seconds), _) => Expiry::AfterSeconds(seconds),
            (None, None) => Expiry::At(moment(end_s)),
            (None, Some(RolloverTerms { expires_after_s: Some(seconds), .. })) => {
                Expiry::At(moment(end_s.saturating_add(seconds)))
            }
            (None, Some(_)) => Expiry::Never,
        };
        let grant = self.grant(quantity)?;
        Some(Grant { effective_at: Some(moment(start_s)), expiry, cost_basis, ..grant })
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
