//! The commands, one a file: its arguments, its help, and what it does.

pub(crate) mod balance;
pub(crate) mod batch;
pub(crate) mod bench;
pub(crate) mod check_config;
pub(crate) mod completions;
pub(crate) mod dev;
pub(crate) mod grant;
pub(crate) mod grants;
pub(crate) mod history;
pub(crate) mod key;
pub(crate) mod migrate;
pub(crate) mod serve;
pub(crate) mod simulate;
pub(crate) mod spend;
pub(crate) mod units;
pub(crate) mod watch;
