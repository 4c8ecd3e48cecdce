//! The Stripe side of a batch: inbox rows, natural keys and purchases, read under their locks and decided with
//! the ledger in one transaction. An object grants at most once, however often its events arrive (I8).

use std::collections::{BTreeMap, BTreeSet};

use domain::{Action, Command, Context, IdempotencyKey, Operation, OperationId, Rules};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::decision::Decisions;
use super::{Item, State, Wait};
use crate::error::{ApplyError, StoreError};
use crate::request::{Answer, EventAnswer, EventState, Request, StripeRequest};
use crate::stripe_event::{Checkout, KeyKind, Payment, StripeKey};

/// The kind of lock that an inbox id has.
const EVENT: &str = "event";

/// A grant that a Stripe object has made.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(super) account_id: String,
    pub(super) operation_id: OperationId,
    pub(super) event_id: String,
}

/// What an earlier delivery of an event came to.
#[derive(Debug, Clone)]
struct Inbox {
    state: EventState,
    outcome: String,
}

/// Stripe's rows, read under their locks; kept up to date while the batch is decided.
#[derive(Debug, Default)]
pub(crate) struct StripeState {
    /// Locks that others hold; their events leave the batch.
    busy: BTreeSet<i64>,
    inbox: BTreeMap<String, Inbox>,
    claims: BTreeMap<StripeKey, Claim>,
    purchases: BTreeMap<String, (String, Payment)>,
}

/// Stripe's rows to write.
#[derive(Debug, Default)]
pub(super) struct StripeWrites {
    pub(super) events: BTreeMap<String, (StripeRequest, EventAnswer)>,
    pub(super) claims: Vec<(StripeKey, Claim, domain::Unit)>,
    pub(super) purchases: BTreeMap<String, (Checkout, Option<OperationId>)>,
}

/// The service's own idempotency key of the grant for a session.
pub(super) fn grant_key(checkout: &Checkout) -> IdempotencyKey {
    IdempotencyKey::for_stripe(KeyKind::CheckoutSession.name(), &checkout.session_id)
}

fn session_key(checkout: &Checkout) -> StripeKey {
    StripeKey::new(KeyKind::CheckoutSession, checkout.session_id.as_str())
}

fn natural_keys(checkout: &Checkout) -> impl Iterator<Item = StripeKey> + '_ {
    let session = session_key(checkout);
    let intent = checkout.payment_intent.iter().map(|id| StripeKey::new(KeyKind::PaymentIntent, id.as_str()));
    std::iter::once(session).chain(intent)
}

/// Locks and reads the Stripe keys of the batch; three statements, none without Stripe events.
pub(super) async fn state_in_tx(
    tx: &mut PgConnection,
    requests: &[&Request],
    wait: Wait,
) -> Result<StripeState, StoreError> {
    let events: Vec<&StripeRequest> = requests
        .iter()
        .filter_map(|request| if let Request::Stripe(stripe) = request { Some(&**stripe) } else { None })
        .collect();
    if events.is_empty() {
        return Ok(StripeState::default());
    }
    let event_ids: Vec<String> = events.iter().map(|request| request.event.event_id.clone()).collect();
    let keys: BTreeSet<StripeKey> =
        events.iter().flat_map(|request| natural_keys(&request.checkout)).collect();
    let numbers: BTreeSet<i64> = events.iter().flat_map(|request| lock_numbers(request)).collect();
    let busy = lock_keys_in_tx(tx, &numbers, wait).await?;
    let inbox = inbox_in_tx(tx, &event_ids).await?;
    let mut state = StripeState { busy, inbox, ..StripeState::default() };

    let (kinds, ids) = crate::inbox::columns(&keys);
    let rows = sqlx::query!(
        r#"select c.kind, c.object_id, c.account_id, c.operation_id, c.event_id
           from unnest($1::text[], $2::text[]) as wanted(kind, object_id)
           join stripe_claims c on c.kind = wanted.kind and c.object_id = wanted.object_id"#,
        &kinds,
        &ids
    )
    .fetch_all(&mut *tx)
    .await
    .map_err(StoreError::during("read natural keys"))?;
    for row in rows {
        let operation_id = OperationId::from_uuid(row.operation_id);
        let claim = Claim { account_id: row.account_id, operation_id, event_id: row.event_id };
        let key = keys.iter().find(|key| key.kind.name() == row.kind && key.id == row.object_id);
        state.claims.extend(key.cloned().map(|key| (key, claim)));
    }
    let rows =
        sqlx::query!("select session_id, account_id, state from purchases where session_id = any($1)", &ids)
            .fetch_all(&mut *tx)
            .await
            .map_err(StoreError::during("read purchases"))?;
    for row in rows {
        let payment = if row.state >= PAID { Payment::Paid } else { Payment::Pending };
        state.purchases.insert(row.session_id, (row.account_id, payment));
    }
    Ok(state)
}

