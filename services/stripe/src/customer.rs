//! A deleted customer as a fact: `customer.deleted`.

use serde::Deserialize;
use store::Fact;

use crate::event::ReadOptions;
use crate::payment::{id, parse};
use crate::reason;
use crate::view::Field;

#[derive(Deserialize)]
struct View {
    #[serde(default)]
    id: Field<String>,
}

/// Reads the JSON text of a customer.
pub(crate) fn read(json: &str, options: &ReadOptions<'_>) -> Result<Fact, &'static str> {
    let view: View = parse(json, "customer", options)?;
    Ok(Fact::CustomerGone { customer: id(view.id, reason::CUSTOMER_UNUSABLE)? })
}
