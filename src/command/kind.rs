//! The kinds of parameters, and reading a value as one of them.

use crate::codec::json;
use crate::item::Item;

/// The type as which a parameter is read.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Any type, unchanged.
    Any,
    /// Text; numbers are printed.
    Str,
    /// A 64-bit integer, or text that is one.
    Int,
    /// A double, or text that is one.
    Float,
    /// A boolean, or `1/0 true/false yes/no on/off`.
    Bool,
    /// A list; on wires that have none, all further parameters.
    List(Box<Kind>),
    /// An object; on wires that have none, JSON text.
    Dict,
}

/// The rules that depend on the emulated version and on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// All parameters came as strings.
    pub(super) strings: bool,
    /// Numbers are truncated to int32 and empty lists are rejected, as in 3.x and 4.x.
    pub(super) emulated: bool,
}

impl Kind {
    /// Reads the item as this kind; `None` if it cannot be read as that.
    pub(super) fn read(&self, item: Item, rules: Rules) -> Option<Item> {
        match self {
            Kind::Any => Some(item),
            Kind::Str => read_str(item, rules),
            Kind::Int => read_int(&item, rules),
            Kind::Float => read_float(&item),
            Kind::Bool => read_bool(&item),
            Kind::List(kind) => match item {
                Item::Array(elements) => elements
                    .into_iter()
                    .map(|element| kind.read(element, rules))
                    .collect::<Option<_>>()
                    .map(Item::Array),
                _ => None,
            },
            Kind::Dict => match item {
                Item::Object(_) => Some(item),
                Item::Str(text) if rules.strings => {
                    json::parse(&text).ok().filter(|item| matches!(item, Item::Object(_)))
                }
                _ => None,
            },
        }
    }
}

fn read_str(item: Item, rules: Rules) -> Option<Item> {
    match item {
        Item::Str(_) => Some(item),
        Item::Int(value) => Some(value.to_string().into()),
        Item::UInt(value) => Some(value.to_string().into()),
        Item::Float(value) if rules.emulated => Some((value as i32).to_string().into()),
        Item::Float(value) => Some(value.to_string().into()),
        _ => None,
    }
}

#[allow(clippy::float_cmp)] // a whole number is exactly its own floor
fn read_int(item: &Item, rules: Rules) -> Option<Item> {
    match item {
        Item::Int(_) | Item::UInt(_) => Some(item.clone()),
        Item::Float(value) if rules.emulated => Some(Item::Int(i64::from(*value as i32))),
        Item::Float(value) if value.floor() == *value && value.abs() < 9e15 => Some(Item::Int(*value as i64)),
        Item::Str(text) => {
            let text = std::str::from_utf8(text).ok()?.trim();
            text.parse().map(Item::Int).or_else(|_| text.parse().map(Item::UInt)).ok()
        }
        _ => None,
    }
}

fn read_float(item: &Item) -> Option<Item> {
    match item {
        Item::Float(_) => Some(item.clone()),
        Item::Int(value) => Some(Item::Float(*value as f64)),
        Item::UInt(value) => Some(Item::Float(*value as f64)),
        Item::Str(text) => {
            std::str::from_utf8(text).ok()?.trim().parse().ok().filter(|v: &f64| v.is_finite()).map(Item::Float)
        }
        _ => None,
    }
}

fn read_bool(item: &Item) -> Option<Item> {
    let value = match item {
        Item::Bool(value) => *value,
        Item::Int(0) => false,
        Item::Int(1) => true,
        Item::Str(text) => match text.to_ascii_lowercase().as_slice() {
            b"1" | b"true" | b"yes" | b"on" => true,
            b"0" | b"false" | b"no" | b"off" => false,
            _ => return None,
        },
        _ => return None,
    };
    Some(Item::Bool(value))
}
