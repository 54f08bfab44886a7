//! A contact as `ul_show_contact` of 1.x writes it, in one line.

use super::kinds::Member;
use super::kinds::Type::{Expires, Flags, Int, Text};
use super::values::typed;
use crate::item::{Item, Str};

/// Reads `<uri>;q=0.5;expires=60;flags=0x0;cflags=0x0;socket=<..>;callid=<..>;methods=0x0;user_agent=<..>`.
pub(super) fn contact_line(line: &[u8]) -> Option<Item> {
    // A user agent may hold anything, also what looks like the end of a field; it comes last.
    let (line, agent) = match memchr::memmem::find(line, b";user_agent=<") {
        Some(at) => (&line[..at], line[at + 13..].strip_suffix(b">")),
        None => (line, None),
    };
    let (uri, mut rest) = split(line.strip_prefix(b"<")?, b'>')?;
    let mut members: Vec<(Str, Item)> = vec![("Contact".into(), Item::Str(uri.into()))];
    while let Some(field) = rest.strip_prefix(b";") {
        let (name, value) = split(field, b'=')?;
        let value_and_rest = match value.strip_prefix(b"<") {
            Some(quoted) => split(quoted, b'>')?,
            None => value.split_at(memchr::memchr(b';', value).unwrap_or(value.len())),
        };
        let value;
        (value, rest) = value_and_rest;
        let known = CONTACT_FIELDS.iter().find(|(old, ..)| old.as_bytes() == name);
        let (name, of) = known.map_or((name.into(), Text), |(_, new, of)| ((*new).into(), *of));
        if value != b"NULL" {
            members.push((name, typed(of, without_hex(value))));
        }
    }
    members.extend(agent.map(|agent| ("User-agent".into(), Item::Str(agent.into()))));
    Some(Item::Object(members))
}

const CONTACT_FIELDS: [Member; 8] = [
    ("q", "Q", Text),
    ("expires", "Expires", Expires),
    ("flags", "Flags", Int),
    ("cflags", "Cflags", Flags),
    ("socket", "Socket", Text),
    ("callid", "Callid", Text),
    ("methods", "Methods", Int),
    ("received", "Received", Text),
];

/// `0x1f` as decimal digits.
fn without_hex(value: &[u8]) -> Str {
    let digits = value.strip_prefix(b"0x").and_then(|digits| std::str::from_utf8(digits).ok());
    match digits.and_then(|digits| i64::from_str_radix(digits, 16).ok()) {
        Some(number) => number.to_string().into(),
        None => value.into(),
    }
}

/// Splits at the first such byte into the parts before and after it.
fn split(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = memchr::memchr(at, bytes)?;
    Some((&bytes[..place], &bytes[place + 1..]))
}
