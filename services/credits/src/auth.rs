//! The layer that turns a credential into a [`Principal`]: metadata key `authorization`, `Bearer <key>`.
//!
//! Promises: behind it every request has a principal; a refusal says nothing about which keys exist. Must not know:
//! which RPC is called; scopes and accounts are checked there.

use std::sync::Arc;

use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::error::CallError;
use crate::keys::{ApiKey, KeyRing};
use crate::principal::Principal;

/// How callers are known.
#[derive(Debug, Clone)]
pub enum Authentication {
    /// By an API key.
    Keys(Arc<KeyRing>),
    /// Not at all: everybody is this principal. For `dev` and `--insecure-no-auth`.
    None {
        /// Who everybody is.
        principal: Arc<Principal>,
    },
}

impl Authentication {
    fn principal(&self, metadata: &MetadataMap) -> Result<Arc<Principal>, CallError> {
        let ring = match self {
            Self::Keys(ring) => ring,
            Self::None { principal } => return Ok(Arc::clone(principal)),
        };
        let mut values = metadata.get_all("authorization").iter();
        let value = values.next().ok_or(CallError::CredentialMissing)?;
        if values.next().is_some() {
            return Err(CallError::CredentialInvalid);
        }
        let text = value.to_str().map_err(|_| CallError::CredentialInvalid)?;
        // The scheme is case-insensitive (RFC 9110, section 11.1).
        let (scheme, key) = text.split_once(' ').ok_or(CallError::CredentialInvalid)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(CallError::CredentialInvalid);
        }
        let key = ApiKey::lookup(key.trim()).ok_or(CallError::CredentialInvalid)?;
        ring.lookup(&key).ok_or(CallError::CredentialInvalid)
    }
}

impl Interceptor for Authentication {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let principal = self.principal(request.metadata())?;
        tracing::Span::current().record("principal", principal.id());
        request.extensions_mut().insert(principal);
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn authentication() -> Authentication {
        let hash = ApiKey::new([7; 32]).hash();
        let file = format!("[[keys]]\nid = \"billing\"\nhash = \"{hash}\"\nscopes = [\"read\"]\n");
        Authentication::Keys(Arc::new(KeyRing::parse(&file).unwrap()))
    }

    fn called(values: &[&str]) -> Result<String, Code> {
        let mut request = Request::new(());
        for value in values {
            request.metadata_mut().append("authorization", value.parse().unwrap());
        }
        let answer = authentication().call(request);
        answer.map(|r| r.extensions().get::<Arc<Principal>>().unwrap().id().to_owned()).map_err(|s| s.code())
    }

    #[test]
    fn a_known_key_becomes_its_principal() {
        let key = ApiKey::new([7; 32]).text();
        assert_eq!(called(&[&format!("Bearer {key}")]), Ok("billing".to_owned()));
        assert_eq!(called(&[&format!("bearer {key}")]), Ok("billing".to_owned()));
    }

    #[test]
    fn anything_else_is_unauthenticated() {
        let key = ApiKey::new([7; 32]).text();
        let good = format!("Bearer {key}");
        let other = format!("Bearer {}", ApiKey::new([8; 32]).text());
        let basic = format!("Basic {key}");
        for bad in [&[][..], &[""], &["Bearer"], &["Bearer "], &[&key], &[&other], &[&basic], &[&good, &good]]
        {
            assert_eq!(called(bad), Err(Code::Unauthenticated), "{bad:?}");
        }
    }

    #[test]
    fn without_authentication_everybody_is_the_given_principal() {
        let mut open = Authentication::None { principal: Arc::new(Principal::anonymous()) };
        let request = open.call(Request::new(())).unwrap();
        assert_eq!(request.extensions().get::<Arc<Principal>>().unwrap().id(), "anonymous");
    }
}
