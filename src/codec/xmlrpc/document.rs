//! An XML document as XML-RPC uses it: elements and text, in any encoding that is read here.

use std::borrow::Cow;

use quick_xml::events::Event;

use crate::codec::{CodecError, is_blank};

/// The name of an XML-RPC document in errors.
const WHAT: &str = "the XML-RPC document";

/// The only character that may precede the document.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The expected token at an end tag that does not close the innermost element.
const MISMATCH: &str = "the end of the innermost element";

/// A document type declares the expansion of its entities, which could be anything.
const NO_DOCTYPE: &str = "no document type";

/// How long a reference may be: `&#x10FFFF;` with room for leading zeros.
const MAX_REFERENCE: usize = 32;

/// The elements of XML-RPC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Element {
    MethodCall,
    MethodName,
    MethodResponse,
    Params,
    Param,
    Fault,
    Value,
    Array,
    Elements,
    Struct,
    Member,
    Name,
    Text,
    Int,
    Boolean,
    Double,
    Base64,
    DateTime,
    Nil,
    Other,
}

impl Element {
    /// The most frequent first.
    const NAMES: [(&'static str, Element); 27] = [
        ("value", Element::Value),
        ("member", Element::Member),
        ("name", Element::Name),
        ("string", Element::Text),
        ("int", Element::Int),
        ("struct", Element::Struct),
        ("array", Element::Array),
        ("data", Element::Elements),
        ("param", Element::Param),
        ("params", Element::Params),
        ("methodCall", Element::MethodCall),
        ("methodName", Element::MethodName),
        ("methodResponse", Element::MethodResponse),
        ("fault", Element::Fault),
        ("i4", Element::Int),
        ("i8", Element::Int),
        ("ex:i8", Element::Int),
        ("boolean", Element::Boolean),
        ("double", Element::Double),
        ("base64", Element::Base64),
        ("dateTime.iso8601", Element::DateTime),
        ("nil", Element::Nil),
        ("ex:nil", Element::Nil),
        ("i1", Element::Int),
        ("i2", Element::Int),
        ("ex:i1", Element::Int),
        ("ex:i2", Element::Int),
    ];

    /// Case does not matter to the originals either.
    fn of(name: &str) -> Element {
        let known = Self::NAMES.iter().find(|(known, _)| *known == name);
        let known = known.or_else(|| Self::NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)));
        known.map_or(Element::Other, |(_, element)| *element)
    }
}

/// The kind of markup after some text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tag {
    /// An element begins.
    Open(Element),
    /// The innermost element ends.
    Close,
    /// The document ends.
    End,
}

/// The bytes of a document as characters.
pub(super) struct Source<'a> {
    bytes: &'a [u8],
    text: Cow<'a, str>,
    /// True if a character stands for the byte of its number, because the bytes need not be text.
    is_bytes: bool,
}

impl<'a> Source<'a> {
    /// UTF-8, or what the document says. Of UTF-8 that is not, each byte is a character, and text becomes bytes again.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, CodecError> {
        let declared = declared_encoding(bytes);
        let is = |names: &[&str]| declared.is_none_or(|(name, _)| names.iter().any(|known| is_same(name, known)));
        let latin = || bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
        let (text, is_bytes) = if is(&["UTF-8", "UTF8", "US-ASCII", "ASCII"]) {
            match std::str::from_utf8(bytes) {
                Ok(text) => (Cow::Borrowed(text), false),
                Err(_) => (Cow::Owned(latin()), true),
            }
        } else if is(&["ISO-8859-1", "ISO8859-1", "LATIN1", "LATIN-1"]) {
            (Cow::Owned(latin()), false)
        } else {
            let offset = declared.map_or(0, |(_, offset)| offset);
            return Err(CodecError::unexpected("the encoding UTF-8 or ISO-8859-1", bytes, offset));
        };
        Ok(Source { bytes, text, is_bytes })
    }

    /// Returns true if the bytes are valid text.
    pub(super) fn is_text(&self) -> bool {
        !self.is_bytes
    }

    /// Returns true if this text continues at an offset of [`Document::offset`].
    pub(super) fn goes_on(&self, offset: usize, text: &str) -> bool {
        self.text.as_bytes()[offset..].starts_with(text.as_bytes())
    }

    fn is_transcoded(&self) -> bool {
        matches!(self.text, Cow::Owned(_))
    }
}

