//! Values of old replies as 4.0 types them.

use super::kinds::Type::{self, Expires, Flags, Gone, IfAny, Int, State, Text, Trimmed};
use crate::item::{Item, Str};
use crate::tree::{NodeId, Tree, Value};

pub(super) fn object<const N: usize>(members: [(&str, Item); N]) -> Item {
    members.into()
}

/// No contact outlives its expiry by this number of seconds. A contact that is further past it never expires: 1.11
/// subtracted the present time from zero.
const NEVER: i64 = -1_000_000_000;

/// A value as 4.0 types it.
pub(super) fn typed(of: Type, value: Str) -> Item {
    match of {
        Int => integer(&value).unwrap_or(Item::Str(value)),
        Trimmed => Item::Str(value.trim_ascii_end().into()),
        Flags if *value == *b"0" => Item::Str(Str::default()),
        State => match &*value {
            b"A" => "Active".into(),
            b"I" => "Inactive".into(),
            b"P" => "Probing".into(),
            _ => Item::Str(value),
        },
        Expires => match typed(Int, value) {
            Item::Int(..=NEVER) => "permanent".into(),
            Item::Int(..0) => "expired".into(),
            item => item,
        },
        Text | Flags | IfAny | Gone => Item::Str(value),
    }
}

/// An integer in the one way to write it: other digits are a name.
pub(super) fn integer(value: &[u8]) -> Option<Item> {
    let text = std::str::from_utf8(value).ok()?;
    let is_canonical = |number: &str| number == text;
    if let Ok(number) = text.parse::<i64>() {
        return is_canonical(itoa::Buffer::new().format(number)).then_some(Item::Int(number));
    }
    let number = text.parse::<u64>().ok()?;
    is_canonical(itoa::Buffer::new().format(number)).then_some(Item::UInt(number))
}

pub(super) fn named(tree: &Tree, name: &str) -> Option<NodeId> {
    tree.children(NodeId::ROOT).find(|node| tree.name(*node) == name.as_bytes())
}

pub(super) fn text_of(tree: &Tree, node: NodeId) -> Str {
    text(tree.value(node))
}

/// A value as the old wires write it.
pub(super) fn text(value: Value<'_>) -> Str {
    match value {
        Value::None => Str::default(),
        Value::Str(text) | Value::Bytes(text) => text.into(),
        Value::Int(number) => number.to_string().into(),
        Value::UInt(number) => number.to_string().into(),
        Value::Float(number) => number.to_string().into(),
        Value::Bool(value) => i32::from(value).to_string().into(),
    }
}
