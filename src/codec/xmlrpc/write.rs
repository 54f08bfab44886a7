//! Text in an XML document, written as each version writes it, and the characters that no document may hold.

use crate::dialect::Dialect;

use super::Form;

/// Text that XML cannot hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unsayable {
    /// A control character other than tab, newline and carriage return, or U+FFFE or U+FFFF.
    Character,
    /// Bytes that are not UTF-8.
    Bytes,
    /// A tree deeper than values may nest.
    TooDeep,
}

impl Unsayable {
    /// Returns the reason for the sender.
    pub(super) fn why(self) -> &'static str {
        match self {
            Unsayable::Character => "it holds a character that XML cannot hold",
            Unsayable::Bytes => "it holds bytes that are not UTF-8",
            Unsayable::TooDeep => "it nests too deep",
        }
    }
}

/// How text is escaped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Escapes {
    /// Quotes and apostrophes are references, as `mi_xmlrpc_ng` has them.
    quotes: bool,
    /// A carriage return is a reference and bytes are UTF-8, so that every XML parser reads the written text back.
    exact: bool,
    /// The reader decodes references of two digits twice.
    twice: bool,
}

impl Escapes {
    /// As a server writes replies.
    pub(super) fn of_replies(form: Form, dialect: Dialect) -> Self {
        let by_xmlrpc_c = matches!(form, Form::String | Form::Array);
        Escapes { quotes: dialect.is_emulated() && !by_xmlrpc_c, exact: !dialect.is_emulated(), twice: false }
    }

    /// As a client writes requests to such a server.
    pub(super) fn of_requests(form: Form, server: Dialect) -> Self {
        let twice = matches!(form, Form::Native | Form::Ng1 | Form::Ng2);
        Escapes { quotes: false, exact: true, twice: server.is_emulated() && twice }
    }

    /// Returns true if every XML parser reads the written text unchanged.
    pub(super) fn is_exact(self) -> bool {
        self.exact
    }
}

/// The class of a byte in text.
const PLAIN: u8 = 0;
const MARKUP: u8 = 1;
const QUOTE: u8 = 2;
const RETURN: u8 = 3;
const CONTROL: u8 = 4;
/// The first byte of U+FFFE and U+FFFF, and of many others.
const SUSPECT: u8 = 5;

const CLASSES: [u8; 256] = {
    let mut classes = [PLAIN; 256];
    let mut byte = 0;
    while byte < 0x20 {
        classes[byte] = CONTROL;
        byte += 1;
    }
    classes[b'\t' as usize] = PLAIN;
    classes[b'\n' as usize] = PLAIN;
    classes[b'\r' as usize] = RETURN;
    classes[b'<' as usize] = MARKUP;
    classes[b'>' as usize] = MARKUP;
    classes[b'&' as usize] = MARKUP;
    classes[b'"' as usize] = QUOTE;
    classes[b'\'' as usize] = QUOTE;
    classes[0xef] = SUSPECT;
    classes
};

/// Appends text with references for markup characters.
pub(super) fn push_escaped(out: &mut Vec<u8>, text: &[u8], escapes: Escapes) -> Result<(), Unsayable> {
    if escapes.exact && std::str::from_utf8(text).is_err() {
        return Err(Unsayable::Bytes);
    }
    let mut from = 0;
    for (at, byte) in text.iter().enumerate() {
        let class = CLASSES[usize::from(*byte)];
        if class == PLAIN {
            continue;
        }
        let reference: &[u8] = match (class, byte) {
            (CONTROL, _) => return Err(Unsayable::Character),
            (SUSPECT, _) if matches!(text[at..], [_, 0xbf, 0xbe | 0xbf, ..]) => return Err(Unsayable::Character),
            (MARKUP, b'<') => b"&lt;",
            (MARKUP, b'>') => b"&gt;",
            (MARKUP, _) if escapes.twice && is_reference(&text[at..]) => b"&amp;#38;",
            (MARKUP, _) => b"&amp;",
            (QUOTE, b'"') if escapes.quotes => b"&quot;",
            (QUOTE, b'\'') if escapes.quotes => b"&#39;",
            (RETURN, _) if escapes.exact => b"&#13;",
            _ => continue,
        };
        out.extend_from_slice(&text[from..at]);
        out.extend_from_slice(reference);
        from = at + 1;
    }
    out.extend_from_slice(&text[from..]);
    Ok(())
}

/// Returns true if these bytes begin with a reference of two digits.
fn is_reference(text: &[u8]) -> bool {
    matches!(text, [b'&', b'#', tens, ones, b';', ..] if tens.is_ascii_digit() && ones.is_ascii_digit())
}

/// Text as 2.4, 3.x and 4.x see it: references of two digits are decoded once more.
pub(super) fn decode_again(text: Vec<u8>) -> Vec<u8> {
    if !text.windows(5).any(is_reference) {
        return text;
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_slice();
    while let Some(first) = rest.first() {
        if is_reference(rest) {
            out.push((rest[2] - b'0') * 10 + (rest[3] - b'0'));
            rest = &rest[5..];
        } else {
            out.push(*first);
            rest = &rest[1..];
        }
    }
    out
}
