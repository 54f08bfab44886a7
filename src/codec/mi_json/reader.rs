//! Reads the body of a reply into a tree, without loss.

use std::borrow::Cow;

use memchr::memchr2;

use crate::codec::hex::unhex;
use crate::codec::{CodecError, is_blank, json};
use crate::convert::item_value;
use crate::item::{Item, MAX_DEPTH};
use crate::tree::{Flags, NodeId, Tree, Value};

/// The kind of an object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The children of a node.
    Children,
    /// A node.
    Node,
}

/// The parts of a node, in the order in which they are written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Part {
    Value,
    Attributes,
    Children,
}

impl Part {
    /// The part of this name, when the next character allows one.
    fn of(name: &[u8], first: u8) -> Option<Part> {
        match (name, first) {
            (b"attributes", b'{') => Some(Part::Attributes),
            (b"children", b'{') => Some(Part::Children),
            (b"value", first) if !matches!(first, b'{' | b'[') => Some(Part::Value),
            _ => None,
        }
    }
}

/// Reads a body, byte after byte.
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    pub(super) tree: Tree,
}

impl<'a> Reader<'a> {
    /// Reads the members of an object whose `{` was read: into `target` itself, or as its children.
    pub(super) fn object(&mut self, target: NodeId, kind: Kind, depth: usize) -> Result<(), CodecError> {
        if depth >= MAX_DEPTH {
            return Err(CodecError::TooDeep { limit: MAX_DEPTH, offset: self.at });
        }
        let (mut count, mut only_list) = (0, false);
        // The node without a name whose parts come one by one, and the last of them.
        let mut nameless: Option<(NodeId, Part)> = None;
        while let Some(name) = self.next_name(count == 0)? {
            count += 1;
            let after_colon = self.at;
            let first = self.peek("a value")?;
            let is_tight = after_colon == self.at;
            let part = Part::of(&name, first).filter(|part| match kind {
                Kind::Children => is_tight,
                Kind::Node => *part != Part::Value || self.tree.value(target) == Value::None,
            });
            match part {
                None => {
                    only_list = first == b'[' && count == 1;
                    self.child(target, &name, first, kind, depth)?;
                }
                Some(part) => {
                    only_list = false;
                    let node = match (kind, nameless) {
                        (Kind::Node, _) => target,
                        (Kind::Children, Some((node, last))) if last < part => node,
                        (Kind::Children, _) => self.tree.add_child(target, b"", Value::None),
                    };
                    nameless = Some((node, part));
                    self.part(node, part, first, depth)?;
                }
            }
        }
        if only_list && kind == Kind::Children {
            self.tree.mark(target, Flags::IS_ARRAY);
        } else if count == 0 && kind == Kind::Children {
            self.tree.mark(target, Flags::IS_OBJECT);
        }
        Ok(())
    }

    fn part(&mut self, node: NodeId, part: Part, first: u8, depth: usize) -> Result<(), CodecError> {
        match part {
            Part::Value => match self.scalar(first)? {
                Scalar::Text(text) => self.tree.set_value(node, &*text),
                Scalar::Other(item) => self.tree.set_value(node, item_value(&item)),
            },
            Part::Attributes => {
                self.at += 1;
                let mut is_first = true;
                while let Some(name) = self.next_name(is_first)? {
                    is_first = false;
                    let first = self.peek("the value of an attribute")?;
                    match self.scalar(first)? {
                        Scalar::Text(text) => self.tree.add_attr(node, &name, &*text),
                        Scalar::Other(item) => self.tree.add_attr(node, &name, item_value(&item)),
                    }
                }
            }
            Part::Children => {
                self.at += 1;
                self.object(node, Kind::Children, depth + 1)?;
            }
        }
        Ok(())
    }

    /// Reads a child, or the children that a list is.
    fn child(&mut self, parent: NodeId, name: &[u8], first: u8, kind: Kind, depth: usize) -> Result<(), CodecError> {
        if first != b'[' {
            if name.is_empty() && kind == Kind::Children {
                self.tree.mark(parent, Flags::IS_OBJECT);
            }
            self.element(parent, name, first, depth)?;
            return Ok(());
        }
        self.at += 1;
        let mut is_empty = true;
        while let Some(first) = self.next_element(is_empty)? {
            is_empty = false;
            let node = self.element(parent, name, first, depth)?;
            self.tree.mark(node, Flags::IN_LIST);
        }
        if is_empty && !name.is_empty() {
            let node = self.tree.add_child(parent, name, Value::None);
            self.tree.mark(node, Flags::IS_ARRAY);
        }
        Ok(())
    }

    /// Reads one child: an object, or a value alone.
    fn element(&mut self, parent: NodeId, name: &[u8], first: u8, depth: usize) -> Result<NodeId, CodecError> {
        if first == b'{' {
            self.at += 1;
            let node = self.tree.add_child(parent, name, Value::None);
            self.object(node, Kind::Node, depth + 1)?;
            return Ok(node);
        }
        Ok(match self.scalar(first)? {
            Scalar::Text(text) => self.tree.add_child(parent, name, &*text),
            Scalar::Other(item) => self.tree.add_child(parent, name, item_value(&item)),
        })
    }

