//! JSON text to [`Item`] and back, written as OpenSIPS writes it; strings may hold bytes that are not UTF-8.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{CodecError, is_blank, push_float, push_int};
use crate::convert::{TooDeep, tree_to_item};
use crate::item::{Item, MAX_DEPTH, Str};
use crate::response::Body;

/// How deep [`Scanner`] looks. It needs a bit a level, so this is 128 KB; real values nest a few levels.
const MAX_SCAN_DEPTH: usize = 1 << 20;

/// How many members of an object are looked through for a repeated name before they are hashed.
const LOOK_THROUGH: usize = 16;

/// What stands for a byte that is not UTF-8 while a text is parsed: this noncharacter and two hex digits.
const STAND_IN: char = '\u{10FFFE}';

/// [`STAND_IN`] as JSON may write it; such an escape is taken for the character itself.
const STAND_IN_ESCAPE: &[u8] = br"\udbff\udffe";

/// What a [`Scanner`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scan {
    /// The value goes on, or may go on (a number).
    NeedMore,
    /// The value ends before this byte, counted from the first byte fed.
    Complete(usize),
    /// No JSON value has this byte at this place, counted from the first byte fed.
    Invalid(usize),
}

/// Finds where one JSON value ends, or where it goes wrong, in bytes that come in pieces.
///
/// It builds nothing, looks at each byte once, and does not recurse. Strings may hold any bytes
/// but control bytes.
#[derive(Debug, Clone)]
pub struct Scanner {
    state: State,
    /// One bit a level: whether it is an object.
    levels: Vec<u8>,
    depth: usize,
    offset: usize,
    done: Option<Scan>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Value,
    /// After `[`: a value or `]`.
    FirstElement,
    /// After `{`: a name or `}`.
    FirstName,
    /// After a comma in an object.
    Name,
    Colon,
    AfterValue,
    Text {
        is_name: bool,
    },
    Escape {
        is_name: bool,
    },
    Hex {
        is_name: bool,
        left: u8,
    },
    Word(&'static [u8]),
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

impl Default for Scanner {
    fn default() -> Self {
        Scanner::new()
    }
}

impl Scanner {
    /// Before the first byte.
    pub fn new() -> Self {
        Scanner { state: State::Value, levels: Vec::new(), depth: 0, offset: 0, done: None }
    }

    /// Takes the next bytes. After [`Scan::Complete`] or [`Scan::Invalid`] the answer stays the same.
    pub fn feed(&mut self, bytes: &[u8]) -> Scan {
        if let Some(done) = self.done {
            return done;
        }
        let mut at = 0;
        while at < bytes.len() {
            if let State::Text { .. } = self.state {
                at += plain_len(&bytes[at..]);
                if at == bytes.len() {
                    break;
                }
            }
            match self.step(bytes[at]) {
                Step::Next => at += 1,
                Step::Last => return self.finish_at(Scan::Complete(self.offset + at + 1)),
                Step::Before => return self.finish_at(Scan::Complete(self.offset + at)),
                Step::Wrong => return self.finish_at(Scan::Invalid(self.offset + at)),
            }
        }
        self.offset += bytes.len();
        Scan::NeedMore
    }

    /// How many bytes were fed before the piece that ended the value, or in all.
    pub fn fed(&self) -> usize {
        self.offset
    }

    /// What the bytes were, now that no more follow: a number ends where its text ends.
    pub fn finish(&self) -> Scan {
        match (self.done, self.state) {
            (Some(done), _) => done,
            (None, State::Zero | State::Digits | State::Fraction | State::ExponentDigits) if self.depth == 0 => {
                Scan::Complete(self.offset)
            }
            (None, _) => Scan::NeedMore,
        }
    }

    fn finish_at(&mut self, scan: Scan) -> Scan {
        self.done = Some(scan);
        scan
    }

    fn step(&mut self, byte: u8) -> Step {
        match self.state {
            State::FirstElement if byte == b']' => self.close(byte),
            State::Value | State::FirstElement => self.value(byte),
            State::FirstName if byte == b'}' => self.close(byte),
            State::FirstName | State::Name => match byte {
                b'"' => self.go(State::Text { is_name: true }),
                _ => blank_or_wrong(byte),
            },
            State::Colon if byte == b':' => self.go(State::Value),
            State::Colon => blank_or_wrong(byte),
            State::AfterValue => self.after_value(byte),
            State::Text { is_name } => self.text(byte, is_name),
            State::Escape { is_name } => match byte {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.go(State::Text { is_name }),
                b'u' => self.go(State::Hex { is_name, left: 4 }),
                _ => Step::Wrong,
            },
            State::Hex { is_name, left } if byte.is_ascii_hexdigit() => match left {
                1 => self.go(State::Text { is_name }),
                _ => self.go(State::Hex { is_name, left: left - 1 }),
            },
            State::Word(rest) if rest.first() == Some(&byte) => match &rest[1..] {
                [] => self.value_ends(),
                rest => self.go(State::Word(rest)),
            },
            State::Hex { .. } | State::Word(_) => Step::Wrong,
            _ => self.number(byte),
        }
    }

    fn value(&mut self, byte: u8) -> Step {
        match byte {
            b'{' => self.open(true),
            b'[' => self.open(false),
            b'"' => self.go(State::Text { is_name: false }),
            b't' => self.go(State::Word(b"rue")),
            b'f' => self.go(State::Word(b"alse")),
            b'n' => self.go(State::Word(b"ull")),
            b'-' => self.go(State::Minus),
            b'0' => self.go(State::Zero),
            b'1'..=b'9' => self.go(State::Digits),
            _ => blank_or_wrong(byte),
        }
    }

    fn text(&mut self, byte: u8, is_name: bool) -> Step {
        match byte {
            b'"' if is_name => self.go(State::Colon),
            b'"' => self.value_ends(),
            b'\\' => self.go(State::Escape { is_name }),
            0..=0x1f => Step::Wrong,
            _ => Step::Next,
        }
    }

    fn number(&mut self, byte: u8) -> Step {
        let next = match (self.state, byte) {
            (State::Minus, b'0') => State::Zero,
            (State::Minus, b'1'..=b'9') | (State::Digits, b'0'..=b'9') => State::Digits,
            (State::Zero | State::Digits, b'.') => State::Point,
            (State::Point | State::Fraction, b'0'..=b'9') => State::Fraction,
            (State::Zero | State::Digits | State::Fraction, b'e' | b'E') => State::Exponent,
            (State::Exponent, b'+' | b'-') => State::ExponentSign,
            (State::Exponent | State::ExponentSign | State::ExponentDigits, b'0'..=b'9') => State::ExponentDigits,
            (State::Zero | State::Digits | State::Fraction | State::ExponentDigits, _) => {
                return self.number_ends(byte);
            }
            _ => return Step::Wrong,
        };
        self.go(next)
    }

    /// A number has no end of its own: this byte is the first that is not of it.
    fn number_ends(&mut self, byte: u8) -> Step {
        if self.depth == 0 {
            return Step::Before;
        }
        self.state = State::AfterValue;
        self.after_value(byte)
    }

    fn after_value(&mut self, byte: u8) -> Step {
        match byte {
            b',' if self.in_object() => self.go(State::Name),
            b',' => self.go(State::Value),
            b']' | b'}' => self.close(byte),
            _ => blank_or_wrong(byte),
        }
    }

    fn value_ends(&mut self) -> Step {
        if self.depth == 0 { Step::Last } else { self.go(State::AfterValue) }
    }

    fn open(&mut self, object: bool) -> Step {
        if self.depth == MAX_SCAN_DEPTH {
            return Step::Wrong;
        }
        let (place, bit) = (self.depth / 8, 1 << (self.depth % 8));
        if place == self.levels.len() {
            self.levels.push(0);
        }
        self.levels[place] = if object { self.levels[place] | bit } else { self.levels[place] & !bit };
        self.depth += 1;
        self.go(if object { State::FirstName } else { State::FirstElement })
    }

    fn close(&mut self, byte: u8) -> Step {
        if self.in_object() != (byte == b'}') {
            return Step::Wrong;
        }
        self.depth -= 1;
        self.value_ends()
    }

    fn in_object(&self) -> bool {
        let level = self.depth.wrapping_sub(1);
        self.levels.get(level / 8).is_some_and(|bits| bits >> (level % 8) & 1 == 1)
    }

    fn go(&mut self, state: State) -> Step {
        self.state = state;
        Step::Next
    }
}

/// What a byte does to a [`Scanner`].
enum Step {
    Next,
    /// It is the last of the value.
    Last,
    /// It is the first after the value.
    Before,
    Wrong,
}

fn blank_or_wrong(byte: u8) -> Step {
    if is_blank(byte) { Step::Next } else { Step::Wrong }
}

/// How many bytes at the start are neither quote, backslash nor control bytes. Looks at eight bytes at once.
fn plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    let plain_words = bytes.chunks_exact(8).take_while(|word| {
        let word = u64::from_ne_bytes([word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7]]);
        // The high bit of a byte shows that it is below 0x20, a quote (0x22) or a backslash (0x5c); bytes
        // above the first such one may show it for no reason.
        let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
        let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        (below(word, 0x20) | is(b'"') | is(b'\\')) & HIGHS == 0
    });
    let len = plain_words.count() * 8;
    let rest = &bytes[len..];
    len + rest.iter().position(|byte| ESCAPES[*byte as usize] != 0).unwrap_or(rest.len())
}

