//! An XML document as XML-RPC uses it: elements and text, in any encoding that is read here.

use std::borrow::Cow;

use quick_xml::events::{BytesRef, Event};

use crate::codec::{CodecError, is_blank};

/// What an XML-RPC document is called in errors.
const WHAT: &str = "the XML-RPC document";

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
    fn of(name: &str) -> Element {
        match name {
            "value" => Element::Value,
            "string" => Element::Text,
            "member" => Element::Member,
            "name" => Element::Name,
            "struct" => Element::Struct,
            "array" => Element::Array,
            "data" => Element::Elements,
            "int" | "i4" | "i8" | "ex:i8" | "i1" | "i2" | "ex:i1" | "ex:i2" => Element::Int,
            "boolean" => Element::Boolean,
            "double" => Element::Double,
            "base64" => Element::Base64,
            "dateTime.iso8601" => Element::DateTime,
            "nil" | "ex:nil" => Element::Nil,
            "param" => Element::Param,
            "params" => Element::Params,
            "fault" => Element::Fault,
            "methodName" => Element::MethodName,
            "methodCall" => Element::MethodCall,
            "methodResponse" => Element::MethodResponse,
            _ => Element::Other,
        }
    }
}

/// What stands after some text.
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
    /// Whether a character stands for the byte of its number, which need not be text.
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

    /// Whether this is the text that goes on at an offset of [`Document::offset`].
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

/// Reads a document from tag to tag. Its reader never expands entities, so what comes out is no larger than what
/// went in.
pub(super) struct Document<'s> {
    xml: quick_xml::Reader<&'s [u8]>,
    source: &'s Source<'s>,
    /// Whether the rules of XML hold: line ends become newlines, control characters are errors.
    strict: bool,
    /// Where the last tag began.
    at: usize,
    depth: usize,
}

impl<'s> Document<'s> {
    pub(super) fn new(source: &'s Source<'s>, strict: bool) -> Self {
        let mut xml = quick_xml::Reader::from_str(&source.text);
        xml.config_mut().expand_empty_elements = true;
        Document { xml, source, strict, at: 0, depth: 0 }
    }

    /// Whether all of it is XML, from here on. Where the document is wrong does not matter.
    pub(super) fn is_well_formed(mut self) -> bool {
        let (mut text, mut roots) = (Vec::new(), 0);
        loop {
            let is_inside = self.depth > 0;
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

    /// Where the last tag ended, in the text of the source.
    pub(super) fn offset(&self) -> usize {
        usize::try_from(self.xml.buffer_position()).unwrap_or(usize::MAX)
    }

    /// Reads to the next tag, over nothing but blanks.
    pub(super) fn tag(&mut self) -> Result<Tag, CodecError> {
        loop {
            match self.event()? {
                Event::Text(text) if text.as_bytes().iter().all(|byte| is_blank(*byte)) => {}
                Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) => {
                    return Err(self.unexpected("an element"));
                }
                event => {
                    if let Some(tag) = self.tag_of(&event)? {
                        return Ok(tag);
                    }
                }
            }
        }
    }

    /// Reads to the next tag and replaces `text` by the text before it.
    pub(super) fn text_and_tag(&mut self, text: &mut Vec<u8>) -> Result<Tag, CodecError> {
        text.clear();
        loop {
            match self.event()? {
                Event::Text(piece) => self.push_text(text, &piece)?,
                Event::CData(piece) => self.push_text(text, &piece)?,
                Event::GeneralRef(reference) => self.push_reference(text, &reference)?,
                event => {
                    if let Some(tag) = self.tag_of(&event)? {
                        return Ok(tag);
                    }
                }
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

    /// The last tag, or what stood in its place, is not what should have been there.
    pub(super) fn unexpected(&self, expected: &'static str) -> CodecError {
        let offset = self.offset_in_bytes(self.at);
        if offset >= self.source.bytes.len() && self.depth > 0 {
            return CodecError::Truncated { what: WHAT, size: self.source.bytes.len() };
        }
        CodecError::unexpected(expected, self.source.bytes, offset)
    }

    /// The last tag begins a level too much.
    pub(super) fn too_deep(&self, limit: usize) -> CodecError {
        CodecError::TooDeep { limit, offset: self.offset_in_bytes(self.at) }
    }

    fn event(&mut self) -> Result<Event<'s>, CodecError> {
        self.at = self.offset();
        self.xml.read_event().map_err(|error| self.error(&error))
    }

    /// The tag that an event is; `None` for what does not count.
    fn tag_of(&mut self, event: &Event<'_>) -> Result<Option<Tag>, CodecError> {
        match event {
            Event::Start(start) => {
                self.depth += 1;
                Ok(Some(Tag::Open(Element::of(start.name().as_ref()))))
            }
            Event::End(_) => {
                self.depth -= 1;
                Ok(Some(Tag::Close))
            }
            Event::Eof if self.depth > 0 => Err(CodecError::Truncated { what: WHAT, size: self.source.bytes.len() }),
            Event::Eof => Ok(Some(Tag::End)),
            Event::DocType(_) => Err(self.unexpected("no document type")),
            _ => Ok(None),
        }
    }

    fn push_text(&self, out: &mut Vec<u8>, piece: &str) -> Result<(), CodecError> {
        if !self.strict {
            return Ok(self.push_as_bytes(out, piece));
        }
        if let Some(place) = piece.bytes().position(|byte| byte < b' ' && !is_blank(byte)) {
            let offset = self.offset_in_bytes(self.at + place);
            return Err(CodecError::unexpected("a character that XML may hold", self.source.bytes, offset));
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

    /// Appends the character that a reference names.
    fn push_reference(&self, out: &mut Vec<u8>, reference: &BytesRef<'_>) -> Result<(), CodecError> {
        let char = match reference.resolve_char_ref() {
            Ok(Some(char)) => Some(char).filter(|char| !self.strict || *char >= ' ' || char.is_ascii_whitespace()),
            Ok(None) => match &**reference {
                "lt" => Some('<'),
                "gt" => Some('>'),
                "amp" => Some('&'),
                "quot" => Some('"'),
                "apos" => Some('\''),
                _ => None,
            },
            Err(_) => None,
        };
        let char = char.ok_or_else(|| self.unexpected("a reference to a character"))?;
        out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn error(&self, error: &quick_xml::Error) -> CodecError {
        use quick_xml::errors::{Error, IllFormedError, SyntaxError};
        let expected = match error {
            Error::IllFormed(IllFormedError::MismatchedEndTag { .. }) => "the end of the innermost element",
            Error::IllFormed(IllFormedError::UnmatchedEndTag(_)) => "no end without a beginning",
            Error::IllFormed(IllFormedError::UnclosedReference) => "a reference that ends in a semicolon",
            Error::Syntax(SyntaxError::UnclosedDoctype) => "no document type",
            Error::Syntax(_) => return CodecError::Truncated { what: WHAT, size: self.source.bytes.len() },
            _ => "XML",
        };
        let offset = usize::try_from(self.xml.error_position()).unwrap_or(usize::MAX);
        CodecError::unexpected(expected, self.source.bytes, self.offset_in_bytes(offset))
    }

    /// Where in the bytes stands what stands there in the text.
    fn offset_in_bytes(&self, offset: usize) -> usize {
        if self.source.is_transcoded() {
            let before = self.source.text.as_bytes().get(..offset).unwrap_or_default();
            // Each character was a byte.
            before.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
        } else {
            offset
        }
    }
}