/// The encoding that a document declares, and where its name stands.
fn declared_encoding(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr::memmem::find(bytes.strip_prefix(b"<?xml")?, b"?>")? + b"<?xml".len();
    let key = memchr::memmem::find(&bytes[..end], b"encoding")?;
    let quote = key + bytes[key..end].iter().position(|byte| matches!(byte, b'"' | b'\''))?;
    let len = memchr::memchr(bytes[quote], &bytes[quote + 1..end])?;
    Some((&bytes[quote + 1..quote + 1 + len], quote + 1))
}

fn is_same(name: &[u8], known: &str) -> bool {
    name.eq_ignore_ascii_case(known.as_bytes())
}

/// Reads a document from tag to tag. Plain tags, text and references, which are nearly all of one, are read here;
/// everything else is an event of quick-xml. Entities are never expanded, so what comes out is no larger than what
/// went in.
pub(super) struct Document<'s> {
    source: &'s Source<'s>,
    text: &'s str,
    /// True if the rules of XML hold: line ends become newlines, control characters are errors.
    strict: bool,
    /// Where the next tag or text begins.
    at: usize,
    /// The start of the last tag, or of the markup in its place.
    last: usize,
    /// The names of the elements that are open.
    open: Vec<&'s str>,
    /// True if the last tag was an empty element, whose end has not been returned yet.
    is_empty: bool,
}

/// The next part of a document.
enum Piece<'s> {
    Tag(Tag),
    /// Text as it stands there.
    Text(&'s str),
    Char(char),
    /// Markup without content: comments, instructions, the declaration.
    Nothing,
}

