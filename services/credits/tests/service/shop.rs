//! A month of one shop, simulated: purchases, delayed payments, renewals, refunds that fail later, disputes that are lost and
//! then won. The same month happens to several customers; the events of all come shuffled, twice, under other ids, or
//! dropped at first. Each customer must end with what a plain sum says.
//!
//! By hand: `TALLYSTICK_SHOP_SEED=7 TALLYSTICK_SHOP_MONTHS=20 cargo test -p tallystick-credits --test service shop`.

use std::sync::Arc;
use std::time::Duration;

use credits::ServerConfig;
use domain::AccountId;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use stripe::Catalogue;
use stripe::simulate::{CheckoutEvent, SimulatedCheckout};

use crate::served::{Served, balance_of, config, served_with, signed};
use crate::stripe_money::event;
use crate::subscriptions::now_s;

/// Customers of a month: as many orders of its events.
const CUSTOMERS: usize = 4;
/// Every event that waits for another must find it within this.
const PATIENCE: Duration = Duration::from_secs(60);

/// A plan whose credits end with the subscription, beside those of `dev`.
const MORE: &str = "[[plans]]\nid = \"team\"\ncredits = 777\ncurrency = \"usd\"\nunit_amount = 900\n\
                    stripe_prices = [\"price_team\"]\nat_end = \"expire\"\n";

fn catalogue() -> Catalogue {
    Catalogue::parse(&format!("{}\n{MORE}", include_str!("../../../stripe/src/catalogue/dev.toml"))).unwrap()
}

/// What is bought in a month, without the customer.
struct Month {
    sales: Vec<Sale>,
    /// The subscription to plan `team` has ended in it.
    is_ended: bool,
}

struct Sale {
    kind: Kind,
    credits: i64,
    captured: i64,
    /// Amount, and whether it fails in the end.
    refunds: Vec<(i64, bool)>,
    /// Amount, what comes back of it, and whether it is only an inquiry.
    disputes: Vec<(i64, i64, bool)>,
}

