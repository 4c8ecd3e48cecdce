//! The 38 cases of `signature-conformance.json`, collected from the tests of Stripe's official SDKs with what
//! those SDKs really answered. Rows marked `policy` are ones where they differ; ours is written down here.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use signature::{Secret, Secrets, SignatureError, sign, verify};

#[derive(Deserialize)]
struct Case {
    name: String,
    header: String,
    expect: String,
    body_b64: String,
    secret: String,
    now: i64,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("data/signature-conformance.json")).unwrap()
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Accept,
    Header,
    NoMatch,
    Timestamp,
    RefuseConfig,
}

fn expected(case: &Case) -> Answer {
    match (case.expect.as_str(), case.name.as_str()) {
        // What follows a valid signature is the event reader's business.
        ("accept" | "accept_then_parse_error" | "accept_then_thin" | "policy:400", _) => Answer::Accept,
        ("reject_header", _) => Answer::Header,
        ("reject_signature", _) => Answer::NoMatch,
        ("reject_timestamp", _) => Answer::Timestamp,
        ("policy:refuse_config", _) => Answer::RefuseConfig,
        // Hexadecimal digits have no case; spaces and an empty last part are nothing.
        ("policy", "uppercase_hex" | "space_after_comma" | "trailing_comma") => Answer::Accept,
        ("policy", "t_twice_bad_last" | "t_plus_sign") => Answer::Header,
        ("policy", "signature_with_equals") => Answer::NoMatch,
        (expect, name) => panic!("no rule for {expect} of {name}"),
    }
}

fn answer(case: &Case) -> Answer {
    let Ok(secrets) = Secrets::parse(&case.secret) else { return Answer::RefuseConfig };
    let body = STANDARD.decode(&case.body_b64).unwrap();
    match verify(case.header.as_bytes(), &body, &secrets, case.now) {
        Ok(()) => Answer::Accept,
        Err(SignatureError::Header) => Answer::Header,
        Err(SignatureError::NoMatch) => Answer::NoMatch,
        Err(SignatureError::Timestamp { .. }) => Answer::Timestamp,
    }
}

#[test]
fn all_38_cases_are_answered_as_expected() {
    let cases = cases();
    assert_eq!(cases.len(), 38);
    for case in &cases {
        assert_eq!(answer(case), expected(case), "{}", case.name);
    }
}

#[test]
fn signing_gives_the_known_answer() {
    let cases = cases();
    let case = cases.iter().find(|case| case.name == "dotnet_known_answer").unwrap();
    let body = STANDARD.decode(&case.body_b64).unwrap();
    let header = sign(&Secret::try_new("webhook_secret").unwrap(), 1_533_204_620, &body);
    let signature = "2220f87ef101a04665f11cdf770523143f875572008577fa0f20882ddb9cc3c7";
    assert_eq!(header, format!("t=1533204620,v1={signature}"));
}
