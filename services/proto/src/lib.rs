//! Tallystick's gRPC API in Rust: generated messages, client and server, and the descriptor set for reflection.
//!
//! Promises: what `proto/` says, nothing more; `docs/api.md` explains it. Must not know: any rule about credits,
//! the database, or how a call is served.

mod code;
mod reason;

pub use code::{CODES, code_name};
pub use reason::ERROR_DOMAIN;

/// Package `tallystick.credits.v1`.
// The lints are the generator's business; the comments are those of the .proto files, which are not Rust markup.
#[allow(missing_docs, unreachable_pub, clippy::all, rustdoc::all)]
pub mod v1 {
    tonic::include_proto!("tallystick.credits.v1");
}

/// The encoded `google.protobuf.FileDescriptorSet` of the package and its imports, with comments; for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("tallystick.credits.v1");
