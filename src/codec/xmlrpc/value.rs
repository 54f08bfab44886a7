//! The values of XML-RPC and [`Item`]: every type of the specification and of its usual extensions.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, PAD};

use super::document::{Document, Element, Tag};
use super::write::{Escapes, Unsayable, push_escaped};
use crate::codec::{CodecError, is_blank, push_int};
use crate::item::{Item, MAX_DEPTH, Str};

/// How deep elements of values may nest. A tree of [`MAX_DEPTH`] levels takes four elements a level in 2.4's form:
/// the struct of its children, their list, the struct of one, and a value around its children.
const MAX_NESTING: usize = 4 * MAX_DEPTH + 8;

/// Kinds of values, as bits.
#[derive(Clone, Copy, Default)]
pub(super) struct Kinds(u8);

impl Kinds {
    /// With a type; lists and structs do not count.
    pub(super) const TYPED: Kinds = Kinds(1);
    /// With another type than string and integer.
    pub(super) const RARE: Kinds = Kinds(1 << 1);
    /// Without a type: a string.
    pub(super) const UNTYPED: Kinds = Kinds(1 << 2);
    /// A value in a value, which 2.4 puts around the children of a node.
    pub(super) const DOUBLE: Kinds = Kinds(1 << 3);

    /// Returns true if a value of this kind was read.
    pub(super) fn has(self, kind: Kinds) -> bool {
        self.0 & kind.0 != 0
    }

    fn add(&mut self, kind: Kinds) {
        self.0 |= kind.0;
    }
}

/// A reader of values that records their kinds.
#[derive(Default)]
pub(super) struct ValueReader {
    /// The text of the last element that had one.
    text: Vec<u8>,
    /// The error of a level deeper than [`MAX_DEPTH`].
    beyond: Option<CodecError>,
    /// The kinds of all values so far.
    pub(super) kinds: Kinds,
}

impl ValueReader {
    /// Reads a value whose `<value>` was read, to its end. It may nest deeper than values may.
    pub(super) fn value(&mut self, document: &mut Document<'_>) -> Result<Item, CodecError> {
        self.value_at(document, 0, 0)
    }

    /// [`CodecError::TooDeep`] for values that nest deeper than values may.
    pub(super) fn check_depth(&mut self) -> Result<(), CodecError> {
        self.beyond.take().map_or(Ok(()), Err)
    }

    fn value_at(&mut self, document: &mut Document<'_>, nesting: usize, depth: usize) -> Result<Item, CodecError> {
        if nesting >= MAX_NESTING {
            return Err(document.too_deep(MAX_DEPTH));
        }
        let element = match document.text_and_tag(&mut self.text)? {
            Tag::Close => {
                self.kinds.add(Kinds::UNTYPED);
                return Ok(Item::Str(self.text.as_slice().into()));
            }
            Tag::Open(element) if self.text.iter().all(|byte| is_blank(*byte)) => element,
            _ => return Err(document.unexpected("the type of a value, or text")),
        };
        let item = match element {
            Element::Array => self.array(document, nesting, depth)?,
            Element::Struct => self.members(document, nesting, depth).map(Item::Object)?,
            Element::Value => {
                self.kinds.add(Kinds::DOUBLE);
                self.value_at(document, nesting + 1, depth)?
            }
            element => {
                let is_rare = !matches!(element, Element::Text | Element::Int);
                self.kinds.add(if is_rare { Kinds(Kinds::TYPED.0 | Kinds::RARE.0) } else { Kinds::TYPED });
                let parse = parser_of(element).ok_or_else(|| document.unexpected("a type of XML-RPC"))?;
                document.text(&mut self.text)?;
                parse(&self.text).map_err(|expected| document.unexpected(expected))?
            }
        };
        document.close()?;
        Ok(item)
    }

    fn array(&mut self, document: &mut Document<'_>, nesting: usize, depth: usize) -> Result<Item, CodecError> {
        self.enter(document, depth);
        document.open(Element::Elements, "<data>")?;
        let mut items = Vec::new();
        loop {
            match document.tag()? {
                Tag::Open(Element::Value) => items.push(self.value_at(document, nesting + 1, depth + 1)?),
                Tag::Close => break,
                _ => return Err(document.unexpected("<value> or the end of a list")),
            }
        }
        document.close()?;
        Ok(Item::Array(items))
    }

    fn members(
        &mut self,
        document: &mut Document<'_>,
        nesting: usize,
        depth: usize,
    ) -> Result<Vec<(Str, Item)>, CodecError> {
        self.enter(document, depth);
        let mut members = Vec::new();
        loop {
            match document.tag()? {
                Tag::Open(Element::Member) => {}
                Tag::Close => return Ok(members),
                _ => return Err(document.unexpected("<member> or the end of a struct")),
            }
            document.open(Element::Name, "<name>")?;
            document.text(&mut self.text)?;
            let name = Str::from(self.text.as_slice());
            document.open(Element::Value, "<value>")?;
            members.push((name, self.value_at(document, nesting + 1, depth + 1)?));
            document.close()?;
        }
    }