/// Reads one value; only blanks may follow it.
///
/// Integers beyond 64 bits become floats. Objects keep order and repeated names.
pub fn parse(bytes: &[u8]) -> Result<Item, CodecError> {
    let text = Text::new(bytes);
    let mut json = text.deserializer();
    let seed = ItemSeed { text: &text, first_wins: false };
    let item = seed.deserialize(&mut json).and_then(|item| json.end().map(|()| item));
    item.map_err(|error| text.error(&error, bytes))
}

/// Reads the value at the start of `bytes` and says how many bytes it takes, blanks before it included.
pub fn parse_prefix(bytes: &[u8]) -> Result<(Item, usize), CodecError> {
    let mut scanner = Scanner::new();
    let scan = match scanner.feed(bytes) {
        Scan::NeedMore => scanner.finish(),
        scan => scan,
    };
    match scan {
        Scan::Complete(end) => Ok((parse(&bytes[..end])?, end)),
        Scan::Invalid(offset) => Err(CodecError::unexpected("a JSON value", bytes, offset)),
        Scan::NeedMore => Err(CodecError::unexpected("the rest of a JSON value", bytes, bytes.len())),
    }
}

/// The value that a response carries; nothing for one that carries none.
pub fn item_of(body: &Body) -> Result<Option<Cow<'_, Item>>, CodecError> {
    match body {
        Body::Empty => Ok(None),
        Body::Item(item) => Ok(Some(Cow::Borrowed(item))),
        Body::Json(text) => parse(text).map(|item| Some(Cow::Owned(item))),
        Body::Tree(tree) => match tree_to_item(tree) {
            Ok(item) => Ok(item.map(Cow::Owned)),
            Err(TooDeep) => Err(CodecError::TooDeep { limit: MAX_DEPTH, offset: 0 }),
        },
    }
}

