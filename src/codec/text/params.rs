//! Requests: a command, and parameters of a line each.

use memchr::memmem;

use super::super::{CodecError, RequestError, is_blank, json, push_float, push_int};
use super::Carrier;
use crate::dialect::Dialect;
use crate::item::{Item, Str};
use crate::request::{Param, Params, Request};
use crate::response::Failure;

/// The name under which an empty value without a name is sent: no wire of 1.x and 2.x can say it otherwise, and
/// they ignore names.
const NO_NAME: &[u8] = b"_";

/// Reads the lines after a request's first one.
///
/// A line is `value`, `name::value`, `::value`, or any of them with the value in quotes, where it may span lines
/// and `\"` is a quote. Blanks around unquoted names and values go, lines of blanks are skipped. Emulated versions
/// refuse a quoted value that is empty or begins with a quote, as the originals do; Sipmi also takes `_::`, as which
/// [`encode_params`] says it, for an empty value without a name.
pub fn decode_params(block: &[u8], dialect: Dialect) -> Result<Vec<Param>, CodecError> {
    let mut params = Vec::new();
    let mut reader = ParamReader { block, at: 0, strict: dialect.is_emulated() };
    while let Some(param) = reader.next_param()? {
        params.push(param);
    }
    Ok(params)
}

/// Reads a datagram: `:method:` and a newline, then parameters.
///
/// Sipmi also takes CRLF, and a first line without its leading colon. A datagram that does not begin as a request does
/// is [`Failure::UnknownCommand`]; any other unreadable datagram is [`Failure::Parse`].
pub fn decode_request(datagram: &[u8], dialect: Dialect) -> Result<Request, RequestError> {
    let refused = |failure, method: &[u8]| RequestError { failure, method: method.into() };
    let (method, block) = split_head(datagram, dialect).ok_or_else(|| refused(Failure::UnknownCommand, b""))?;
    let params = decode_params(block, dialect).map_err(|_| refused(Failure::Parse, method))?;
    let params = if params.is_empty() { Params::None } else { Params::Strings(params) };
    Ok(Request { method: method.into(), params })
}

/// Appends parameters, a line each. On error nothing is appended.
pub fn encode_params(out: &mut Vec<u8>, params: &[Param], carrier: Carrier) -> Result<(), CodecError> {
    let start = out.len();
    let written = params.iter().enumerate().try_for_each(|(place, param)| {
        write_param(out, &param.name, &param.value, carrier)
            .map_err(|why| CodecError::unsayable_param(place + 1, why))
    });
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// Appends a request. On error nothing is appended.
///
/// Typed parameters become strings: booleans 1 and 0, numbers their digits, objects JSON text, the elements of an
/// array parameters of their own. A null by name or at the end is left out. `reply_name` is that of the reply FIFO,
/// which datagrams have not.
pub fn encode_request(
    out: &mut Vec<u8>,
    request: &Request,
    carrier: Carrier,
    reply_name: &str,
) -> Result<(), CodecError> {
    check_word(&request.method, "the method")?;
    let params = as_strings(&request.params)?;
    let start = out.len();
    for part in [b":".as_slice(), &request.method, b":"] {
        out.extend_from_slice(part);
    }
    if carrier == Carrier::Fifo {
        check_reply_name(reply_name).inspect_err(|_| out.truncate(start))?;
        out.extend_from_slice(reply_name.as_bytes());
    }
    out.push(b'\n');
    encode_params(out, &params, carrier).inspect_err(|_| out.truncate(start))?;
    if carrier == Carrier::Fifo {
        out.push(b'\n');
    }
    Ok(())
}

/// Reads parameters, one at a call.
struct ParamReader<'a> {
    block: &'a [u8],
    at: usize,
    /// True if parameters that OpenSIPS cannot read are refused.
    strict: bool,
}

