//! What can go wrong in the program, by what its user has to do about it. Messages name the flag or the file.
//! Never carries a secret or a database URL.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::client::CallError;

/// Why a command ended without having done its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A flag, a variable or a file has a value that cannot be used. Exit code 2.
    #[error("{setting} {problem}")]
    Config {
        /// The flag, such as `--roles`.
        setting: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A file that a flag names cannot be used. Exit code 2.
    #[error("{setting} {}: {problem}", path.display())]
    File {
        /// The flag.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {addr} ({flag}): {source}")]
    Bind {
        /// The flag that sets it.
        flag: &'static str,
        /// The address.
        addr: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The embedded PostgreSQL cannot be had or started.
    #[error(transparent)]
    Postgres(#[from] postgres::Error),
    /// The database cannot be used.
    #[error("the database cannot be used ({setting})")]
    Database {
        /// The flag that names it.
        setting: &'static str,
        /// Why not.
        #[source]
        source: store::StoreError,
    },
    /// A role did not become ready, or ended by itself.
    #[error("{role} {problem}")]
    Role {
        /// Which one.
        role: &'static str,
        /// What happened.
        problem: String,
    },
    /// A call was refused or could not be made.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A watch ended by something else than a refusal: the service broke its contract.
    #[error(transparent)]
    Watch(Box<client::WatchError>),
    /// Not every simulated event was accepted.
    #[error("{failed} of {total} deliveries were not accepted")]
    NotDelivered {
        /// How many were not answered with 2xx.
        failed: usize,
        /// How many there were.
        total: usize,
        /// What the last one's answer suggests.
        hint: Option<&'static str>,
    },
    /// Not every command of a batch was done.
    #[error("{failed} of {total} commands were not done")]
    NotApplied {
        /// How many were refused or could not be tried.
        failed: u64,
        /// How many there were.
        total: u64,
    },
    /// A ledger or an exported journal does not add up.
    #[error("{0}")]
    NotVerified(Box<domain::Difference>),
    /// A load run could not be made, or found a fault.
    #[error("{problem}")]
    Bench {
        /// What happened.
        problem: String,
        /// What to do next.
        hint: Option<&'static str>,
    },
    /// The operating system refused something.
    #[error("could not {action}")]
    Io {
        /// What was being done, as a verb and its object.
        action: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// For `map_err`: an [`Error::Io`] that names what was being done.
    pub(crate) fn io(action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, source }
    }

    /// An [`Error::Bench`] about which there is no more to say.
    pub(crate) fn bench(problem: String) -> Self {
        Self::Bench { problem, hint: None }
    }

    /// 2 for what the user wrote wrongly, 1 for everything else.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Config { .. } | Self::File { .. } => 2,
            _ => 1,
        }
    }

    /// What to do next, where there is more to say than the message does.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Call(error) => error.hint(),
            Self::Watch(_) => Some(
                "do not build on what was shown: `tallystick history` reads the journal itself".to_owned(),
            ),
            Self::NotDelivered { hint, .. } | Self::Bench { hint, .. } => hint.map(str::to_owned),
            Self::NotApplied { .. } => Some(
                "the same file can be sent again: what was done is not done twice (same keys)".to_owned(),
            ),
            Self::NotVerified(_) => Some(
                "nothing before it differs; keep the database and the log as they are and find out who wrote there: \
                 docs/operations.md, Verify"
                    .to_owned(),
            ),
            Self::Bind { flag, addr, source } if source.kind() == std::io::ErrorKind::AddrInUse => {
                let ip = addr.ip();
                Some(format!(
                    "stop the program that uses it, or pass another port: {flag} {ip}:0 takes a free one"
                ))
            }
            Self::Bind { flag, addr, source } if source.kind() == std::io::ErrorKind::AddrNotAvailable => {
                Some(format!("{} is not an address of this machine: pass another one with {flag}", addr.ip()))
            }
            Self::Database { .. } => Some(
                "check that PostgreSQL runs and is a primary, that the URL is right, and that its role may log in"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_wrote_wrongly_ends_with_2_and_a_failure_with_1() {
        let config = Error::Config { setting: "--roles", problem: "is empty".to_owned() };
        assert_eq!((config.exit_code(), config.to_string()), (2, "--roles is empty".to_owned()));
        assert_eq!(Error::NotDelivered { failed: 1, total: 2, hint: None }.exit_code(), 1);
    }

    #[test]
    fn a_port_in_use_names_the_flag_and_the_way_out() {
        let source = std::io::Error::from(std::io::ErrorKind::AddrInUse);
        let error =
            Error::Bind { flag: "--grpc-addr", addr: SocketAddr::from(([127, 0, 0, 1], 7070)), source };
        assert!(error.to_string().starts_with("cannot listen on 127.0.0.1:7070 (--grpc-addr)"));
        assert!(error.hint().unwrap().contains("--grpc-addr 127.0.0.1:0"));
    }
}