/// `purchases.state` of a session whose money is on its way.
pub(super) const PENDING: i16 = 2;
/// `purchases.state` of a paid session.
pub(super) const PAID: i16 = 3;

/// The locks that an event needs: its inbox id and its natural keys.
fn lock_numbers(request: &StripeRequest) -> Vec<i64> {
    let event = lock_number(EVENT, &request.event.event_id);
    let keys = natural_keys(&request.checkout).map(|key| lock_number(key.kind.name(), &key.id));
    std::iter::once(event).chain(keys).collect()
}

/// Takes a transaction lock on each inbox id and natural key, sorted by hash, before anything of them is read.
/// A batch of strangers does not wait: it gets back the locks that others hold. A batch of one account waits;
/// all that wait do so in one direction.
async fn lock_keys_in_tx(
    tx: &mut PgConnection,
    numbers: &BTreeSet<i64>,
    wait: Wait,
) -> Result<BTreeSet<i64>, StoreError> {
    let numbers: Vec<i64> = numbers.iter().copied().collect();
    match wait {
        Wait::Skip => {
            let busy = sqlx::query_scalar!(
                r#"select number as "number!" from unnest($1::bigint[]) as sorted(number)
                   where not pg_try_advisory_xact_lock(number)"#,
                &numbers
            );
            let busy = busy.fetch_all(tx).await.map_err(StoreError::during("lock Stripe keys"))?;
            Ok(busy.into_iter().collect())
        }
        Wait::Block => {
            sqlx::query!(
                r#"select count(pg_advisory_xact_lock(number)) from unnest($1::bigint[]) as sorted(number)"#,
                &numbers
            )
            .fetch_one(tx)
            .await
            .map_err(StoreError::during("lock Stripe keys"))?;
            Ok(BTreeSet::new())
        }
    }
}

/// For a writer of the inbox outside a batch: waits for the locks, then reads the clock.
pub(super) async fn lock_event_in_tx(
    tx: &mut PgConnection,
    event_id: &str,
    keys: &[StripeKey],
) -> Result<OffsetDateTime, StoreError> {
    let keys = keys.iter().map(|key| lock_number(key.kind.name(), &key.id));
    let numbers: BTreeSet<i64> = std::iter::once(lock_number(EVENT, event_id)).chain(keys).collect();
    lock_keys_in_tx(&mut *tx, &numbers, Wait::Block).await?;
    let clock = sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#);
    clock.fetch_one(tx).await.map_err(StoreError::during("read the clock"))
}

impl StripeState {
    /// Whether somebody else holds a lock that this event needs.
    pub(super) fn is_busy(&self, request: &StripeRequest) -> bool {
        !self.busy.is_empty() && lock_numbers(request).iter().any(|number| self.busy.contains(number))
    }
}