    /// The name of the next member, after its colon; `None` at the end of the object.
    fn next_name(&mut self, is_first: bool) -> Result<Option<Cow<'a, [u8]>>, CodecError> {
        let expected = if is_first { "a name or the end of an object" } else { "a comma or the end of an object" };
        match self.peek(expected)? {
            b'}' => {
                self.at += 1;
                return Ok(None);
            }
            b',' if !is_first => {
                self.at += 1;
                self.skip_blanks();
            }
            _ if is_first => {}
            _ => return Err(self.unexpected(expected)),
        }
        self.expect(b'"', "a name in quotes")?;
        let name = self.string()?;
        self.skip_blanks();
        self.expect(b':', "a colon")?;
        Ok(Some(name))
    }

    /// The first byte of the next element; `None` at the end of the list.
    fn next_element(&mut self, is_first: bool) -> Result<Option<u8>, CodecError> {
        let expected = if is_first { "an element or the end of a list" } else { "a comma or the end of a list" };
        match self.peek(expected)? {
            b']' => {
                self.at += 1;
                Ok(None)
            }
            b',' if !is_first => {
                self.at += 1;
                self.peek("an element").map(Some)
            }
            first if is_first => Ok(Some(first)),
            _ => Err(self.unexpected(expected)),
        }
    }

    /// A string, number, boolean or null.
    fn scalar(&mut self, first: u8) -> Result<Scalar<'a>, CodecError> {
        if first == b'"' {
            self.at += 1;
            return self.string().map(Scalar::Text);
        }
        let rest = &self.bytes[self.at..];
        let is_of_word = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
        let word = &rest[..rest.iter().take_while(is_of_word).count()];
        match json::parse(word) {
            Ok(item) => {
                self.at += word.len();
                Ok(Scalar::Other(item))
            }
            Err(_) => Err(self.unexpected("a value")),
        }
    }

    /// A string whose opening quote was read, whatever bytes it holds.
    fn string(&mut self) -> Result<Cow<'a, [u8]>, CodecError> {
        let start = self.at;
        let mut decoded = Vec::new();
        let mut from = start;
        loop {
            let Some(len) = memchr2(b'"', b'\\', &self.bytes[from..]) else { return Err(self.truncated()) };
            let end = from + len;
            if self.bytes[end] == b'"' {
                self.at = end + 1;
                if from == start {
                    return Ok(Cow::Borrowed(&self.bytes[start..end]));
                }
                decoded.extend_from_slice(&self.bytes[from..end]);
                return Ok(Cow::Owned(decoded));
            }
            decoded.extend_from_slice(&self.bytes[from..end]);
            from = self.escape(end, &mut decoded)?;
        }
    }

    /// Appends the character of the escape at this place, and returns its end.
    fn escape(&self, at: usize, out: &mut Vec<u8>) -> Result<usize, CodecError> {
        let byte = match self.bytes.get(at + 1) {
            Some(byte @ (b'"' | b'\\' | b'/')) => *byte,
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => return self.unicode_escape(at, out),
            Some(_) => return Err(CodecError::unexpected("an escape of JSON", self.bytes, at)),
            None => return Err(self.truncated()),
        };
        out.push(byte);
        Ok(at + 2)
    }

    fn unicode_escape(&self, at: usize, out: &mut Vec<u8>) -> Result<usize, CodecError> {
        let unit = |at: usize| {
            let digits = self.bytes.get(at..at + 6)?.strip_prefix(br"\u")?;
            Some(u16::from_be_bytes([unhex(digits)?, unhex(&digits[2..])?]))
        };
        let units = [at, at + 6].into_iter().map_while(unit);
        let char = char::decode_utf16(units).next().and_then(Result::ok);
        let char = char.ok_or_else(|| CodecError::unexpected("an escaped character", self.bytes, at))?;
        out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(at + 6 * char.len_utf16())
    }

    /// The next byte that is no blank.
    fn peek(&mut self, expected: &'static str) -> Result<u8, CodecError> {
        self.skip_blanks();
        match self.bytes.get(self.at) {
            Some(byte) => Ok(*byte),
            None if self.at > 0 => Err(self.truncated()),
            None => Err(self.unexpected(expected)),
        }
    }

    pub(super) fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), CodecError> {
        match self.bytes.get(self.at) {
            Some(found) if *found == byte => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(self.unexpected(expected)),
            None => Err(self.truncated()),
        }
    }

    pub(super) fn skip_blanks(&mut self) {
        self.at += self.bytes[self.at..].iter().take_while(|byte| is_blank(**byte)).count();
    }

    fn unexpected(&self, expected: &'static str) -> CodecError {
        CodecError::unexpected(expected, self.bytes, self.at)
    }

    fn truncated(&self) -> CodecError {
        CodecError::Truncated { what: "the mi_json reply", size: self.bytes.len() }
    }
}

/// A value that is neither object nor list.
enum Scalar<'a> {
    Text(Cow<'a, [u8]>),
    Other(Item),
}
