//! ListUnits: what the catalogue declares.

use proto::v1::{ListUnitsRequest, ListUnitsResponse, UnitDefinition};
use tonic::Request;

use super::CreditRpc;
use crate::caller::Caller;
use crate::error::CallError;
use crate::principal::Scope;

impl CreditRpc {
    pub(super) fn declared_units(
        &self,
        request: &Request<ListUnitsRequest>,
    ) -> Result<ListUnitsResponse, CallError> {
        Caller::with_scope(request, Scope::Read)?;
        let definition = |(unit, scale): (&domain::Unit, u8)| UnitDefinition {
            unit: unit.to_string(),
            scale: i32::from(scale),
        };
        Ok(ListUnitsResponse { units: self.webhooks.catalogue.units().map(definition).collect() })
    }
}