/// Appends an item without blanks. Floats that are no numbers become null.
pub fn write(out: &mut Vec<u8>, item: &Item) {
    match item {
        Item::Array(elements) => {
            out.push(b'[');
            for (place, element) in elements.iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                write(out, element);
            }
            out.push(b']');
        }
        Item::Object(members) => {
            out.push(b'{');
            for (place, (name, member)) in members.iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                write_string(out, name);
                out.push(b':');
                write(out, member);
            }
            out.push(b'}');
        }
        scalar => write_scalar(out, scalar),
    }
}

/// Appends an item as OpenSIPS does with `pretty_printing`: TABs, and `", "` between array elements.
pub fn write_pretty(out: &mut Vec<u8>, item: &Item) {
    write_pretty_at(out, item, 0);
}

/// As [`write_pretty`], for an item that stands `depth` levels deep.
pub(crate) fn write_pretty_at(out: &mut Vec<u8>, item: &Item, depth: usize) {
    match item {
        Item::Array(elements) => {
            out.push(b'[');
            for (place, element) in elements.iter().enumerate() {
                if place > 0 {
                    out.extend_from_slice(b", ");
                }
                write_pretty_at(out, element, depth + 1);
            }
            out.push(b']');
        }
        Item::Object(members) => {
            out.extend_from_slice(b"{\n");
            for (place, (name, member)) in members.iter().enumerate() {
                push_tabs(out, depth + 1);
                write_string(out, name);
                out.extend_from_slice(b":\t");
                write_pretty_at(out, member, depth + 1);
                out.extend_from_slice(if place + 1 < members.len() { b",\n" } else { b"\n" });
            }
            push_tabs(out, depth);
            out.push(b'}');
        }
        scalar => write_scalar(out, scalar),
    }
}

