//! JSON text with bytes that are not UTF-8, for a parser that takes UTF-8 alone.

use std::borrow::Cow;

use crate::codec::CodecError;
use crate::codec::hex::{hex, unhex};
use crate::item::{MAX_DEPTH, Str};

/// The stand-in for a byte that is not UTF-8 while a text is parsed: this noncharacter and two hex digits.
const STAND_IN: char = '\u{10FFFE}';

/// [`STAND_IN`] as JSON may write it; such an escape is taken for the character itself.
const STAND_IN_ESCAPE: &[u8] = br"\udbff\udffe";

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

    /// Returns true if parsed strings hold no stand-ins.
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

    /// Translates a parser's error about this text into positions of the original bytes.
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
