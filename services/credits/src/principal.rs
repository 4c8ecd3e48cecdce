//! Who calls, and what they may do. Put into a request by `auth`, read by every RPC.

use std::collections::BTreeSet;
use std::fmt;

use domain::AccountId;

/// Longest id of a principal, in bytes: it stands in every entry that the principal causes.
const MAX_ID_BYTES: usize = 64;
/// Longest account prefix, in bytes: that of an account id.
const MAX_PREFIX_BYTES: usize = domain::MAX_ACCOUNT_ID_BYTES;

/// What a credential may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// GetBalance, BatchGetBalances, the lists, ExplainBalance, QuoteSpend, WatchCredits, WatchCreditSet.
    Read,
    /// GrantCredits and RevokeGrant, alone or in ApplyBatch.
    Grant,
    /// SpendCredits, ReverseSpend and the four writes of holds, alone or in ApplyBatch.
    Spend,
    /// AdjustCredits, alone or in ApplyBatch: credits out of nothing, so apart from what services need.
    Adjust,
    /// ApplyStripeEvent.
    Stripe,
    /// ExportEntries: the journal of all accounts that the credential covers.
    Ledger,
    /// AdminService.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 7] =
        [Self::Read, Self::Grant, Self::Spend, Self::Adjust, Self::Stripe, Self::Ledger, Self::Admin];

    /// Its name in key files and errors.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Grant => "grant",
            Self::Spend => "spend",
            Self::Adjust => "adjust",
            Self::Stripe => "stripe",
            Self::Ledger => "ledger",
            Self::Admin => "admin",
        }
    }

    /// The scope of a name.
    #[must_use]
    pub fn lookup(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a principal cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrincipalError {
    /// The id is empty, too long or has other characters.
    #[error("must be 1 to 64 letters, digits and . _ : @ / + -")]
    Id,
    /// The id is the one that settlements have in the journal.
    #[error("must not be tallystick, which is the service's own name")]
    ReservedId,
    /// The prefix is empty, too long or has characters that no account has.
    #[error("must be 1 to 128 letters, digits and . _ : @ / + -")]
    Prefix,
}

/// The accounts that a credential covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounts(Range);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Range {
    All,
    Account(AccountId),
    Prefix(String),
}

impl Accounts {
    /// Every account.
    #[must_use]
    pub const fn all() -> Self {
        Self(Range::All)
    }

    /// One account.
    #[must_use]
    pub const fn account(account: AccountId) -> Self {
        Self(Range::Account(account))
    }

    /// The accounts whose ids start with a text.
    ///
    /// # Errors
    /// [`PrincipalError::Prefix`] when no account could start with it, or every one does.
    pub fn try_prefix(prefix: impl Into<String>) -> Result<Self, PrincipalError> {
        let prefix = prefix.into();
        if (1..=MAX_PREFIX_BYTES).contains(&prefix.len()) && is_plain(&prefix) {
            Ok(Self(Range::Prefix(prefix)))
        } else {
            Err(PrincipalError::Prefix)
        }
    }

    /// Whether every account whose id starts with a text is among them; every id starts with the empty one.
    #[must_use]
    pub fn cover_prefix(&self, text: &str) -> bool {
        match &self.0 {
            Range::All => true,
            // Others may start with it, too.
            Range::Account(_) => false,
            Range::Prefix(prefix) => text.starts_with(prefix.as_str()),
        }
    }

    /// Whether an account is among them.
    #[must_use]
    pub fn cover(&self, account: &AccountId) -> bool {
        match &self.0 {
            Range::All => true,
            Range::Account(own) => own == account,
            Range::Prefix(prefix) => account.as_str().starts_with(prefix.as_str()),
        }
    }
}

/// A caller whose credential was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    id: String,
    scopes: BTreeSet<Scope>,
    accounts: Accounts,
}

impl Principal {
    /// # Errors
    /// [`PrincipalError`] for an unusable id.
    pub fn try_new(
        id: impl Into<String>,
        scopes: impl IntoIterator<Item = Scope>,
        accounts: Accounts,
    ) -> Result<Self, PrincipalError> {
        let id = id.into();
        if !(1..=MAX_ID_BYTES).contains(&id.len()) || !is_plain(&id) {
            return Err(PrincipalError::Id);
        }
        if id == "tallystick" {
            return Err(PrincipalError::ReservedId);
        }
        Ok(Self { id, scopes: scopes.into_iter().collect(), accounts })
    }

    /// The caller of a service that asks for no credentials: `dev`, or `serve --insecure-no-auth`. May do
    /// everything.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { id: "anonymous".to_owned(), scopes: Scope::ALL.into(), accounts: Accounts::all() }
    }

    /// Its name: the actor of the entries that it causes.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether it has a scope.
    #[must_use]
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether its credential covers every account whose id starts with a text.
    #[must_use]
    pub fn covers_prefix(&self, text: &str) -> bool {
        self.accounts.cover_prefix(text)
    }

    /// Whether its credential covers an account.
    #[must_use]
    pub fn covers(&self, account: &AccountId) -> bool {
        self.accounts.cover(account)
    }
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:@/+-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(text: &str) -> AccountId {
        AccountId::try_new(text).unwrap()
    }

    #[test]
    fn a_prefix_covers_what_starts_with_it_and_an_account_only_itself() {
        let prefix = Accounts::try_prefix("team_").unwrap();
        assert!(prefix.cover(&account("team_1")) && prefix.cover(&account("team_")));
        assert!(!prefix.cover(&account("team")) && !prefix.cover(&account("xteam_1")));
        let one = Accounts::account(account("a"));
        assert!(one.cover(&account("a")) && !one.cover(&account("ab")));
        assert!(Accounts::all().cover(&account("x")));
    }

    #[test]
    fn what_starts_with_a_text_is_covered_only_when_all_of_it_is() {
        let prefix = Accounts::try_prefix("team_").unwrap();
        assert!(prefix.cover_prefix("team_") && prefix.cover_prefix("team_1"));
        assert!(!prefix.cover_prefix("") && !prefix.cover_prefix("team"));
        assert!(!Accounts::account(account("a")).cover_prefix("a"));
        assert!(Accounts::all().cover_prefix(""));
    }

    #[test]
    fn a_prefix_that_covers_everything_or_nothing_is_refused() {
        for bad in ["", "a b", "ü", "a\0", &"a".repeat(129)] {
            assert_eq!(Accounts::try_prefix(bad), Err(PrincipalError::Prefix), "{bad:?}");
        }
    }

    #[test]
    fn ids_are_plain_and_never_the_services_own() {
        let new = |id: &str| Principal::try_new(id, [Scope::Read], Accounts::all());
        for bad in ["", "a b", "a\n", &"a".repeat(65)] {
            assert_eq!(new(bad), Err(PrincipalError::Id), "{bad:?}");
        }
        assert_eq!(new("tallystick"), Err(PrincipalError::ReservedId));
        let reader = new("bff").unwrap();
        assert!(reader.has(Scope::Read) && !reader.has(Scope::Grant));
    }

    #[test]
    fn scope_names_are_read_back() {
        for scope in Scope::ALL {
            assert_eq!(Scope::lookup(scope.name()), Some(scope));
        }
        assert_eq!(Scope::lookup("Read"), None);
    }
}