/// Appends a string in quotes, with the escapes that OpenSIPS uses: only those that JSON demands.
/// Bytes that are not UTF-8 go as they are.
pub fn write_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let mut rest = bytes;
    loop {
        let plain = plain_len(rest);
        out.extend_from_slice(&rest[..plain]);
        let Some(&byte) = rest.get(plain) else { break };
        match ESCAPES[byte as usize] {
            b'u' => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&hex(byte));
            }
            letter => out.extend_from_slice(&[b'\\', letter]),
        }
        rest = &rest[plain + 1..];
    }
    out.push(b'"');
}

/// What follows the backslash for each byte that needs one; `u` for `\u00xx`, 0 for none.
static ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = b'u';
        byte += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0a] = b'n';
    table[0x0c] = b'f';
    table[0x0d] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

fn write_scalar(out: &mut Vec<u8>, item: &Item) {
    match item {
        Item::Bool(true) => out.extend_from_slice(b"true"),
        Item::Bool(false) => out.extend_from_slice(b"false"),
        Item::Int(value) => push_int(out, *value),
        Item::UInt(value) => push_int(out, *value),
        Item::Float(value) if value.is_finite() => push_float(out, *value),
        Item::Str(text) => write_string(out, text),
        _ => out.extend_from_slice(b"null"),
    }
}

pub(crate) fn push_tabs(out: &mut Vec<u8>, count: usize) {
    out.resize(out.len() + count, b'\t');
}

/// The two hex digits of a byte.
pub(crate) fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// The byte that two hex digits begin these bytes with.
pub(crate) fn unhex(digits: &[u8]) -> Option<u8> {
    let digit = |place: usize| char::from(*digits.get(place)?).to_digit(16);
    Some((digit(0)? * 16 + digit(1)?) as u8)
}

/// JSON text for a parser that takes UTF-8 alone: other bytes are replaced by stand-ins, which
/// [`Text::bytes`] turns back.
pub(crate) struct Text<'a> {
    text: Cow<'a, str>,
}

impl<'a> Text<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(with_stand_ins(bytes)),
        };
        Text { text }
    }

    /// Whether parsed strings stand for nothing but themselves.
    #[cfg(feature = "python")]
    pub(crate) fn is_exact(&self) -> bool {
        matches!(self.text, Cow::Borrowed(_))
    }

    pub(crate) fn deserializer(&self) -> serde_json::Deserializer<serde_json::de::StrRead<'_>> {
        serde_json::Deserializer::from_str(&self.text)
    }

    /// The bytes that a parsed string stands for.
    pub(crate) fn bytes(&self, parsed: &str) -> Str {
        match &self.text {
            Cow::Owned(_) if parsed.contains(STAND_IN) => without_stand_ins(parsed).into(),
            _ => parsed.into(),
        }
    }

    /// What a parser says of this text, in terms of the bytes that it was made from.
    pub(crate) fn error(&self, error: &serde_json::Error, bytes: &[u8]) -> CodecError {
        let parsed = self.offset(error.line(), error.column());
        let offset = match &self.text {
            Cow::Borrowed(_) => parsed,
            Cow::Owned(text) => original_len(&text.as_bytes()[..parsed]),
        };
        // The parser has no other mark for it.
        if error.to_string().starts_with("recursion limit exceeded") {
            return CodecError::TooDeep { limit: MAX_DEPTH, offset };
        }
        let (expected, offset) = match error.classify() {
            serde_json::error::Category::Eof => ("the rest of a JSON value", bytes.len()),
            _ => ("a JSON value", offset),
        };
        CodecError::unexpected(expected, bytes, offset)
    }

    /// The byte that the parser's line and column (both from 1) name.
    fn offset(&self, line: usize, column: usize) -> usize {
        let text = self.text.as_bytes();
        let start = match line.saturating_sub(2) {
            _ if line < 2 => 0,
            ends => memchr::memchr_iter(b'\n', text).nth(ends).map_or(text.len(), |end| end + 1),
        };
        (start + column.saturating_sub(1)).min(text.len())
    }
}

