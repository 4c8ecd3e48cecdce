//! Values that come from files, variables and flags, read and checked before anything starts.

pub(crate) mod address;
pub(crate) mod catalogue_file;
pub(crate) mod data_dir;
pub(crate) mod listen;
pub(crate) mod pairs;
pub(crate) mod secret_file;
pub(crate) mod span;
pub(crate) mod text_file;
pub(crate) mod webhook_secrets;
