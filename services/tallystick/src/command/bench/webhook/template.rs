//! The body of a paid checkout's event, made once and filled in for every call: a body is copied, not built, since the
//! generator shares the machine with the service.

use domain::AccountId;
use stripe::Offer;
use stripe::simulate::{CheckoutEvent, SimulatedCheckout};

use crate::error::Error;

/// Where a call's own ids stand in the body that is cut up.
const EVENT: &str = "tallystickEventMark";
const SESSION: &str = "tallystickSessionMark";
const ACCOUNT: &str = "tallystickAccountMark";

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Event,
    Session,
    Account,
}

/// A body with gaps.
#[derive(Debug)]
pub(super) struct Template(Vec<Piece>);

impl Template {
    /// Of purchases of this pack.
    ///
    /// # Errors
    /// [`Error::Bench`] when the marks are no ids any more, which a test rules out.
    pub(super) fn try_new(pack: &Offer, created_s: i64) -> Result<Self, Error> {
        let account = AccountId::try_new(ACCOUNT).map_err(|error| Error::bench(error.to_string()))?;
        let checkout = SimulatedCheckout {
            event: EVENT,
            session: SESSION,
            account: &account,
            pack,
            quantity: 1,
            kind: CheckoutEvent::CompletedPaid,
            created_s,
            livemode: false,
        };
        let body = String::from_utf8(checkout.body()).map_err(|error| Error::bench(error.to_string()))?;
        Ok(Self(cut(&body)))
    }

    /// The body of one event; `id` makes the ids of event, session and payment intent.
    pub(super) fn fill(&self, id: &str, account: &str) -> Vec<u8> {
        let mut body = Vec::with_capacity(4096);
        for piece in &self.0 {
            body.extend_from_slice(match piece {
                Piece::Text(text) => text.as_bytes(),
                Piece::Event | Piece::Session => id.as_bytes(),
                Piece::Account => account.as_bytes(),
            });
        }
        body
    }
}

fn cut(body: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = body;
    let marks = [(EVENT, Piece::Event), (SESSION, Piece::Session), (ACCOUNT, Piece::Account)];
    while let Some((at, mark, piece)) = marks
        .iter()
        .filter_map(|(mark, piece)| rest.find(mark).map(|at| (at, mark.len(), piece.clone())))
        .min_by_key(|(at, ..)| *at)
    {
        pieces.push(Piece::Text(rest[..at].to_owned()));
        pieces.push(piece);
        rest = &rest[at + mark..];
    }
    pieces.push(Piece::Text(rest.to_owned()));
    pieces
}

#[cfg(test)]
mod tests {
    use stripe::Catalogue;

    use super::*;

    #[test]
    fn a_filled_body_is_byte_for_byte_what_the_simulator_makes() {
        let catalogue = Catalogue::dev().unwrap();
        let pack = catalogue.lookup_pack("starter").unwrap();
        let account = AccountId::try_new("bench_7").unwrap();
        let checkout = SimulatedCheckout {
            event: "r1",
            session: "r1",
            account: &account,
            pack,
            quantity: 1,
            kind: CheckoutEvent::CompletedPaid,
            created_s: 1_700_000_000,
            livemode: false,
        };
        let template = Template::try_new(pack, 1_700_000_000).unwrap();
        assert_eq!(template.fill("r1", "bench_7"), checkout.body());
    }
}