/// The text with a stand-in for every byte that is not UTF-8, and for stand-ins that are there already.
fn with_stand_ins(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + bytes.len() / 4);
    let stand_in = |text: &mut String, byte: u8| {
        text.push(STAND_IN);
        text.extend(hex(byte).map(char::from));
    };
    for chunk in bytes.utf8_chunks() {
        let mut chars = chunk.valid().char_indices();
        while let Some((at, char)) = chars.next() {
            let rest = &chunk.valid().as_bytes()[at..];
            if char == STAND_IN || is_stand_in_escape(rest) {
                STAND_IN.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| stand_in(&mut text, byte));
                (char == '\\').then(|| chars.nth(STAND_IN_ESCAPE.len() - 2));
            } else {
                text.push(char);
                // An escaped backslash does not begin an escape.
                if char == '\\' {
                    text.extend(chars.next().map(|(_, next)| next).filter(|next| *next != STAND_IN));
                }
            }
        }
        chunk.invalid().iter().for_each(|byte| stand_in(&mut text, *byte));
    }
    text
}

fn is_stand_in_escape(bytes: &[u8]) -> bool {
    bytes.get(..STAND_IN_ESCAPE.len()).is_some_and(|start| start.eq_ignore_ascii_case(STAND_IN_ESCAPE))
}

fn without_stand_ins(parsed: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(parsed.len());
    let mut pieces = parsed.split(STAND_IN);
    bytes.extend_from_slice(pieces.next().unwrap_or_default().as_bytes());
    for piece in pieces {
        match unhex(piece.as_bytes()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend_from_slice(&piece.as_bytes()[2..]);
            }
            None => bytes.extend_from_slice(piece.as_bytes()),
        }
    }
    bytes
}

/// How many bytes stood where this text with stand-ins stands.
fn original_len(text: &[u8]) -> usize {
    let stand_ins = memchr::memmem::find_iter(text, STAND_IN.encode_utf8(&mut [0; 4]).as_bytes()).count();
    text.len().saturating_sub(stand_ins * 5)
}

/// Builds an [`Item`]; of members with the same name all stay, or with `first_wins` the first alone.
#[derive(Clone, Copy)]
pub(crate) struct ItemSeed<'t> {
    pub(crate) text: &'t Text<'t>,
    pub(crate) first_wins: bool,
}

