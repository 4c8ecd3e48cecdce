//! The key of resume tokens, one for all replicas of a database.

use crate::error::StoreError;
use crate::store::Store;

/// 32 bytes that authenticate resume tokens. Never shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenKey([u8; 32]);

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

impl From<[u8; 32]> for TokenKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for TokenKey {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Store {
    /// The key, which the migration made and nothing changes.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn token_key(&self) -> Result<TokenKey, StoreError> {
        const READ: &str = "read the key of resume tokens";
        let key = sqlx::query_scalar!("select token_key from stream_state")
            .fetch_one(self.pool())
            .await
            .map_err(StoreError::during(READ))?;
        let key = <[u8; 32]>::try_from(key).map_err(|_| StoreError::Corrupt("key of resume tokens"))?;
        Ok(TokenKey(key))
    }
}