impl<'s> Document<'s> {
    pub(super) fn new(source: &'s Source<'s>, strict: bool) -> Self {
        let at = if source.text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len_utf8() } else { 0 };
        Document { source, text: &source.text, strict, at, last: at, open: Vec::new(), is_empty: false }
    }

    /// Returns true if the rest of the document is well-formed XML. The position of an error is not needed.
    pub(super) fn check_well_formed(mut self) -> bool {
        let (mut text, mut roots) = (Vec::new(), 0);
        loop {
            let is_inside = !self.open.is_empty();
            let tag = self.text_and_tag(&mut text);
            let is_fine = is_inside || text.iter().all(|byte| is_blank(*byte));
            roots += usize::from(matches!(tag, Ok(Tag::Open(_))) && !is_inside);
            match tag {
                Ok(Tag::End) => return is_fine && roots == 1,
                Ok(_) if is_fine => {}
                _ => return false,
            }
        }
    }

    /// The name of the innermost element, as it stands there.
    pub(super) fn name(&self) -> &'s str {
        self.open.last().copied().unwrap_or_default()
    }

    /// Where the last tag ended, in the text of the source.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// Reads to the next tag, over nothing but blanks.
    pub(super) fn tag(&mut self) -> Result<Tag, CodecError> {
        loop {
            match self.piece()? {
                Piece::Tag(tag) => return Ok(tag),
                Piece::Text(text) if text.bytes().all(is_blank) => {}
                Piece::Text(_) | Piece::Char(_) => return Err(self.unexpected("an element")),
                Piece::Nothing => {}
            }
        }
    }

    /// Reads to the next tag and replaces `text` by the text before it.
    pub(super) fn text_and_tag(&mut self, text: &mut Vec<u8>) -> Result<Tag, CodecError> {
        text.clear();
        loop {
            match self.piece()? {
                Piece::Tag(tag) => return Ok(tag),
                Piece::Text(piece) => self.push_text(text, piece)?,
                Piece::Char(char) => text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
                Piece::Nothing => {}
            }
        }
    }

    /// Reads the text of an element to its end.
    pub(super) fn text(&mut self, text: &mut Vec<u8>) -> Result<(), CodecError> {
        match self.text_and_tag(text)? {
            Tag::Close => Ok(()),
            _ => Err(self.unexpected("text and the end of its element")),
        }
    }

    /// Reads the end of an element.
    pub(super) fn close(&mut self) -> Result<(), CodecError> {
        match self.tag()? {
            Tag::Close => Ok(()),
            _ => Err(self.unexpected("the end of an element")),
        }
    }

    /// Reads the beginning of an element.
    pub(super) fn open(&mut self, element: Element, expected: &'static str) -> Result<(), CodecError> {
        match self.tag()? {
            Tag::Open(found) if found == element => Ok(()),
            _ => Err(self.unexpected(expected)),
        }
    }

    /// The last tag, or the markup in its place, is not the expected one.
    pub(super) fn unexpected(&self, expected: &'static str) -> CodecError {
        self.unexpected_at(expected, self.last)
    }

    /// The last tag begins a level too much.
    pub(super) fn too_deep(&self, limit: usize) -> CodecError {
        CodecError::TooDeep { limit, offset: self.offset_in_bytes(self.last) }
    }

    fn unexpected_at(&self, expected: &'static str, offset: usize) -> CodecError {
        CodecError::unexpected(expected, self.source.bytes, self.offset_in_bytes(offset))
    }

    fn truncated(&self) -> CodecError {
        CodecError::Truncated { what: WHAT, size: self.source.bytes.len() }
    }

    fn piece(&mut self) -> Result<Piece<'s>, CodecError> {
        self.last = self.at;
        if std::mem::take(&mut self.is_empty) {
            self.open.pop();
            return Ok(Piece::Tag(Tag::Close));
        }
        let rest = &self.text.as_bytes()[self.at..];
        match rest {
            [] if self.open.is_empty() => Ok(Piece::Tag(Tag::End)),
            [] => Err(self.truncated()),
            [b'<', b'/', name @ ..] => self.end_tag(name),
            [b'<', b'!' | b'?', ..] => self.event(),
            [b'<', name @ ..] => self.start_tag(name),
            [b'&', ..] => self.reference(),
            _ => {
                let len = memchr::memchr2(b'<', b'&', rest).unwrap_or(rest.len());
                self.at += len;
                Ok(Piece::Text(&self.text[self.last..self.at]))
            }
        }
    }

    fn end_tag(&mut self, rest: &[u8]) -> Result<Piece<'s>, CodecError> {
        let Some(name) = self.open.pop() else {
            return Err(self.unexpected("no end without a beginning"));
        };
        let after = rest.strip_prefix(name.as_bytes()).unwrap_or_default();
        let blanks = after.iter().take_while(|byte| is_blank(**byte)).count();
        if after.get(blanks) == Some(&b'>') {
            self.at += b"</>".len() + name.len() + blanks;
            return Ok(Piece::Tag(Tag::Close));
        }
        if memchr::memchr(b'>', rest).is_none() { Err(self.truncated()) } else { Err(self.unexpected(MISMATCH)) }
    }

    fn start_tag(&mut self, rest: &[u8]) -> Result<Piece<'s>, CodecError> {
        let is_of_name =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b':' | b'-' | b'_' | 0x80..);
        let len = rest.iter().take_while(|byte| is_of_name(byte)).count();
        let begins =
            rest.first().is_some_and(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b':' | 0x80..));
        if len > 0 && !begins {
            return Err(self.unexpected("the name of an element"));
        }
        let name = self.at + 1;
        match &rest[len..] {
            [b'>', ..] if len > 0 => self.at = name + len + 1,
            [b'/', b'>', ..] if len > 0 => {
                self.at = name + len + 2;
                self.is_empty = true;
            }
            _ => return self.event(),
        }
        Ok(self.begin(&self.text[name..name + len]))
    }

    fn begin(&mut self, name: &'s str) -> Piece<'s> {
        self.open.push(name);
        Piece::Tag(Tag::Open(Element::of(name)))
    }

    /// The character that a reference names: one of the five of XML, or a number.
    fn reference(&mut self) -> Result<Piece<'s>, CodecError> {
        let rest = &self.text[self.at..];
        let Some(end) = rest.bytes().take(MAX_REFERENCE).position(|byte| byte == b';') else {
            return Err(self.unexpected("a reference to a character"));
        };
        let char = match &rest[1..end] {
            "lt" => Some('<'),
            "gt" => Some('>'),
            "amp" => Some('&'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            name => {
                let number = match (name.strip_prefix("#x"), name.strip_prefix('#')) {
                    (Some(digits), _) => u32::from_str_radix(digits, 16).ok(),
                    (None, Some(digits)) => digits.parse().ok(),
                    (None, None) => None,
                };
                number.and_then(char::from_u32)
            }
        };
        let is_fine = |char: &char| !self.strict || *char >= ' ' || matches!(char, '\t' | '\n' | '\r');
        match char.filter(is_fine) {
            Some(char) => {
                self.at += end + 1;
                Ok(Piece::Char(char))
            }
            None => Err(self.unexpected("a reference to a character")),
        }
    }

    /// Reads the markup that quick-xml parses: a tag with attributes, a comment, an instruction, CDATA, the
    /// declaration.
    fn event(&mut self) -> Result<Piece<'s>, CodecError> {
        let mut xml = quick_xml::Reader::from_str(&self.text[self.at..]);
        let event = xml.read_event().map_err(|error| self.error(&error, xml.error_position()))?;
        self.at += usize::try_from(xml.buffer_position()).unwrap_or_default();
        let name_at = |len: usize| &self.text[self.last + 1..self.last + 1 + len];
        match event {
            Event::Start(start) => Ok(self.begin(name_at(start.name().as_ref().len()))),
            Event::Empty(start) => {
                self.is_empty = true;
                Ok(self.begin(name_at(start.name().as_ref().len())))
            }
            Event::CData(_) => Ok(Piece::Text(&self.text[self.last + b"<![CDATA[".len()..self.at - b"]]>".len()])),
            Event::DocType(_) => Err(self.unexpected(NO_DOCTYPE)),
            _ => Ok(Piece::Nothing),
        }
    }

    fn error(&self, error: &quick_xml::Error, offset: u64) -> CodecError {
        use quick_xml::errors::{Error, SyntaxError};
        match error {
            Error::Syntax(SyntaxError::UnclosedDoctype) => self.unexpected(NO_DOCTYPE),
            Error::Syntax(SyntaxError::InvalidBangMarkup) => self.unexpected("a comment or CDATA"),
            Error::Syntax(_) => self.truncated(),
            _ => self.unexpected_at("XML", self.last + usize::try_from(offset).unwrap_or_default()),
        }
    }

    fn push_text(&self, out: &mut Vec<u8>, piece: &str) -> Result<(), CodecError> {
        if !self.strict {
            self.push_as_bytes(out, piece);
            return Ok(());
        }
        if let Some(place) = piece.bytes().position(|byte| byte < b' ' && !is_blank(byte)) {
            return Err(self.unexpected_at("a character that XML may hold", self.last + place));
        }
        let mut lines = piece.split('\r');
        self.push_as_bytes(out, lines.next().unwrap_or_default());
        for line in lines {
            out.push(b'\n');
            self.push_as_bytes(out, line.strip_prefix('\n').unwrap_or(line));
        }
        Ok(())
    }

    fn push_as_bytes(&self, out: &mut Vec<u8>, piece: &str) {
        if self.source.is_bytes {
            out.extend(piece.chars().map(|char| char as u8));
        } else {
            out.extend_from_slice(piece.as_bytes());
        }
    }

    /// Translates a position in the text to its position in the bytes.
    fn offset_in_bytes(&self, offset: usize) -> usize {
        if self.source.is_transcoded() {
            let before = self.text.as_bytes().get(..offset).unwrap_or_default();
            // Each character was a byte.
            before.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
        } else {
            offset
        }
    }
}
