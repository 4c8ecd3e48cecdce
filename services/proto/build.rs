//! Compiles `proto/` at the top of the tree into bindings and a descriptor set, without an installed protoc.
//!
//! The descriptor set keeps the comments, so that reflection shows them to whoever explores the API.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use protox::Compiler;

const ROOT: &str = "../../proto";
const PACKAGE: &str = "tallystick/credits/v1";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={ROOT}/{PACKAGE}");
    let mut compiler = Compiler::new([ROOT])?;
    compiler.include_imports(true).include_source_info(true).open_files(proto_files()?)?;
    // clippy.toml bans the environment for services; a build script has no other way to learn its output folder.
    #[allow(clippy::disallowed_methods)]
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("tallystick.credits.v1.bin"), compiler.encode_file_descriptor_set())?;
    // `bytes(".")`: event bodies and hashes are shared between tasks, never copied.
    tonic_prost_build::configure().bytes(".").compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

fn proto_files() -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(Path::new(ROOT).join(PACKAGE))? {
        files.push(Path::new(PACKAGE).join(entry?.file_name()));
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "proto"));
    files.sort();
    Ok(files)
}
