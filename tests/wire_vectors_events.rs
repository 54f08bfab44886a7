//! Events that real servers sent to their subscribers, read and written again byte for byte.

use std::path::PathBuf;

use sipmi::codec::event::{self, Form, Received};
use sipmi::item::Item;
use sipmi::request::Params;

/// The events of one recording, and the version that sent them.
fn recorded(version: &str) -> Vec<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/wire/{version}-events.jsonl"));
    let lines = std::fs::read_to_string(&path).expect("the recording can be read");
    let pairs = lines.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line"));
    let events = pairs.filter(|pair: &serde_json::Value| pair["case"] == "event");
    let latin1 = |text: &str| text.chars().map(|char| u8::try_from(char).expect("Latin-1")).collect();
    events.map(|pair| latin1(pair["replies"][0].as_str().expect("a reply"))).collect()
}

fn written_again(received: &Received) -> Vec<u8> {
    let mut out = Vec::new();
    match received.form {
        Form::Text => event::encode_text(&mut out, &received.event),
        Form::Json => event::encode_json(&mut out, &received.event.name, &received.event.params, None),
    }
    out
}

#[test]
fn every_recorded_event_is_read_and_written_again_byte_for_byte() {
    let mut seen = 0;
    for (version, form) in [("1.11", Form::Text), ("2.4", Form::Text), ("4.0", Form::Json)] {
        for bytes in recorded(version) {
            let received = event::decode(&bytes).unwrap_or_else(|error| panic!("{version}: {error}"));
            assert_eq!((received.form, &received.id), (form, &None), "{version}");
            assert_eq!(written_again(&received).escape_ascii().to_string(), bytes.escape_ascii().to_string());
            seen += 1;
        }
    }
    assert_eq!(seen, 8);
}

#[test]
fn a_recorded_contact_has_the_values_that_its_server_knew() {
    let member = |params: &Params, name: &str| match params {
        Params::Named(members) => members.iter().find(|(key, _)| *key == name).map(|(_, item)| item.clone()),
        _ => None,
    };
    for (version, qval, received) in [("2.4", Item::from("500"), Item::from("")), ("4.0", 500i64.into(), Item::Null)]
    {
        let contacts = recorded(version).into_iter().map(|bytes| event::decode(&bytes).expect("an event").event);
        let contact =
            contacts.into_iter().find(|event| event.name == "E_UL_CONTACT_INSERT").expect("it was recorded");
        assert_eq!(member(&contact.params, "qval"), Some(qval), "{version}");
        assert_eq!(member(&contact.params, "received"), Some(received), "{version}");
        assert_eq!(member(&contact.params, "uri"), Some("sip:ev@127.0.0.1:5099".into()), "{version}");
    }
}

#[test]
fn a_recorded_event_that_is_cut_anywhere_is_refused() {
    for version in ["1.11", "2.4", "4.0"] {
        for bytes in recorded(version) {
            for size in 0..bytes.len() {
                assert!(event::decode(&bytes[..size]).is_err(), "{version}: {}", bytes[..size].escape_ascii());
            }
        }
    }
}
