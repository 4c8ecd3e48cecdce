//! The program under test: `target/<profile>/tallystick` beside the test's own executable, brought up to date first.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The path of the program. The first call of a process has cargo build it, which takes a moment when it is fresh;
/// `cargo test` does not build programs for the tests of other packages, so that it may be absent or old. Other test
/// processes wait for cargo's own lock. Blocks.
///
/// `TALLYSTICK_TEST_PROGRAM` names another program, which is then taken as it is.
///
/// # Panics
/// When it cannot be built, with what the compiler said.
pub fn program() -> &'static PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| std::env::var_os("TALLYSTICK_TEST_PROGRAM").map_or_else(built, PathBuf::from))
}

fn built() -> PathBuf {
    let own = std::env::current_exe().expect("the path of the test");
    // target/<profile>/deps/<test>, or target/<profile>/<program>
    let dir = own.parent().expect("a program lies in a directory");
    let profile_dir = if dir.ends_with("deps") { dir.parent() } else { Some(dir) };
    let profile_dir = profile_dir.expect("a test lies in target/<profile>/deps");
    let target_dir = profile_dir.parent().expect("a profile lies in a target directory");
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // Not `-p tallystick`: with the default members, as for `cargo build`, cargo unites the same features and so
    // compiles no dependency a second time.
    command.args(["build", "--bin", "tallystick", "--profile", profile, "--target-dir"]).arg(target_dir);
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).env("CARGO_TERM_COLOR", "never");
    // What cargo tells a test of its package is no news for a build, but makes build scripts that look at it run
    // again, and with ring's half of all dependencies.
    for (name, _) in std::env::vars_os() {
        let is_of_test = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_")
                || name.starts_with("CARGO_MANIFEST_")
                || name == "CARGO_CRATE_NAME"
        });
        if is_of_test {
            command.env_remove(name);
        }
    }
    let output = command.output().expect("run cargo");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the program cannot be built:\n{said}");
    profile_dir.join("tallystick")
}
