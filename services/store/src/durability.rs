//! What the server does so that a committed transaction survives a crash; shown by `dev`, so that nobody takes a fast
//! but forgetful database for a fast service.

use crate::error::StoreError;
use crate::store::Store;

/// The settings of a connection of this store (PostgreSQL manual, sections 20.5.1 and 20.5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durability {
    /// `on`: writes reach the disk.
    pub fsync: String,
    /// `on`: a page that was half written at a crash is whole after recovery.
    pub full_page_writes: String,
    /// Anything but `off`: a commit is answered once it is on disk.
    pub synchronous_commit: String,
}

impl Durability {
    /// Whether what was acknowledged survives a crash of the server and its machine.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.fsync == "on" && self.full_page_writes == "on" && self.synchronous_commit != "off"
    }
}

impl Store {
    /// Asks the server.
    ///
    /// # Errors
    /// [`StoreError::Database`] when it cannot be reached.
    pub async fn durability(&self) -> Result<Durability, StoreError> {
        let asked = sqlx::query_as!(
            Durability,
            r#"select current_setting('fsync') as "fsync!",
                      current_setting('full_page_writes') as "full_page_writes!",
                      current_setting('synchronous_commit') as "synchronous_commit!""#
        );
        asked.fetch_one(self.pool()).await.map_err(StoreError::during("read durability settings"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_setting_that_is_off_is_enough_to_lose_data() {
        let of = |fsync: &str, pages: &str, commit: &str| {
            let [fsync, full_page_writes, synchronous_commit] = [fsync, pages, commit].map(str::to_owned);
            Durability { fsync, full_page_writes, synchronous_commit }.holds()
        };
        assert!(of("on", "on", "on") && of("on", "on", "remote_apply"));
        assert!(!of("off", "on", "on") && !of("on", "off", "on") && !of("on", "on", "off"));
    }
}
