//! Reads the descriptor set: types, members, reservations, RPCs and reasons of our package.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
};

const PACKAGE: &str = "tallystick.credits.v1";
/// Field numbers of `FileDescriptorProto.enum_type` and `EnumDescriptorProto.value`, for paths to comments.
const ENUM_TYPE: i32 = 5;
const VALUE: i32 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Message,
    Enum,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// As the page writes it; empty for the value of an enum.
    pub(crate) type_name: String,
}

#[derive(Debug)]
pub(crate) struct Declared {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) members: BTreeMap<i32, Member>,
    pub(crate) reserved_numbers: BTreeSet<i32>,
    pub(crate) reserved_names: BTreeSet<String>,
}

#[derive(Debug)]
pub(crate) struct Reason {
    /// Without its prefix.
    pub(crate) name: String,
    pub(crate) code: String,
    pub(crate) example: String,
}

fn files() -> Vec<FileDescriptorProto> {
    let set = FileDescriptorSet::decode(proto::FILE_DESCRIPTOR_SET).unwrap();
    set.file.into_iter().filter(|file| file.package() == PACKAGE).collect()
}

pub(crate) fn types() -> Vec<Declared> {
    let files = files();
    let messages = files.iter().flat_map(|file| &file.message_type).map(message);
    let enums = files.iter().flat_map(|file| &file.enum_type).map(enumeration);
    messages.chain(enums).collect()
}

/// `Service.Method` → its kind, as the page writes it.
pub(crate) fn rpcs() -> BTreeMap<String, String> {
    let mut rpcs = BTreeMap::new();
    for service in files().into_iter().flat_map(|file| file.service) {
        for method in &service.method {
            let kind = match (method.client_streaming(), method.server_streaming()) {
                (false, false) => "unary",
                (false, true) => "server stream",
                (true, false) => "client stream",
                (true, true) => "both stream",
            };
            rpcs.insert(format!("{}.{}", service.name(), method.name()), kind.to_owned());
        }
    }
    rpcs
}

/// All reasons but UNSPECIFIED, from the comments of the enum: `Code: X.` and the JSON after `Example:`.
pub(crate) fn reasons() -> Vec<Reason> {
    let mut reasons = Vec::new();
    for file in files() {
        let Some(index) = file.enum_type.iter().position(|item| item.name() == "ErrorReason") else {
            continue;
        };
        for (position, value) in
            file.enum_type[index].value.iter().enumerate().filter(|(_, v)| v.number() != 0)
        {
            let path = [ENUM_TYPE, index.try_into().unwrap(), VALUE, position.try_into().unwrap()];
            let comment = comment(&file, &path);
            let code = comment.split_once("Code: ").and_then(|(_, rest)| rest.split_once('.'));
            let example = comment.split_once("Example:").map(|(_, example)| example.to_owned());
            reasons.push(Reason {
                name: value.name().trim_start_matches("ERROR_REASON_").to_owned(),
                code: code.map(|(code, _)| code.to_owned()).unwrap_or_default(),
                example: example.unwrap_or_default(),
            });
        }
    }
    reasons
}

fn comment(file: &FileDescriptorProto, path: &[i32]) -> String {
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    locations.filter(|location| location.path == path).map(|location| location.leading_comments()).collect()
}

fn message(message: &DescriptorProto) -> Declared {
    let members = message.field.iter().map(|field| {
        let type_name = type_name(message, field);
        (field.number(), Member { name: field.name().to_owned(), type_name })
    });
    Declared {
        kind: Kind::Message,
        name: message.name().to_owned(),
        members: members.collect(),
        // The end of a message's range is exclusive, that of an enum's inclusive (descriptor.proto).
        reserved_numbers: message.reserved_range.iter().flat_map(|r| r.start()..r.end()).collect(),
        reserved_names: message.reserved_name.iter().cloned().collect(),
    }
}

fn enumeration(item: &EnumDescriptorProto) -> Declared {
    let members = item
        .value
        .iter()
        .map(|value| (value.number(), Member { name: value.name().to_owned(), type_name: String::new() }));
    Declared {
        kind: Kind::Enum,
        name: item.name().to_owned(),
        members: members.collect(),
        reserved_numbers: item.reserved_range.iter().flat_map(|r| r.start()..=r.end()).collect(),
        reserved_names: item.reserved_name.iter().cloned().collect(),
    }
}

fn type_name(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let base = match field.r#type() {
        Type::String => "string",
        Type::Bytes => "bytes",
        Type::Bool => "bool",
        Type::Int32 => "int32",
        Type::Int64 => "int64",
        Type::Sint64 => "sint64",
        Type::Message | Type::Enum => field.type_name().rsplit('.').next().unwrap_or_default(),
        other => panic!("{}.{}: {other:?} is not used in this API", message.name(), field.name()),
    };
    // A map is a repeated message that is nested in the one that has the field; ours are all of strings.
    if message.nested_type.iter().any(|nested| nested.name() == base) {
        return "map<string, string>".to_owned();
    }
    match field.label() {
        Label::Repeated => format!("repeated {base}"),
        _ if field.proto3_optional() => format!("optional {base}"),
        _ => base.to_owned(),
    }
}
