//! The arrows between the crates are those of docs/architecture.md, and the libraries that must be single are single.
//!
//! Reads `cargo metadata` and Cargo.lock, offline; starts no service and no database.
#![allow(clippy::unwrap_used, reason = "the functions that tests share panic too")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Crate, and what its code may depend on. A dependency that is not here is an arrow that nobody decided on: change
/// the design with the table, or the code.
const ARROWS: [(&str, &[&str]); 15] = [
    ("proto", &[]),
    ("client", &["proto"]),
    ("domain", &[]),
    ("signature", &[]),
    ("postgres", &[]),
    ("trace", &[]),
    ("store", &["trace", "domain"]),
    ("relay", &["store", "domain"]),
    ("stripe", &["store", "domain"]),
    ("credits", &["trace", "proto", "store", "relay", "stripe", "signature", "domain"]),
    ("edge", &["trace", "proto", "signature"]),
    (
        "tallystick",
        &[
            "proto",
            "client",
            "domain",
            "signature",
            "postgres",
            "trace",
            "store",
            "relay",
            "stripe",
            "credits",
            "edge",
        ],
    ),
    ("harness", &["postgres"]),
    // Not the crates that serve: what these want of them they ask the program for. The client is a reader as it is.
    ("chaos", &["harness", "client", "postgres", "proto"]),
    ("black-box", &["harness", "client", "postgres", "proto", "domain", "store", "signature"]),
];

/// Libraries of which a second version would mean two incompatible sets of types or two TLS stacks.
const SINGLE: [&str; 10] =
    ["tonic", "prost", "axum", "hyper", "tower", "rustls", "tokio", "sqlx-core", "ring", "http"];

/// TLS is rustls on ring; the others want a C tool chain or a system library.
const BANNED: [&str; 5] = ["openssl", "openssl-sys", "native-tls", "aws-lc-rs", "aws-lc-sys"];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Without the prefix that all packages but the program's have.
fn short(package: &str) -> &str {
    package.strip_prefix("tallystick-").unwrap_or(package)
}

/// The packages of the workspace: name, and (dependency, kind) of those that are of the workspace too.
fn packages() -> BTreeMap<String, BTreeSet<(String, String)>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).current_dir(workspace());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let listed = metadata["packages"].as_array().unwrap();
    listed.iter().map(|package| (short(text(&package["name"])).to_owned(), inner_arrows(package))).collect()
}

fn inner_arrows(package: &Value) -> BTreeSet<(String, String)> {
    let dependencies = package["dependencies"].as_array().unwrap().iter();
    // What lies in the tree has a path; what comes from a registry has none.
    let inner = dependencies.filter(|dependency| dependency["path"].is_string());
    let kind = |dependency: &Value| dependency["kind"].as_str().unwrap_or("normal").to_owned();
    inner.map(|dependency| (short(text(&dependency["name"])).to_owned(), kind(dependency))).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Name and version of every package in Cargo.lock.
fn locked() -> Vec<(String, String)> {
    let lock = std::fs::read_to_string(workspace().join("Cargo.lock")).unwrap();
    let field = |block: &str, name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(&format!("{name} = \""))).unwrap();
        line.trim_end_matches('"').to_owned()
    };
    lock.split("[[package]]").skip(1).map(|block| (field(block, "name"), field(block, "version"))).collect()
}

#[test]
fn every_arrow_between_crates_is_in_the_table() {
    let table = BTreeMap::from(ARROWS);
    let mut wrong = Vec::new();
    for (package, arrows) in packages() {
        let Some(allowed) = table.get(package.as_str()) else {
            wrong.push(format!("crate {package} is not in the table"));
            continue;
        };
        for (dependency, kind) in arrows {
            // Tests may use the harness everywhere, except that it must not come to depend on itself; and their own crate
            // once more, with the deliberate defects of the mutation gate.
            let is_harness = dependency == "harness" && package != "postgres";
            let in_tests = kind == "dev" && (is_harness || dependency == package);
            if !allowed.contains(&dependency.as_str()) && !in_tests {
                wrong.push(format!("{package} -> {dependency} ({kind})"));
            }
        }
    }
    assert!(wrong.is_empty(), "the table does not have: {}", wrong.join(", "));
}

#[test]
fn every_crate_of_the_table_exists() {
    let packages = packages();
    let missing: Vec<&str> =
        ARROWS.into_iter().map(|(name, _)| name).filter(|name| !packages.contains_key(*name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_rules_know_neither_network_nor_database_nor_time_nor_chance() {
    let foreign = ["tokio", "sqlx", "tonic", "serde_json", "rand", "time", "axum", "hyper"];
    let manifest = std::fs::read_to_string(workspace().join("services/domain/Cargo.toml")).unwrap();
    let (_, after) = manifest.split_once("[dependencies]").unwrap();
    let dependencies = after.split("\n[").next().unwrap();
    for library in foreign {
        let used = dependencies.lines().any(|line| line.split(['.', ' ', '=']).next() == Some(library));
        assert!(!used, "domain depends on {library}");
    }
}

#[test]
fn libraries_whose_types_cross_crates_have_one_version() {
    let locked = locked();
    for library in SINGLE {
        let versions: Vec<&String> =
            locked.iter().filter(|(name, _)| name == library).map(|(_, v)| v).collect();
        assert!(versions.len() < 2, "{library} has versions {versions:?}");
    }
    for library in ["tonic", "prost", "axum", "hyper", "tower", "rustls"] {
        assert!(
            locked.iter().any(|(name, _)| name == library),
            "{library} is not in Cargo.lock: a slip in this test?"
        );
    }
}

#[test]
fn no_other_tls_stack_comes_in() {
    let found: Vec<String> =
        locked().into_iter().map(|(name, _)| name).filter(|name| BANNED.contains(&name.as_str())).collect();
    assert!(found.is_empty(), "{found:?}");
}