    fn enter(&mut self, document: &Document<'_>, depth: usize) {
        if depth >= MAX_DEPTH && self.beyond.is_none() {
            self.beyond = Some(document.too_deep(MAX_DEPTH));
        }
    }
}

/// Makes a value of the text in an element; the error names the expected type.
type Parse = fn(&[u8]) -> Result<Item, &'static str>;

fn parser_of(element: Element) -> Option<Parse> {
    match element {
        Element::Text | Element::DateTime => Some(|text| Ok(Item::Str(text.into()))),
        Element::Int => Some(|text| integer(text).ok_or("an integer of 64 bits before this")),
        Element::Boolean => Some(|text| match text.trim_ascii() {
            b"1" | b"true" => Ok(Item::Bool(true)),
            b"0" | b"false" => Ok(Item::Bool(false)),
            _ => Err("a boolean before this"),
        }),
        Element::Double => Some(|text| double(text).map(Item::Float).ok_or("a double before this")),
        Element::Base64 => Some(|text| from_base64(text).map(Item::Str).ok_or("base64 before this")),
        Element::Nil => Some(|text| match text.trim_ascii() {
            b"" => Ok(Item::Null),
            _ => Err("nothing in a nil, before this"),
        }),
        _ => None,
    }
}

fn integer(text: &[u8]) -> Option<Item> {
    number(text).map(Item::Int).or_else(|| number(text).map(Item::UInt))
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}

/// A double in digits: neither infinite nor a word.
fn double(text: &[u8]) -> Option<f64> {
    let is_digits = text.trim_ascii().iter().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte));
    number(text).filter(|value: &f64| is_digits && value.is_finite())
}

/// Appends a value with its types, `<value>` around it.
///
/// Bytes that are not UTF-8 go as base64 where the form has it, doubles in digits without an exponent. Infinities and
/// NaN go as nil.
pub(super) fn push_value(out: &mut Vec<u8>, item: &Item, escapes: Escapes) -> Result<(), Unsayable> {
    out.extend_from_slice(b"<value>");
    push_typed(out, item, escapes)?;
    out.extend_from_slice(b"</value>");
    Ok(())
}

fn push_typed(out: &mut Vec<u8>, item: &Item, escapes: Escapes) -> Result<(), Unsayable> {
    match item {
        Item::Bool(value) => {
            out.extend_from_slice(if *value { b"<boolean>1</boolean>" } else { b"<boolean>0</boolean>" });
        }
        Item::Int(value) => push_integer(out, *value, i32::try_from(*value).is_err(), escapes),
        Item::UInt(value) => push_integer(out, *value, true, escapes),
        Item::Float(value) if value.is_finite() => {
            use std::io::Write as _;
            // Writing to memory does not fail.
            let _ = write!(out, "<double>{value}</double>");
        }
        Item::Null | Item::Float(_) => out.extend_from_slice(b"<nil/>"),
        Item::Str(text) if escapes.is_exact() && std::str::from_utf8(text).is_err() => {
            out.extend_from_slice(b"<base64>");
            push_base64(out, text);
            out.extend_from_slice(b"</base64>");
        }
        Item::Str(text) => {
            out.extend_from_slice(b"<string>");
            push_escaped(out, text, escapes)?;
            out.extend_from_slice(b"</string>");
        }
        Item::Array(items) => {
            out.extend_from_slice(b"<array><data>");
            for item in items {
                push_value(out, item, escapes)?;
            }
            out.extend_from_slice(b"</data></array>");
        }
        Item::Object(members) => {
            out.extend_from_slice(b"<struct>");
            for (name, item) in members {
                push_member(out, name, item, escapes)?;
            }
            out.extend_from_slice(b"</struct>");
        }
    }
    Ok(())
}

/// Appends a member of a struct.
pub(super) fn push_member(out: &mut Vec<u8>, name: &[u8], item: &Item, escapes: Escapes) -> Result<(), Unsayable> {
    out.extend_from_slice(b"<member><name>");
    push_escaped(out, name, escapes)?;
    out.extend_from_slice(b"</name>");
    push_value(out, item, escapes)?;
    out.extend_from_slice(b"</member>");
    Ok(())
}

/// Appends an integer; one beyond 32 bits as the extension `i8`, which the originals do not have.
fn push_integer(out: &mut Vec<u8>, value: impl itoa::Integer, is_beyond: bool, escapes: Escapes) {
    let is_long = is_beyond && escapes.is_exact();
    out.extend_from_slice(if is_long { b"<i8>" } else { b"<int>" });
    push_int(out, value);
    out.extend_from_slice(if is_long { b"</i8>" } else { b"</int>" });
}

/// Of the last digit, bits that belong to no byte may be anything.
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, PAD.with_decode_allow_trailing_bits(true));

/// Appends bytes as base64, in one line.
fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(BASE64.encode(bytes).as_bytes());
}

/// The bytes that base64 says, in lines or not.
fn from_base64(text: &[u8]) -> Option<Str> {
    let digits: Vec<u8> = text.iter().copied().filter(|byte| !is_blank(*byte)).collect();
    BASE64.decode(digits).ok().map(Str::from)
}