impl<'de> DeserializeSeed<'de> for ItemSeed<'_> {
    type Value = Item;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Item, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ItemSeed<'_> {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Item, E> {
        Ok(Item::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Item, E> {
        Ok(Item::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Item, E> {
        Ok(Item::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Item, E> {
        Ok(Item::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Item, E> {
        Ok(Item::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Item, E> {
        Ok(Item::Str(self.text.bytes(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Item, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = elements.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Item::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Item, A::Error> {
        read_members(self, members).map(Item::Object)
    }
}

/// The members of an object, in order.
fn read_members<'de, A: MapAccess<'de>>(seed: ItemSeed<'_>, mut object: A) -> Result<Vec<(Str, Item)>, A::Error> {
    let mut members: Vec<(Str, Item)> = Vec::new();
    let mut names = HashSet::new();
    while let Some(name) = object.next_key_seed(NameSeed(seed.text))? {
        if seed.first_wins && is_repeated(&members, &mut names, &name) {
            object.next_value::<IgnoredAny>()?;
        } else {
            members.push((name, object.next_value_seed(seed)?));
        }
    }
    Ok(members)
}

/// Whether a member has this name; `names` is filled once there are too many to look through.
fn is_repeated(members: &[(Str, Item)], names: &mut HashSet<Str>, name: &Str) -> bool {
    if members.len() < LOOK_THROUGH {
        return members.iter().any(|(other, _)| other == name);
    }
    if names.is_empty() {
        names.extend(members.iter().map(|(name, _)| name.clone()));
    }
    !names.insert(name.clone())
}

/// Reads a string.
struct NameSeed<'t>(&'t Text<'t>);

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = Str;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Str, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = Str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Str, E> {
        Ok(self.0.bytes(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compact(item: &Item) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, item);
        out
    }

    fn scan(bytes: &[u8]) -> Scan {
        let mut scanner = Scanner::new();
        match scanner.feed(bytes) {
            Scan::NeedMore => scanner.finish(),
            scan => scan,
        }
    }

    proptest! {
        #[test]
        fn eight_bytes_at_once_are_seen_as_one_by_one(bytes: Vec<u8>, plain in "[a-zA-Z\u{80}-\u{ff}]{0,40}") {
            for bytes in [&bytes, &[plain.as_bytes(), &bytes].concat()] {
                let one_by_one = bytes.iter().take_while(|byte| ESCAPES[**byte as usize] == 0).count();
                prop_assert_eq!(plain_len(bytes), one_by_one);
            }
        }
    }

    #[test]
    fn strings_have_the_escapes_that_the_originals_write() {
        let mut out = Vec::new();
        write_string(&mut out, b"a\"\\/\x08\x0c\n\r\t\x01\x1f\x7f\xc3\xa9\xff");
        assert_eq!(out, b"\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\xc3\xa9\xff\"");
    }

    #[test]
    fn bytes_that_are_not_utf_8_survive_in_strings_and_names_and_are_errors_elsewhere() {
        let item = parse(b"{\"\xff\":\"caf\xe9 \xf4\x8f\xbf\xbe \\udbff\\uDFFE \\\\udbff\\\\udffe\"}").expect("JSON");
        let text = b"caf\xe9 \xf4\x8f\xbf\xbe \xf4\x8f\xbf\xbe \\udbff\\udffe".as_slice();
        assert_eq!(item, Item::Object(vec![(b"\xff".as_slice().into(), Item::Str(text.into()))]));
        assert_eq!(
            parse(b"[\"\xe9\xe9\", \xff]"),
            Err(CodecError::Unexpected { expected: "a JSON value", found: "\"\\xff]\"".into(), offset: 7 })
        );
    }

    #[test]
    fn numbers_beyond_64_bits_are_floats_and_beyond_doubles_errors() {
        assert_eq!(parse(b"9223372036854775807"), Ok(Item::Int(i64::MAX)));
        assert_eq!(parse(b"9223372036854775808"), Ok(Item::UInt(9_223_372_036_854_775_808)));
        assert_eq!(parse(b"18446744073709551615"), Ok(Item::UInt(u64::MAX)));
        assert_eq!(compact(&Item::UInt(u64::MAX)), b"18446744073709551615");
        assert_eq!(parse(b"18446744073709551616"), Ok(Item::Float(18_446_744_073_709_551_616.0)));
        assert_eq!(parse(b"-9223372036854775809"), Ok(Item::Float(-9_223_372_036_854_775_809.0)));
        assert!(parse(b"1e999").is_err());
        assert!(parse("9".repeat(400).as_bytes()).is_err());
        assert_eq!(
            compact(&Item::Array(vec![Item::Float(f64::NAN), Item::Float(0.1), Item::Float(1e300)])),
            b"[null,0.1,1e300]"
        );
    }

    #[test]
    fn depth_ends_at_a_limit_and_never_at_the_stack() {
        let deep = |levels: usize| [b"[".repeat(levels), b"]".repeat(levels)].concat();
        assert!(parse(&deep(127)).is_ok());
        assert_eq!(parse(&deep(129)), Err(CodecError::TooDeep { limit: 128, offset: 127 }));
        assert!(matches!(parse(&deep(100_000)), Err(CodecError::TooDeep { .. })));
        assert_eq!(scan(&deep(100_000)), Scan::Complete(200_000));
        assert_eq!(scan(&b"[".repeat(MAX_SCAN_DEPTH + 1)), Scan::Invalid(MAX_SCAN_DEPTH));
    }

    #[test]
    fn objects_keep_order_and_repeated_names() {
        let text = br#"{"b":1,"a":2,"b":3}"#;
        assert_eq!(compact(&parse(text).expect("JSON")), text);
    }

    #[test]
    fn errors_say_what_was_expected_and_found_and_where() {
        let error = |bytes: &[u8]| parse(bytes).expect_err("no JSON").to_string();
        assert_eq!(error(b"{\"a\":\n 1 x}"), "expected a JSON value, found \"x}\" at byte 9");
        assert_eq!(error(b""), "expected the rest of a JSON value, found the end at byte 0");
        assert_eq!(error(b"{} {}"), "expected a JSON value, found \"{}\" at byte 3");
    }

    #[test]
    fn a_prefix_says_how_long_it_is() {
        assert_eq!(parse_prefix(b" {\"a\":1} tail"), Ok((Item::Object(vec![("a".into(), Item::Int(1))]), 8)));
        assert_eq!(parse_prefix(b"12:"), Ok((Item::Int(12), 2)));
        assert_eq!(parse_prefix(b"\"\xff\"x"), Ok((Item::Str(b"\xff".as_slice().into()), 3)));
        assert!(parse_prefix(b"{\"a\"").is_err());
        assert!(parse_prefix(b"").is_err());
    }

    #[test]
    fn a_scanner_says_where_a_value_goes_wrong() {
        assert_eq!(scan(b"{\"a\"::1}"), Scan::Invalid(5));
        assert_eq!(scan(b"{\"a\":1]"), Scan::Invalid(6));
        assert_eq!(scan(b"[1,]"), Scan::Invalid(3));
        assert_eq!(scan(b"\"\\x\""), Scan::Invalid(2));
        assert_eq!(scan(b"\"\n\""), Scan::Invalid(1));
        assert_eq!(scan(b"01"), Scan::Complete(1));
        assert_eq!(scan(b"-"), Scan::NeedMore);
        assert_eq!(scan(b"nul"), Scan::NeedMore);
    }

    fn items() -> impl Strategy<Value = Item> {
        let leaf = prop_oneof![
            Just(Item::Null),
            any::<bool>().prop_map(Item::Bool),
            any::<i64>().prop_map(Item::Int),
            any::<i32>().prop_map(|value| Item::Float(f64::from(value) / 8.0)),
            proptest::collection::vec(any::<u8>(), 0..8).prop_map(|bytes| Item::Str(bytes.into())),
            "[\u{10FFFE}\\\\\"a]{0,6}".prop_map(Item::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let name = proptest::collection::vec(any::<u8>(), 0..4).prop_map(Str::from);
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Item::Array),
                proptest::collection::vec((name, inner), 0..4).prop_map(Item::Object),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_it_was(item in items()) {
            let mut pretty = Vec::new();
            write_pretty(&mut pretty, &item);
            prop_assert_eq!(parse(&compact(&item)), Ok(item.clone()));
            prop_assert_eq!(parse(&pretty), Ok(item));
        }

        #[test]
        fn a_scanner_finds_the_end_however_the_bytes_come(item in items(), tail in "[ x:{]{1,3}", split in 0usize..40) {
            let mut bytes = compact(&Item::Array(vec![item]));
            let end = bytes.len();
            bytes.extend_from_slice(tail.as_bytes());
            let (first, second) = bytes.split_at(split.min(bytes.len()));
            let mut scanner = Scanner::new();
            scanner.feed(first);
            prop_assert_eq!(scanner.feed(second), Scan::Complete(end));
        }

        #[test]
        fn scanner_and_parser_agree_on_what_is_json(bytes in "[\\[\\]{}\",:0-9.eE+\\-tf ntrueals\\\\]{0,12}") {
            let parsed = parse(bytes.as_bytes()).is_ok();
            let complete = matches!(scan(bytes.as_bytes()), Scan::Complete(end) if bytes[end..].trim_ascii().is_empty());
            // A number may be too large, an escape half a character: the scanner leaves that to the parser.
            prop_assert!(complete || !parsed, "{}", bytes);
            prop_assert!(parsed || !complete || bytes.contains(['e', 'E', '\\']), "{}", bytes);
        }
    }
}
