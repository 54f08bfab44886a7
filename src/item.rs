//! Values as JSON has them: [`Item`], the counterpart of `mi_item_t` (OpenSIPS 3.x and 4.x).

use std::borrow::Cow;
use std::fmt;

/// How deep values may nest, read from a wire or returned by a handler. Recursion over an [`Item`]
/// is bounded by it, so no input can exhaust a stack. C's JSON reader has no limit of its own.
pub const MAX_DEPTH: usize = 128;

/// A run of bytes that is text most of the time (`str` in the OpenSIPS sources).
///
/// Servers pass on whatever bytes they were given, so text on these wires need not be UTF-8.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Str(Box<[u8]>);

impl Str {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, with U+FFFD for what is not UTF-8. For people, never for a wire.
    pub fn to_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// The bytes, owned.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_vec()
    }
}

impl std::ops::Deref for Str {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Str {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl std::borrow::Borrow<[u8]> for Str {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Str {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().into())
    }
}

impl From<String> for Str {
    fn from(text: String) -> Self {
        Self(text.into_bytes().into_boxed_slice())
    }
}

impl From<&[u8]> for Str {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl From<Vec<u8>> for Str {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into_boxed_slice())
    }
}

impl PartialEq<str> for Str {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl PartialEq<&str> for Str {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// A value: what JSON-RPC and native XML-RPC carry as they are, and string wires print.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Item {
    /// JSON null, Python None.
    #[default]
    Null,
    /// Printed as `1` and `0` where a wire has only strings.
    Bool(bool),
    /// A 64-bit signed integer.
    Int(i64),
    /// An integer over what [`Item::Int`] holds: counters of OpenSIPS have no sign. See [`Item::from`] of a `u64`.
    UInt(u64),
    /// A double.
    Float(f64),
    /// Text, or bytes that are not text.
    Str(Str),
    /// A list.
    Array(Vec<Item>),
    /// Members in order. A name that occurs twice is kept twice.
    Object(Vec<(Str, Item)>),
}

impl Item {
    /// The member of an object with this name; the first, when there are several.
    pub fn get(&self, name: &str) -> Option<&Item> {
        match self {
            Item::Object(members) => members.iter().find(|(key, _)| *key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The bytes of a string.
    pub fn as_str(&self) -> Option<&[u8]> {
        match self {
            Item::Str(text) => Some(text),
            _ => None,
        }
    }
}

impl From<bool> for Item {
    fn from(value: bool) -> Self {
        Item::Bool(value)
    }
}

impl From<i64> for Item {
    fn from(value: i64) -> Self {
        Item::Int(value)
    }
}

impl From<u64> for Item {
    /// An [`Item::Int`] where it fits, so that equal numbers are equal items.
    fn from(value: u64) -> Self {
        i64::try_from(value).map_or(Item::UInt(value), Item::Int)
    }
}

impl From<f64> for Item {
    fn from(value: f64) -> Self {
        Item::Float(value)
    }
}

impl From<&str> for Item {
    fn from(value: &str) -> Self {
        Item::Str(value.into())
    }
}

impl From<String> for Item {
    fn from(value: String) -> Self {
        Item::Str(value.into())
    }
}

impl From<Str> for Item {
    fn from(value: Str) -> Self {
        Item::Str(value)
    }
}

impl<T: Into<Item>> From<Vec<T>> for Item {
    fn from(values: Vec<T>) -> Self {
        Item::Array(values.into_iter().map(Into::into).collect())
    }
}

impl<const N: usize> From<[(&str, Item); N]> for Item {
    fn from(members: [(&str, Item); N]) -> Self {
        Item::Object(members.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}
