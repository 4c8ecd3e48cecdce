//! Holds `docs/api.md` and the .proto files together: what is declared is documented as built, under its number
//! and type, and what is reserved is documented as planned. Nothing else may stand in the page.
//!
//! Must not know: any RPC, message or reason by name.

#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, but sees only test functions as such"
)]

#[path = "documented/declared.rs"]
mod declared;
#[path = "documented/page.rs"]
mod page;

use std::collections::{BTreeMap, BTreeSet};

use declared::{Declared, Kind};
use page::{Page, Status};

const PAGE: &str = include_str!("../../../docs/api.md");

/// Types of rows that are no message or enum of ours.
const OTHER_TYPES: [&str; 9] =
    ["string", "int64", "int32", "sint64", "bool", "bytes", "Timestamp", "Duration", "FieldMask"];

fn sides() -> (Vec<Declared>, Page) {
    (declared::types(), page::parse(PAGE))
}

fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn every_declared_member_is_documented_as_built_with_its_number_and_type() {
    let (types, page) = sides();
    let mut complaints = Vec::new();
    for declared in &types {
        let Some(section) = page.sections.get(&declared.name) else {
            complaints.push(format!("{} has no section", declared.name));
            continue;
        };
        for (number, member) in &declared.members {
            let found = section.rows.iter().any(|row| {
                row.number == *number
                    && row.name == member.name
                    && row.status == Status::Built
                    && (declared.kind == Kind::Enum || row.type_name == member.type_name)
            });
            if !found {
                let Declared { name, .. } = declared;
                complaints
                    .push(format!("{name}: no built row {number} {} {}", member.name, member.type_name));
            }
        }
    }
    assert_none(&complaints);
}

#[test]
fn every_built_row_is_declared() {
    let (types, page) = sides();
    let by_name: BTreeMap<_, _> = types.iter().map(|declared| (&declared.name, declared)).collect();
    let mut complaints = Vec::new();
    for (name, section) in &page.sections {
        let declared = by_name.get(name);
        if (section.status == Status::Built) != declared.is_some() {
            complaints.push(format!("{name}: its heading's status is wrong"));
        }
        for row in section.rows.iter().filter(|row| row.status == Status::Built) {
            if declared.and_then(|declared| declared.members.get(&row.number)).is_none() {
                complaints.push(format!("{name}: row {} {} is not declared", row.number, row.name));
            }
        }
    }
    assert_none(&complaints);
}

#[test]
fn what_is_planned_in_a_declared_type_is_what_it_reserves() {
    let (types, page) = sides();
    let mut complaints = Vec::new();
    for declared in &types {
        let rows =
            page.sections.get(&declared.name).map(|section| section.rows.as_slice()).unwrap_or_default();
        let planned: Vec<_> = rows.iter().filter(|row| row.status == Status::Planned).collect();
        let numbers: BTreeSet<i32> = planned.iter().map(|row| row.number).collect();
        let names: BTreeSet<String> = planned.iter().map(|row| row.name.clone()).collect();
        if numbers != declared.reserved_numbers {
            let reserved = &declared.reserved_numbers;
            complaints.push(format!("{}: planned {numbers:?}, reserved {reserved:?}", declared.name));
        }
        if names != declared.reserved_names {
            let reserved = &declared.reserved_names;
            complaints.push(format!("{}: planned {names:?}, reserved {reserved:?}", declared.name));
        }
    }
    assert_none(&complaints);
}

#[test]
fn no_section_uses_a_number_or_name_twice_and_every_type_has_a_section() {
    let page = page::parse(PAGE);
    let mut complaints = page.complaints.clone();
    for (name, section) in &page.sections {
        let (mut numbers, mut names) = (BTreeSet::new(), BTreeSet::new());
        for row in &section.rows {
            if !numbers.insert(row.number) || !names.insert(&row.name) {
                complaints.push(format!("{name}: {} {} stands there twice", row.number, row.name));
            }
            let base = row.type_name.trim_start_matches("repeated ").trim_start_matches("optional ");
            let known = base.is_empty()
                || base.starts_with("map<")
                || OTHER_TYPES.contains(&base)
                || page.sections.contains_key(base);
            if !known {
                complaints.push(format!("{name}.{}: type {base} has no section", row.name));
            }
        }
    }
    assert_none(&complaints);
}

#[test]
fn every_rpc_is_documented_in_its_status_and_has_its_two_messages() {
    let page = page::parse(PAGE);
    let declared = declared::rpcs();
    let built: BTreeMap<String, String> = page
        .rpcs
        .iter()
        .filter(|rpc| rpc.status == Status::Built)
        .map(|rpc| (rpc.name.clone(), rpc.kind.clone()))
        .collect();
    assert_eq!(built, declared);
    let mut complaints = Vec::new();
    for rpc in &page.rpcs {
        let method = rpc.name.split('.').nth(1).unwrap_or_default();
        for message in [format!("{method}Request"), format!("{method}Response")] {
            if !page.sections.contains_key(&message) {
                complaints.push(format!("{} needs a section {message}", rpc.name));
            }
        }
    }
    assert_none(&complaints);
}

#[test]
fn every_reason_shows_an_example_status_and_the_page_agrees() {
    let page = page::parse(PAGE);
    let mut complaints = Vec::new();
    for reason in declared::reasons() {
        let example: serde_json::Value = match serde_json::from_str(&reason.example) {
            Ok(example) => example,
            Err(error) => {
                complaints.push(format!("{}: its example is not JSON: {error}", reason.name));
                continue;
            }
        };
        let row = page.reasons.get(&reason.name).cloned().unwrap_or_default();
        // Compared as values: the two places order and space the keys differently.
        let (message, metadata) = row.example.trim_end_matches('`').split_once(" `").unwrap_or_default();
        let metadata: Option<serde_json::Value> = serde_json::from_str(metadata).ok();
        let documented = row.code == reason.code
            && example["message"] == message
            && metadata.as_ref() == Some(&example["metadata"]);
        if !documented {
            complaints.push(format!("{}: code or example differ from the page", reason.name));
        }
        if example["reason"] != reason.name || example["code"] != reason.code {
            complaints.push(format!("{}: its example is of another reason or code", reason.name));
        }
    }
    assert_none(&complaints);
}
