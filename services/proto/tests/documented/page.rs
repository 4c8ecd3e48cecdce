//! Reads `docs/api.md`: its sections, RPC table and reason table.

use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Built,
    Planned,
}

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) number: i32,
    pub(crate) name: String,
    /// Empty for the value of an enum.
    pub(crate) type_name: String,
    pub(crate) status: Status,
}

#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) status: Status,
    pub(crate) rows: Vec<Row>,
}

#[derive(Debug)]
pub(crate) struct Rpc {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) status: Status,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Reason {
    pub(crate) code: String,
    pub(crate) example: String,
}

#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) sections: BTreeMap<String, Section>,
    pub(crate) rpcs: Vec<Rpc>,
    pub(crate) reasons: BTreeMap<String, Reason>,
    /// What could not be read.
    pub(crate) complaints: Vec<String>,
}

/// Headings `#### \`Name\` (built)` and `### enum \`Name\` (planned)` open a section; its rows begin with a number.
pub(crate) fn parse(text: &str) -> Page {
    let mut page = Page::default();
    let mut current = None;
    for line in text.lines() {
        if line.starts_with('#') {
            current = heading(line);
            if let Some((name, status)) = &current {
                let section = Section { status: *status, rows: Vec::new() };
                if page.sections.insert(name.clone(), section).is_some() {
                    page.complaints.push(format!("{name} has two sections"));
                }
            }
        } else if line.starts_with('|') {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            read_row(&mut page, current.as_ref().map(|(name, _)| name.as_str()), &cells);
        }
    }
    page
}

fn heading(line: &str) -> Option<(String, Status)> {
    let mut parts = line.split('`');
    let (_, name, rest) = (parts.next()?, parts.next()?, parts.next()?);
    Some((name.to_owned(), status(rest.trim().trim_matches(['(', ')']))?))
}

fn status(text: &str) -> Option<Status> {
    match text {
        "built" => Some(Status::Built),
        "planned" => Some(Status::Planned),
        _ => None,
    }
}

fn read_row(page: &mut Page, section: Option<&str>, cells: &[&str]) {
    let Some(section) = section else {
        if let [name, kind, _scope, state, _rule] = cells
            && let Some(status) = status(state)
        {
            page.rpcs.push(Rpc { name: name.trim_matches('`').to_owned(), kind: (*kind).to_owned(), status });
        }
        return;
    };
    let Some(number) = cells.first().and_then(|cell| cell.parse().ok()) else {
        return;
    };
    let (name, type_name, state) = match cells {
        [_, name, code, state, _when, _keys, example] => {
            let reason = Reason { code: (*code).to_owned(), example: (*example).to_owned() };
            page.reasons.insert(name.trim_matches('`').to_owned(), reason);
            (format!("ERROR_REASON_{}", name.trim_matches('`')), "", state)
        }
        [_, name, type_name, state, _meaning] => (name.trim_matches('`').to_owned(), *type_name, state),
        [_, name, state, _meaning] => (name.trim_matches('`').to_owned(), "", state),
        _ => {
            page.complaints.push(format!("{section}: row {number} has {} cells", cells.len()));
            return;
        }
    };
    match (status(state), page.sections.get_mut(section)) {
        (Some(status), Some(section)) => {
            section.rows.push(Row { number, name, type_name: type_name.to_owned(), status });
        }
        _ => page.complaints.push(format!("{section}: row {number} has status {state}")),
    }
}
