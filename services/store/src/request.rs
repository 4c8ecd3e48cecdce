//! What callers of `apply` hand in, and what they get back.

use domain::{AccountId, Command, Entry, Operation, Unit};

use crate::stripe_event::{Fact, StripeEvent};

/// One wish. Everything in a request belongs to one account.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "the large variant is the usual one")]
pub enum Request {
    /// A command with an idempotency key.
    Command(Command),
    /// Whatever is due on one balance.
    Settle {
        /// Whose.
        account: AccountId,
        /// Which unit.
        unit: Unit,
    },
    /// A Stripe event that may grant.
    Stripe(Box<StripeRequest>),
}

/// A Stripe event with the fact that it brings.
#[derive(Debug, Clone)]
pub struct StripeRequest {
    /// For the inbox.
    pub event: StripeEvent,
    /// For the ledger.
    pub fact: Fact,
    /// Parked events that wait for it, with their facts: decided after it, in the same transaction.
    pub followers: Vec<(StripeEvent, Fact)>,
    /// Whose fact it is, as far as could be seen before the account is locked.
    pub account: AccountId,
    /// The unit that it is about, or the default one.
    pub unit: Unit,
    /// Who delivered it.
    pub actor: String,
    /// W3C trace context of the delivery.
    pub traceparent: Option<String>,
}

impl StripeRequest {
    /// The event and those that follow it.
    pub(crate) fn events(&self) -> impl Iterator<Item = (&StripeEvent, &Fact)> {
        let followers = self.followers.iter().map(|(event, fact)| (event, fact));
        std::iter::once((&self.event, &self.fact)).chain(followers)
    }
}

impl Request {
    /// Whose balance.
    #[must_use]
    pub fn account(&self) -> &AccountId {
        match self {
            Self::Command(command) => &command.account,
            Self::Settle { account, .. } => account,
            Self::Stripe(stripe) => &stripe.account,
        }
    }

    /// Which unit of it.
    #[must_use]
    pub fn unit(&self) -> &Unit {
        match self {
            Self::Command(command) => &command.unit,
            Self::Settle { unit, .. } => unit,
            Self::Stripe(stripe) => &stripe.unit,
        }
    }

    /// Bytes that the request keeps in a queue, about.
    pub(crate) fn weight(&self) -> usize {
        const FIXED: usize = 512;
        match self {
            Self::Settle { .. } => FIXED,
            Self::Stripe(stripe) => FIXED + stripe.events().map(|(event, _)| event.body.len()).sum::<usize>(),
            Self::Command(command) => {
                let pairs = command.context.metadata.pairs();
                FIXED + pairs.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
            }
        }
    }
}

/// How far an event got. The numbers are `stripe_events.state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventState {
    /// It did what it had to do.
    Applied,
    /// Nothing for us.
    Ignored,
    /// Meant for us, not usable yet.
    Parked,
    /// Given up.
    Failed,
}

impl EventState {
    pub(crate) const fn code(self) -> i16 {
        match self {
            Self::Applied => 1,
            Self::Ignored => 2,
            Self::Parked => 3,
            Self::Failed => 4,
        }
    }

    /// Its name, as operators write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Ignored => "ignored",
            Self::Parked => "parked",
            Self::Failed => "failed",
        }
    }

    pub(crate) const fn lookup(code: i16) -> Option<Self> {
        match code {
            1 => Some(Self::Applied),
            2 => Some(Self::Ignored),
            3 => Some(Self::Parked),
            4 => Some(Self::Failed),
            _ => None,
        }
    }
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventAnswer {
    /// How far it got.
    pub state: EventState,
    /// Stable lower-case name: `granted`, `already_granted`, `pending_payment`, or a reason.
    pub outcome: String,
    /// This event id was stored before, and this delivery changed nothing.
    pub duplicate: bool,
    /// The grant that the event's object has made, by this delivery or an earlier one.
    pub operation: Option<Operation>,
}

/// What a committed request did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A command's operation, now or when it was first sent.
    Operation {
        /// The operation.
        operation: Operation,
        /// It was applied by an earlier call.
        replayed: bool,
    },
    /// What was due is applied.
    Settled,
    /// An event's fate.
    Event(EventAnswer),
}

/// The first entry of an operation: the command's own.
#[must_use]
pub fn own_entry(operation: &Operation) -> Option<&Entry> {
    operation.entries.first()
}

/// The last entry of an operation: the balance after it.
#[must_use]
pub fn last_entry(operation: &Operation) -> Option<&Entry> {
    operation.entries.last()
}
