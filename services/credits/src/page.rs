//! Page tokens: where a list goes on, bound to the query that began it.
//!
//! Promises: a token of another query, or a changed one, is refused and not misread. A token grants no right: every
//! page checks the caller anew. Opaque to callers; its form may change with any version of the service.

use sha2::{Digest, Sha256};

use crate::error::CallError;

/// Bytes of the digest that a token carries: enough that nobody meets another query's by accident.
const DIGEST_BYTES: usize = 16;

/// What a token belongs to: the RPC and everything that decides what its list holds. Not the size of a page, which
/// may change from page to page.
pub(crate) struct PageQuery(Sha256);

impl PageQuery {
    pub(crate) fn new(rpc: &str) -> Self {
        Self(Sha256::new()).text("tallystick.page.v1").text(rpc)
    }

    /// A field of the query.
    pub(crate) fn text(mut self, text: &str) -> Self {
        self.0.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        self.0.update(text.as_bytes());
        self
    }

    /// A number; an absent one differs from every number.
    pub(crate) fn number(self, number: Option<i64>) -> Self {
        match number {
            Some(number) => self.text(&number.to_string()),
            None => self.text("-"),
        }
    }

    /// Numbers of a list, with its length.
    pub(crate) fn numbers(self, numbers: impl ExactSizeIterator<Item = i64>) -> Self {
        let count = self.number(i64::try_from(numbers.len()).ok());
        numbers.fold(count, |query, number| query.number(Some(number)))
    }

    /// The token of the page below a version.
    pub(crate) fn token(&self, before: i64) -> String {
        let mut token = before.to_be_bytes().to_vec();
        token.extend(self.digest(before));
        hex::encode(token)
    }

    /// The version below which the page begins; `None` for the first page, which an empty token asks for.
    ///
    /// # Errors
    /// [`CallError::BadPageToken`].
    pub(crate) fn before(&self, token: &str) -> Result<Option<i64>, CallError> {
        if token.is_empty() {
            return Ok(None);
        }
        let mut bytes = [0; 8 + DIGEST_BYTES];
        hex::decode_to_slice(token, &mut bytes).map_err(|_| CallError::BadPageToken)?;
        let (before, digest) = bytes.split_first_chunk::<8>().ok_or(CallError::BadPageToken)?;
        let before = i64::from_be_bytes(*before);
        if before < 1 || digest != self.digest(before) {
            return Err(CallError::BadPageToken);
        }
        Ok(Some(before))
    }

    fn digest(&self, before: i64) -> [u8; DIGEST_BYTES] {
        let whole: [u8; 32] = self.0.clone().chain_update(before.to_be_bytes()).finalize().into();
        whole.first_chunk().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(account: &str, kinds: &[i64]) -> PageQuery {
        PageQuery::new("ListEntries").text(account).numbers(kinds.iter().copied())
    }

    #[test]
    fn a_token_leads_its_own_query_on_and_no_other() {
        let token = query("a", &[1]).token(17);
        assert_eq!(query("a", &[1]).before(&token).unwrap(), Some(17));
        for other in [query("b", &[1]), query("a", &[]), query("a", &[1, 1])] {
            assert!(matches!(other.before(&token), Err(CallError::BadPageToken)));
        }
        assert_eq!(query("a", &[]).before("").unwrap(), None);
    }

    #[test]
    fn what_is_no_token_or_a_changed_one_is_refused() {
        let token = query("a", &[]).token(17);
        let turned = token.replacen("11", "12", 1);
        let (longer, upside) = (format!("{token}00"), query("a", &[]).token(0));
        for bad in ["x", "00", "\0", "ü", token.get(1..).unwrap(), &turned, &longer, &upside] {
            assert!(matches!(query("a", &[]).before(bad), Err(CallError::BadPageToken)), "{bad}");
        }
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let token = PageQuery::new("L").text("ab").text("c").token(1);
        assert!(PageQuery::new("L").text("a").text("bc").before(&token).is_err());
    }
}
