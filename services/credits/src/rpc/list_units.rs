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
        let definition = |(unit, info): (&domain::Unit, &stripe::UnitInfo)| UnitDefinition {
            unit: unit.to_string(),
            scale: i32::from(info.scale),
            display_name: info.display_name.clone(),
        };
        Ok(ListUnitsResponse { units: self.inbox.catalogue().units().map(definition).collect() })
    }
}