impl ParamReader<'_> {
    fn next_param(&mut self) -> Result<Option<Param>, CodecError> {
        self.skip(is_blank);
        let Some(&first) = self.block.get(self.at) else { return Ok(None) };
        let start = self.at;
        let mut param = Param::default();
        if first == b'"' {
            param.value = self.quoted()?;
        } else {
            let line_end = self.line_end();
            if let Some(len) = memmem::find(&self.block[start..line_end], b"::") {
                param.name = self.unquoted(start, start + len)?;
                self.at = start + len + 2;
                self.skip(|byte| byte != b'\n' && is_blank(byte));
            }
            param.value = match self.block.get(self.at) {
                Some(b'"') => self.quoted()?,
                _ => self.unquoted(self.at, line_end)?,
            };
        }
        let quoted = self.block[..self.at].ends_with(b"\"");
        if param.value.is_empty() && param.name.is_empty() && (self.strict || !quoted) {
            return Err(CodecError::unexpected("a parameter's name or value", self.block, start));
        }
        if *param.name == *NO_NAME && param.value.is_empty() && !self.strict {
            param.name = Str::default();
        }
        Ok(Some(param))
    }

    /// The bytes between these places, without blanks around them; goes on after them.
    fn unquoted(&mut self, start: usize, end: usize) -> Result<Str, CodecError> {
        let bytes = &self.block[start..end];
        if let Some(quote) = memchr::memchr(b'"', bytes) {
            return Err(CodecError::unexpected("a line without quotes inside", self.block, start + quote));
        }
        self.at = end;
        Ok(trim(bytes).into())
    }

    /// The value in quotes that starts here; goes on after the closing quote, which ends its line.
    fn quoted(&mut self) -> Result<Str, CodecError> {
        let start = self.at + 1;
        let mut value = Vec::new();
        let mut from = start;
        let end = loop {
            let quote = memchr::memchr(b'"', &self.block[from..]).map(|len| from + len);
            let quote =
                quote.ok_or_else(|| CodecError::unexpected("a closing quote", self.block, self.block.len()))?;
            if self.block[quote - 1] != b'\\' {
                value.extend_from_slice(&self.block[from..quote]);
                break quote;
            }
            value.extend_from_slice(&self.block[from..quote - 1]);
            value.push(b'"');
            from = quote + 1;
        };
        if self.strict && value.first() == Some(&b'"') {
            return Err(CodecError::unexpected("a value that does not begin with a quote", self.block, start));
        }
        self.at = end + 1;
        let rest = &self.block[self.at..self.line_end()];
        match rest.iter().position(|byte| !is_blank(*byte)) {
            Some(len) => Err(CodecError::unexpected("the end of the line", self.block, self.at + len)),
            None => Ok(value.into()),
        }
    }

    fn line_end(&self) -> usize {
        memchr::memchr(b'\n', &self.block[self.at..]).map_or(self.block.len(), |len| self.at + len)
    }

    fn skip(&mut self, skipped: impl Fn(u8) -> bool) {
        self.at += self.block[self.at..].iter().take_while(|byte| skipped(**byte)).count();
    }
}

/// Method and parameter lines of a datagram.
fn split_head(datagram: &[u8], dialect: Dialect) -> Option<(&[u8], &[u8])> {
    let tolerant = !dialect.is_emulated();
    let end = memchr::memchr(b'\n', datagram)?;
    let head = &datagram[..end];
    let head = if tolerant { trim(head) } else { head };
    let head = head.strip_suffix(b":")?;
    let method = match head.strip_prefix(b":") {
        Some(method) => method,
        None if tolerant => head,
        None => return None,
    };
    let is_word = !method.is_empty() && !method.contains(&b':');
    is_word.then_some((method, &datagram[end + 1..]))
}

fn trim(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !is_blank(*byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !is_blank(*byte)).map_or(start, |last| last + 1);
    &bytes[start..end]
}

fn write_param(out: &mut Vec<u8>, name: &[u8], value: &[u8], carrier: Carrier) -> Result<(), &'static str> {
    check_name(name)?;
    if memchr::memchr(0, value).is_some() {
        return Err("it holds a NUL byte");
    }
    let needs_quotes = value.iter().any(|byte| matches!(byte, b'"' | b'\n')) || trim(value).len() < value.len();
    if needs_quotes {
        check_quoted(value, carrier)?;
    }
    if value.is_empty() && name.is_empty() {
        out.extend_from_slice(NO_NAME);
    }
    out.extend_from_slice(name);
    if !name.is_empty() || value.is_empty() || (!needs_quotes && memmem::find(value, b"::").is_some()) {
        out.extend_from_slice(b"::");
    }
    if needs_quotes {
        out.push(b'"');
        for (place, piece) in value.split(|byte| *byte == b'"').enumerate() {
            if place > 0 {
                out.extend_from_slice(b"\\\"");
            }
            out.extend_from_slice(piece);
        }
        out.push(b'"');
    } else {
        out.extend_from_slice(value);
    }
    out.push(b'\n');
    Ok(())
}