/// 64 bits of SHA-256. Two keys that share a number only wait for each other.
fn lock_number(kind: &str, id: &str) -> i64 {
    let mut hasher = Sha256::new();
    hasher.update(kind.as_bytes());
    hasher.update([0]);
    hasher.update(id.as_bytes());
    let digest: [u8; 32] = hasher.finalize().into();
    let (head, _) = digest.as_chunks::<8>();
    head.first().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

async fn inbox_in_tx(
    tx: &mut PgConnection,
    event_ids: &[String],
) -> Result<BTreeMap<String, Inbox>, StoreError> {
    let rows = sqlx::query!(
        "select event_id, state, outcome from stripe_events where event_id = any($1)",
        event_ids
    )
    .fetch_all(tx)
    .await
    .map_err(StoreError::during("read the inbox"))?;
    let inbox = |state: i16, outcome: String| {
        let state = EventState::lookup(state).ok_or(StoreError::Corrupt("event state"))?;
        Ok::<_, StoreError>(Inbox { state, outcome })
    };
    rows.into_iter().map(|row| Ok((row.event_id, inbox(row.state, row.outcome)?))).collect()
}

impl Decisions {
    /// Decides one event, and notes what the inbox shall say of it.
    pub(super) fn stripe_event(
        &mut self,
        state: &mut State,
        rules: &Rules,
        request: &StripeRequest,
        item: &Item,
    ) -> Result<EventAnswer, StoreError> {
        let event_id = &request.event.event_id;
        // A parked event is tried again when it is delivered again; any other state is final.
        if let Some(known) =
            state.stripe.inbox.get(event_id).filter(|known| known.state != EventState::Parked)
        {
            return Ok(EventAnswer {
                state: known.state,
                outcome: known.outcome.clone(),
                duplicate: !self.is_own_retry(state, request, item),
                operation: self.granted_operation(state, &request.checkout),
            });
        }
        let answer = self.checkout(state, rules, request, item)?;
        let inbox = Inbox { state: answer.state, outcome: answer.outcome.clone() };
        state.stripe.inbox.insert(event_id.clone(), inbox);
        self.stripe.events.insert(event_id.clone(), (request.clone(), answer.clone()));
        Ok(answer)
    }

    /// Whether the stored event was stored by an earlier try of this very call.
    fn is_own_retry(&self, state: &State, request: &StripeRequest, item: &Item) -> bool {
        let session = session_key(&request.checkout);
        let claim = state.stripe.claims.get(&session);
        claim.is_some_and(|claim| {
            claim.operation_id == item.operation_id && claim.event_id == request.event.event_id
        })
    }

    /// The grant that a session has made, for the account that it was made for.
    fn granted_operation(&self, state: &State, checkout: &Checkout) -> Option<Operation> {
        let key = (checkout.account.clone(), grant_key(checkout).as_str().to_owned());
        self.lookup_operation(state, &key)
    }

    fn checkout(
        &mut self,
        state: &mut State,
        rules: &Rules,
        request: &StripeRequest,
        item: &Item,
    ) -> Result<EventAnswer, StoreError> {
        let checkout = &request.checkout;
        let owner = checkout.account.as_str();
        let session = session_key(checkout);
        if let Some(claim) = state.stripe.claims.get(&session) {
            return Ok(if claim.account_id == owner {
                let operation = self.granted_operation(state, checkout);
                EventAnswer { operation, ..without_effect(EventState::Applied, "already_granted") }
            } else {
                without_effect(EventState::Parked, "account_mismatch")
            });
        }
        let known = state.stripe.purchases.get(&checkout.session_id);
        if known.is_some_and(|(account_id, _)| account_id != owner) {
            return Ok(without_effect(EventState::Parked, "account_mismatch"));
        }
        let intent_is_taken = checkout.payment_intent.as_ref().is_some_and(|id| {
            state.stripe.claims.contains_key(&StripeKey::new(KeyKind::PaymentIntent, id.as_str()))
        });
        if intent_is_taken {
            return Ok(without_effect(EventState::Parked, "payment_intent_already_granted"));
        }
        if checkout.payment == Payment::Pending {
            self.purchase(state, checkout, None);
            return Ok(without_effect(EventState::Applied, "pending_payment"));
        }
        self.grant(state, rules, request, item)
    }

    fn grant(
        &mut self,
        state: &mut State,
        rules: &Rules,
        request: &StripeRequest,
        item: &Item,
    ) -> Result<EventAnswer, StoreError> {
        let checkout = &request.checkout;
        let context = Context {
            actor: request.actor.clone(),
            reference: checkout.session_id.clone(),
            reason: format!("stripe:{}", request.event.event_type),
            traceparent: request.traceparent.clone(),
            ..Context::default()
        };
        let command = Command {
            account: checkout.account.clone(),
            unit: checkout.unit.clone(),
            key: grant_key(checkout),
            context,
            action: Action::Grant(checkout.grant.clone()),
        };
        match self.command(state, rules, &command, item.operation_id)? {
            Ok(Answer::Operation { operation, .. }) => {
                self.claim(state, checkout, &operation, &request.event.event_id);
                self.purchase(state, checkout, Some(operation.id));
                Ok(EventAnswer {
                    state: EventState::Applied,
                    outcome: "granted".to_owned(),
                    duplicate: false,
                    operation: Some(operation),
                })
            }
            Ok(_) => Err(StoreError::Broken("a grant that is no operation")),
            Err(ApplyError::Denied(denied)) => Ok(without_effect(EventState::Parked, denied_outcome(denied))),
            Err(_) => Ok(without_effect(EventState::Parked, "key_conflict")),
        }
    }

    fn claim(&mut self, state: &mut State, checkout: &Checkout, operation: &Operation, event_id: &str) {
        for key in natural_keys(checkout) {
            let claim = Claim {
                account_id: checkout.account.as_str().to_owned(),
                operation_id: operation.id,
                event_id: event_id.to_owned(),
            };
            state.stripe.claims.insert(key.clone(), claim.clone());
            self.stripe.claims.push((key, claim, checkout.unit.clone()));
        }
    }

    /// Notes the session's state, forward only.
    fn purchase(&mut self, state: &mut State, checkout: &Checkout, operation: Option<OperationId>) {
        let known = state.stripe.purchases.get(&checkout.session_id);
        if known.is_some_and(|(_, payment)| *payment >= checkout.payment) {
            return;
        }
        let owner = checkout.account.as_str().to_owned();
        state.stripe.purchases.insert(checkout.session_id.clone(), (owner, checkout.payment));
        self.stripe.purchases.insert(checkout.session_id.clone(), (checkout.clone(), operation));
    }
}

fn without_effect(state: EventState, outcome: &str) -> EventAnswer {
    EventAnswer { state, outcome: outcome.to_owned(), duplicate: false, operation: None }
}

/// A grant that the rules refuse is parked under the refusal's name; somebody has paid.
const fn denied_outcome(denied: domain::Denied) -> &'static str {
    match denied {
        domain::Denied::AccountClosed => "account_closed",
        domain::Denied::AccountFrozen => "account_frozen",
        domain::Denied::InsufficientCredits { .. } => "insufficient_credits",
        domain::Denied::ExpiryNotInFuture { .. } => "expiry_not_in_future",
        domain::Denied::TooManyOpenLots { .. } => "too_many_open_lots",
        domain::Denied::BalanceLimitExceeded { .. } => "balance_limit_exceeded",
        domain::Denied::HoldExceeded { .. } => "hold_exceeded",
        domain::Denied::HoldExpired { .. } => "hold_expired",
        domain::Denied::HoldClosed { .. } => "hold_closed",
        domain::Denied::HoldLifetimeExceeded { .. } => "hold_lifetime_exceeded",
        domain::Denied::TooManyOpenHolds { .. } => "too_many_open_holds",
        domain::Denied::ReversalExceeded { .. } => "reversal_exceeded",
        domain::Denied::RevocationOutOfRange { .. } => "revocation_out_of_range",
        domain::Denied::HoldNotFound { .. } => "hold_not_found",
        domain::Denied::GrantNotFound { .. } => "grant_not_found",
        domain::Denied::EntryNotFound { .. } => "entry_not_found",
    }
}