enum Kind {
    Session { pack: &'static str, quantity: i64, paid: Paid },
    Invoice { price: &'static str, is_ended: bool },
}

#[derive(Clone, Copy, PartialEq)]
enum Paid {
    AtOnce,
    Later,
    Never,
}

fn month(rng: &mut StdRng) -> Month {
    let is_ended = rng.random_bool(0.5);
    let mut sales = Vec::new();
    for _ in 0..rng.random_range(2..6) {
        let (pack, credits, price) =
            if rng.random_bool(0.5) { ("starter", 1000, 1000) } else { ("studio", 5500, 5000) };
        let quantity = rng.random_range(1..4);
        let paid = *[Paid::AtOnce, Paid::AtOnce, Paid::Later, Paid::Never]
            .get(rng.random_range(0..4_usize))
            .unwrap();
        let kind = Kind::Session { pack, quantity, paid };
        sales.push(sale(rng, kind, credits * quantity, price * quantity));
    }
    for (price, credits, amount) in [("price_tallystick_pro", 5000, 3900), ("price_team", 777, 900)] {
        let kind = Kind::Invoice { price, is_ended: is_ended && price == "price_team" };
        sales.push(sale(rng, kind, credits, amount));
    }
    Month { sales, is_ended }
}

fn sale(rng: &mut StdRng, kind: Kind, credits: i64, captured: i64) -> Sale {
    let is_paid = !matches!(kind, Kind::Session { paid: Paid::Never, .. });
    let count = |rng: &mut StdRng| if is_paid { rng.random_range(0..3) } else { 0 };
    let refunds = (0..count(rng)).map(|_| (rng.random_range(1..=captured), rng.random_bool(0.4))).collect();
    let dispute = |rng: &mut StdRng| {
        let amount = rng.random_range(1..=captured);
        let back = *[0, amount, amount / 2].get(rng.random_range(0..3_usize)).unwrap();
        (amount, back, rng.random_bool(0.2))
    };
    let disputes = (0..count(rng)).map(|_| dispute(rng)).collect();
    Sale { kind, credits, captured, refunds, disputes }
}

impl Sale {
    /// What the customer has of it in the end, by a plain sum.
    fn kept(&self) -> i64 {
        match self.kind {
            Kind::Session { paid: Paid::Never, .. } | Kind::Invoice { is_ended: true, .. } => return 0,
            Kind::Session { .. } | Kind::Invoice { .. } => {}
        }
        let refunds = self.refunds.iter().filter(|(_, fails)| !fails).map(|(amount, _)| amount);
        let disputes = self.disputes.iter().filter(|(_, _, is_inquiry)| !is_inquiry);
        let lost: i64 = refunds.sum::<i64>() + disputes.map(|(amount, back, _)| amount - back).sum::<i64>();
        let revoked = (2 * self.credits * lost.min(self.captured) + self.captured) / (2 * self.captured);
        self.credits - revoked.min(self.credits)
    }

    /// The events, in the order in which they happen; `n` is the customer's and the sale's own name.
    fn events(&self, account: &str, n: &str) -> Vec<Value> {
        let mut events = match &self.kind {
            Kind::Session { pack, quantity, paid } => session(account, n, pack, *quantity, *paid),
            Kind::Invoice { price, .. } => invoice(account, n, price, self.captured),
        };
        let payment = |mut object: Value| {
            object["payment_intent"] = json!(format!("pi_{n}"));
            object["charge"] = json!(format!("ch_{n}"));
            object["currency"] = json!("usd");
            object
        };
        for (i, (amount, fails)) in self.refunds.iter().enumerate() {
            let states: &[&str] =
                if *fails { &["pending", "succeeded", "failed"] } else { &["pending", "succeeded"] };
            for state in states {
                let id = format!("re_{n}_{i}");
                let refund = json!({ "id": id, "object": "refund", "amount": amount, "status": state });
                let name = if *state == "pending" { "refund.created" } else { "refund.updated" };
                events.push(json!([name, payment(refund)]));
            }
            let charge =
                json!({ "id": format!("ch_{n}"), "object": "charge", "payment_intent": format!("pi_{n}") });
            events.push(json!(["charge.refunded", charge]));
        }
        for (i, (amount, back, is_inquiry)) in self.disputes.iter().enumerate() {
            let id = format!("dp_{n}_{i}");
            // Settled in another currency, with a fee in the net.
            let moved = |id: &str, amount: i64| json!({ "id": format!("txn_{n}_{i}_{id}"), "amount": amount * 7, "net": amount * 7 - 1500 });
            let told = |status: &str, transactions: Vec<Value>| {
                payment(json!({ "id": id, "object": "dispute", "amount": amount, "status": status,
                                "balance_transactions": transactions }))
            };
            if *is_inquiry {
                events.push(json!(["charge.dispute.created", told("warning_needs_response", vec![])]));
                events.push(json!(["charge.dispute.closed", told("warning_closed", vec![])]));
                continue;
            }
            let (out, back_in) = (moved("out", -amount), moved("in", *back));
            events.push(json!(["charge.dispute.created", told("needs_response", vec![])]));
            events.push(json!(["charge.dispute.funds_withdrawn", told("needs_response", vec![out.clone()])]));
            events.push(json!(["charge.dispute.closed", told("lost", vec![out.clone()])]));
            if *back > 0 {
                events.push(json!(["charge.dispute.closed", told("won", vec![out.clone()])]));
                events.push(json!(["charge.dispute.funds_reinstated", told("won", vec![out, back_in])]));
            }
        }
        events
    }
}

fn session(account: &str, n: &str, pack: &str, quantity: i64, paid: Paid) -> Vec<Value> {
    let catalogue = catalogue();
    let account = AccountId::try_new(account).unwrap();
    let told = |event_type: &str, kind: CheckoutEvent, status: &str| {
        let simulated = SimulatedCheckout {
            event: "x",
            session: n,
            account: &account,
            pack: catalogue.lookup_pack(pack).unwrap(),
            quantity,
            kind,
            created_s: now_s(),
            livemode: false,
        };
        let mut object = serde_json::from_slice::<Value>(&simulated.body()).unwrap()["data"]["object"].take();
        object["payment_status"] = json!(status);
        json!([event_type, object])
    };
    let completed = |status| told("checkout.session.completed", CheckoutEvent::CompletedPaid, status);
    let later = |name, status| told(name, CheckoutEvent::AsyncPaymentSucceeded, status);
    match paid {
        Paid::AtOnce => vec![completed("paid")],
        Paid::Later => vec![completed("unpaid"), later("checkout.session.async_payment_succeeded", "paid")],
        Paid::Never => vec![
            completed("unpaid"),
            later("checkout.session.async_payment_failed", "unpaid"),
            later("checkout.session.expired", "unpaid"),
        ],
    }
}

/// A subscription of the customer, its first invoice and what paid for that.
fn invoice(account: &str, n: &str, price: &str, captured: i64) -> Vec<Value> {
    let (start, end) = (now_s() - 3600, now_s() + 30 * 86_400);
    let session = json!({ "id": format!("cs_{n}"), "object": "checkout.session", "mode": "subscription",
                          "customer": format!("cus_{n}"), "subscription": format!("sub_{n}"),
                          "metadata": { "tallystick_account": account } });
    let invoice = json!({ "id": format!("in_{n}"), "object": "invoice", "customer": format!("cus_{n}"),
        "parent": { "subscription_details": { "subscription": format!("sub_{n}") } },
        "billing_reason": "subscription_create", "amount_paid": captured, "currency": "usd",
        "lines": { "has_more": false, "data": [{ "id": "il_1", "amount": captured, "quantity": 1,
            "period": { "start": start, "end": end }, "pricing": { "price_details": { "price": price } } }] } });
    let payment = json!({ "id": format!("inpay_{n}"), "object": "invoice_payment", "invoice": format!("in_{n}"),
                          "payment": { "type": "payment_intent", "payment_intent": format!("pi_{n}") } });
    vec![
        json!(["invoice.paid", invoice]),
        json!(["invoice.payment_succeeded", invoice]),
        json!(["invoice_payment.paid", payment]),
        json!(["checkout.session.completed", session]),
    ]
}

impl Month {
    fn events(&self, customer: usize) -> Vec<Value> {
        let account = format!("customer_{customer}");
        let mut events = Vec::new();
        for (i, sale) in self.sales.iter().enumerate() {
            let n = format!("{customer}_{i}");
            events.extend(sale.events(&account, &n));
            if let Kind::Invoice { price, .. } = sale.kind {
                let subscription = |status: &str| {
                    json!({ "id": format!("sub_{n}"), "object": "subscription", "customer": format!("cus_{n}"),
                            "status": status, "items": { "data": [{ "price": { "id": price } }] } })
                };
                events.push(json!(["customer.subscription.updated", subscription("active")]));
                if self.is_ended {
                    events.push(json!(["customer.subscription.deleted", subscription("canceled")]));
                }
            }
        }
        events
    }
}

async fn available(served: &Served, customer: usize) -> i64 {
    let mut request = balance_of("user_1");
    request.account_id = format!("customer_{customer}");
    served.client().get_balance(request).await.unwrap().into_inner().balance.unwrap().available
}

async fn happen(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let month = month(&mut rng);
    let served = served_with(ServerConfig { catalogue: Arc::new(catalogue()), ..config() }).await;
    let mut deliveries: Vec<Vec<u8>> = Vec::new();
    for customer in 0..CUSTOMERS {
        for (i, told) in month.events(customer).into_iter().enumerate() {
            let body = |again: &str| {
                event(&format!("evt_{customer}_{i}{again}"), told[0].as_str().unwrap(), &told[1])
            };
            deliveries.push(body(""));
            match rng.random_range(0..6) {
                0 => deliveries.push(body("")),
                1 => deliveries.push(body("_other")),
                _ => {}
            }
        }
    }
    deliveries.shuffle(&mut rng);
    // Some are on their way at once.
    for at_once in deliveries.chunks(6) {
        let calls = at_once.iter().map(|body| {
            let mut client = served.client();
            let request = signed(body.clone());
            async move { client.apply_stripe_event(request).await.unwrap() }
        });
        futures::future::join_all(calls).await;
    }
    harness::eventually("nothing waits any more", PATIENCE, || async {
        served.count("stripe_events where state = 3").await == 0
    })
    .await;
    let expected: i64 = month.sales.iter().map(Sale::kept).sum();
    for customer in 0..CUSTOMERS {
        assert_eq!(available(&served, customer).await, expected, "seed {seed}, customer {customer}");
    }
    let is_paid = |sale: &&Sale| !matches!(sale.kind, Kind::Session { paid: Paid::Never, .. });
    let grants = i64::try_from(month.sales.iter().filter(is_paid).count() * CUSTOMERS).unwrap();
    assert_eq!(served.count("entries where kind = 1").await, grants, "each sale grants once");
    assert_eq!(served.count("stripe_event_waits").await, 0);
    harness::assert_invariants(served.database.pool()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_of_a_shop_ends_the_same_in_any_order_of_its_events() {
    let number = |name: &str, default: u64| {
        #[allow(clippy::disallowed_methods, reason = "a test has no flags")]
        std::env::var(name).map_or(default, |text| text.parse().unwrap())
    };
    let seed = number("TALLYSTICK_SHOP_SEED", 1);
    for seed in seed..seed + number("TALLYSTICK_SHOP_MONTHS", 3) {
        eprintln!("seed {seed}");
        happen(seed).await;
    }
}