fn check_name(name: &[u8]) -> Result<(), &'static str> {
    let plain = !name.iter().any(|byte| matches!(byte, b'"' | b'\n' | 0)) && trim(name).len() == name.len();
    if plain && memmem::find(name, b"::").is_none() && !name.ends_with(b":") {
        Ok(())
    } else {
        Err("its name holds what ends a name")
    }
}

/// Checks that a value that needs quotes can be written in quotes.
fn check_quoted(value: &[u8], carrier: Carrier) -> Result<(), &'static str> {
    let holds = |bytes| memmem::find(value, bytes).is_some();
    if value.starts_with(b"\"") {
        Err("it begins with a quote")
    } else if value.ends_with(b"\\") {
        Err("it ends in a backslash and needs quotes")
    } else if carrier == Carrier::Fifo && holds(b"\n\n") {
        Err("it holds an empty line, which ends a request on a FIFO")
    } else if carrier == Carrier::Fifo && holds(b"\n\"") {
        Err("one of its lines begins with a quote, which a FIFO does not take")
    } else {
        Ok(())
    }
}

fn check_word(method: &[u8], what: &str) -> Result<(), CodecError> {
    let unsayable = |why| Err(CodecError::Unsayable { what: what.to_owned(), why });
    if method.is_empty() {
        unsayable("it is empty")
    } else if method.contains(&b':') {
        unsayable("it holds a colon, and text knows no modules")
    } else if method.iter().any(|byte| is_blank(*byte) || *byte == 0) {
        unsayable("it holds a blank or a NUL byte")
    } else {
        Ok(())
    }
}

fn check_reply_name(name: &str) -> Result<(), CodecError> {
    if name.bytes().any(|byte| is_blank(byte) || matches!(byte, b':' | b'/' | b'\\' | b'.' | 0)) {
        let what = "the reply FIFO's name".to_owned();
        return Err(CodecError::Unsayable { what, why: "it holds a byte that servers refuse" });
    }
    Ok(())
}

/// Parameters as strings, each with a name or without.
pub(in crate::codec) fn as_strings(params: &Params) -> Result<Vec<Param>, CodecError> {
    let mut strings = Vec::new();
    match params {
        Params::None => {}
        Params::Strings(params) => strings.extend_from_slice(params),
        Params::Positional(items) => {
            let given = items.iter().rposition(|item| *item != Item::Null).map_or(0, |last| last + 1);
            for (place, item) in items[..given].iter().enumerate() {
                push_strings(&mut strings, &Str::default(), item, place + 1)?;
            }
        }
        Params::Named(members) => {
            for (place, (name, item)) in members.iter().enumerate().filter(|(_, (_, item))| *item != Item::Null) {
                push_strings(&mut strings, name, item, place + 1)?;
            }
        }
    }
    Ok(strings)
}

fn push_strings(strings: &mut Vec<Param>, name: &Str, item: &Item, position: usize) -> Result<(), CodecError> {
    let mut push = |item: &Item| {
        let value = match item {
            Item::Null => return Err(CodecError::unsayable_param(position, "the wire knows no null")),
            Item::Str(text) => text.clone(),
            item => printed(item).into(),
        };
        strings.push(Param { name: name.clone(), value });
        Ok(())
    };
    match item {
        Item::Array(elements) => elements.iter().try_for_each(push),
        item => push(item),
    }
}

fn printed(item: &Item) -> Vec<u8> {
    let mut text = Vec::new();
    match item {
        Item::Bool(value) => push_int(&mut text, i64::from(*value)),
        Item::Float(value) => push_float(&mut text, *value),
        item => json::write(&mut text, item),
    }
    text
}
