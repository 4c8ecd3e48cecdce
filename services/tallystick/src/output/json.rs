//! Messages of the API as JSON: the ProtoJSON mapping with the field names of the proto files, fields without a value
//! of their own included, and 64-bit integers as numbers, since no amount reaches 2^53.

use std::sync::OnceLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

const PACKAGE: &str = "tallystick.credits.v1";

/// One line of JSON. `name` is the message's name in package `tallystick.credits.v1`, such as `Balance`.
///
/// Falls back to `null` for a name that the package does not have, which a test rules out.
pub(crate) fn encode(name: &str, message: &impl Message) -> String {
    let full = format!("{PACKAGE}.{name}");
    let Some(descriptor) = pool().and_then(|pool| pool.get_message_by_name(&full)) else {
        return "null".to_owned();
    };
    let options = SerializeOptions::new()
        .stringify_64_bit_integers(false)
        .use_proto_field_name(true)
        .skip_default_fields(false);
    let mut line = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut line);
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice());
    match dynamic.map(|dynamic| dynamic.serialize_with_options(&mut serializer, &options)) {
        Ok(Ok(())) => String::from_utf8(line).unwrap_or_else(|_| "null".to_owned()),
        _ => "null".to_owned(),
    }
}

/// The message of a line, by the ProtoJSON mapping: field names of the proto files or camelCase, numbers or decimal text.
///
/// # Errors
/// What is wrong with the text, for the one who wrote it.
pub(crate) fn decode<M: Message + Default>(name: &str, text: &str) -> Result<M, String> {
    let full = format!("{PACKAGE}.{name}");
    let descriptor = pool().and_then(|pool| pool.get_message_by_name(&full));
    let descriptor = descriptor.ok_or_else(|| format!("this version has no {name}"))?;
    let mut json = serde_json::Deserializer::from_str(text);
    let dynamic = DynamicMessage::deserialize(descriptor, &mut json).map_err(|error| error.to_string())?;
    json.end().map_err(|error| error.to_string())?;
    dynamic.transcode_to().map_err(|error| error.to_string())
}

fn pool() -> Option<&'static DescriptorPool> {
    static POOL: OnceLock<Option<DescriptorPool>> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(proto::FILE_DESCRIPTOR_SET).ok()).as_ref()
}

#[cfg(test)]
mod tests {
    use proto::v1::watch_credits_response::Event;
    use proto::v1::{
        Balance, Changes, Entry, EntryKind, GetBalanceResponse, GrantCreditsResponse, SpendCreditsResponse,
        WatchCreditsResponse,
    };
    use serde_json::{Value, json};

    use super::*;

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn numbers_stay_numbers_and_fields_keep_their_names_and_zeros() {
        let balance = Balance {
            account_id: "user_1".to_owned(),
            unit: "credits".to_owned(),
            available: 8_999_999_999_999_999,
            version: 1,
            ..Balance::default()
        };
        let shown = value(&encode("GetBalanceResponse", &GetBalanceResponse { balance: Some(balance) }));
        let expected = json!({ "balance": { "account_id": "user_1", "unit": "credits",
            "available": 8_999_999_999_999_999_i64, "held": 0, "scheduled": 0, "debt": 0, "version": 1,
            "entry_hash": "" } });
        assert_eq!(shown, expected);
    }

    #[test]
    fn lines_are_read_with_the_names_of_the_proto_files_and_faults_say_where() {
        let line =
            r#"{"grant":{"account_id":"a","idempotencyKey":"k","amount":10,"kind":"GRANT_KIND_PURCHASE"}}"#;
        let command: proto::v1::Command = decode("Command", line).unwrap();
        let Some(proto::v1::command::Command::Grant(grant)) = command.command else { panic!("{command:?}") };
        assert_eq!((grant.account_id.as_str(), grant.idempotency_key.as_str(), grant.amount), ("a", "k", 10));
        assert_eq!(grant.kind(), proto::v1::GrantKind::Purchase);
        for (bad, word) in [
            ("{", "EOF"),
            (r#"{"grnt":{}}"#, "grnt"),
            (r#"{"grant":{"amount":1.5}}"#, "column"),
            ("{} {}", "trailing"),
        ] {
            let error = decode::<proto::v1::Command>("Command", bad).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_stream_message_is_one_line_named_by_its_kind() {
        let entry = Entry { kind: EntryKind::Spend.into(), available_delta: -30, ..Entry::default() };
        let changes = Changes { entries: vec![entry], ..Changes::default() };
        let message = WatchCreditsResponse { event: Some(Event::Changes(changes)) };
        let line = encode("WatchCreditsResponse", &message);
        assert!(!line.contains('\n'));
        let entry = value(&line)["changes"]["entries"][0].clone();
        assert_eq!((&entry["kind"], &entry["available_delta"]), (&json!("ENTRY_KIND_SPEND"), &json!(-30)));
    }

    #[test]
    fn every_name_in_use_is_a_message() {
        assert_ne!(encode("GrantCreditsResponse", &GrantCreditsResponse::default()), "null");
        assert_ne!(encode("SpendCreditsResponse", &SpendCreditsResponse::default()), "null");
        assert_ne!(encode("Error", &proto::v1::Error::default()), "null");
    }
}
