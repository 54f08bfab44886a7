//! Requests: typed in `native`, strings in all other forms, and several in one `system.multicall`.

use std::borrow::Cow;

use super::Form;
use super::document::{Document, Element, Source, Tag};
use super::value::{Kinds, ValueReader, push_member, push_value};
use super::write::{Escapes, Unsayable, decode_again, push_escaped};
use crate::codec::{CodecError, RequestError, push_float, push_int, text};
use crate::dialect::Dialect;
use crate::item::{Item, Str};
use crate::request::{Param, Params, Request};
use crate::response::Failure;

/// The method that runs several.
pub const MULTICALL: &[u8] = b"system.multicall";

/// The content of one document.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// A request alone, answered by [`super::encode_response`].
    One(Request),
    /// Several in one `system.multicall`, answered by [`super::encode_multicall`].
    Multicall(Vec<Result<Request, RequestError>>),
}

/// Reads a client's message.
///
/// In `native` one struct alone is parameters by name, anything else parameters by position. In the other forms
/// scalars are strings; Sipmi takes lists and structs there as well, as `native` does. Line ends become newlines, as
/// XML has it; a carriage return comes as `&#13;`. Sipmi ignores blanks around the method.
///
/// Emulated versions take UTF-8 alone, and the types that their originals do: 1.11's `string` and `array` scalars alone, all `ng` forms strings that
/// are not empty, `native` strings, integers and lists and structs of them. 2.4's `ng`, 3.x and 4.x decode references
/// of two digits twice. Only sipmi and 1.11's `string` and `array` know `system.multicall`.
///
/// Bytes that are no XML are [`Failure::Parse`], a document that is no request [`Failure::InvalidRequest`]; in
/// `string` and `array` only a value of the wrong type is that.
pub fn decode_request(body: &[u8], form: Form, dialect: Dialect) -> Result<Incoming, RequestError> {
    let rules = Rules { form, dialect };
    let mut reader = Reader::default();
    let refused = |failure, method| Err(RequestError { failure, method });
    let source = Source::new(body).ok().filter(|source| source.is_text() || !dialect.is_emulated());
    let Some(source) = source else { return refused(Failure::Parse, reader.method) };
    if reader.read(&source).is_err() {
        let is_xml = Document::new(&source, true).check_well_formed();
        let failure = if is_xml && !rules.is_of_xmlrpc_c() { Failure::InvalidRequest } else { Failure::Parse };
        return refused(failure, reader.method);
    }
    let mut method = reader.method;
    if !dialect.is_emulated() {
        method = method.trim_ascii().into();
    }
    if *method == *MULTICALL && rules.know_multicall() {
        return match calls_of(reader.items, rules) {
            Some(calls) => Ok(Incoming::Multicall(calls)),
            None => refused(Failure::InvalidRequest, method),
        };
    }
    if !rules.take(&reader.values) {
        return refused(Failure::InvalidRequest, method);
    }
    match rules.params(reader.items) {
        Some(params) => Ok(Incoming::One(Request { method, params })),
        None => refused(Failure::InvalidRequest, method),
    }
}

/// Appends a request. On error nothing is appended.
///
/// `server` is who reads it. To [`Dialect::Sipmi`] everything goes with its type. The originals of `native` take strings
/// that are not empty and integers of 32 bits: booleans go as 1 and 0, other numbers as strings. In the other forms
/// all parameters become strings without names, as in [`text::encode_params`]; `ng`, `ng1` and `ng2` take no empty ones.
/// A null by name or at the end is left out. Text that 2.4, 3.x and 4.x would decode twice is escaped once more.
pub fn encode_request(out: &mut Vec<u8>, request: &Request, form: Form, server: Dialect) -> Result<(), CodecError> {
    let escapes = Escapes::of_requests(form, server);
    let start = out.len();
    out.extend_from_slice(b"<?xml version=\"1.0\"?><methodCall><methodName>");
    let written = push_escaped(out, &request.method, escapes)
        .map_err(|unsayable| CodecError::Unsayable { what: "the method".into(), why: unsayable.why() })
        .and_then(|()| {
            out.extend_from_slice(b"</methodName><params>");
            match form {
                Form::Native => push_native(out, &request.params, server, escapes),
                form => push_strings(out, &request.params, form, server, escapes),
            }
        });
    match written {
        Ok(()) => out.extend_from_slice(b"</params></methodCall>"),
        Err(_) => out.truncate(start),
    }
    written
}

/// The parts of a document that were read.
#[derive(Default)]
struct Reader {
    method: Str,
    items: Vec<Item>,
    values: ValueReader,
}

impl Reader {
    fn read(&mut self, source: &Source<'_>) -> Result<(), CodecError> {
        let mut document = Document::new(source, true);
        document.open(Element::MethodCall, "<methodCall>")?;
        document.open(Element::MethodName, "<methodName>")?;
        let mut method = Vec::new();
        document.text(&mut method)?;
        self.method = method.into();
        match document.tag()? {
            Tag::Open(Element::Params) => {
                while let Tag::Open(element) = document.tag()? {
                    if element != Element::Param {
                        return Err(document.unexpected("<param>"));
                    }
                    document.open(Element::Value, "<value>")?;
                    self.items.push(self.values.value(&mut document)?);
                    document.close()?;
                }
                document.close()?;
            }
            Tag::Close => {}
            _ => return Err(document.unexpected("<params> or the end of <methodCall>")),
        }
        self.values.check_depth()?;
        match document.tag()? {
            Tag::End => Ok(()),
            _ => Err(document.unexpected("the end of the document")),
        }
    }
}

/// The values that a version accepts in a form.
#[derive(Clone, Copy)]
struct Rules {
    form: Form,
    dialect: Dialect,
}

impl Rules {
    /// Returns true if the library xmlrpc-c reads requests.
    fn is_of_xmlrpc_c(self) -> bool {
        matches!(self.form, Form::String | Form::Array)
    }

    fn know_multicall(self) -> bool {
        !self.dialect.is_emulated() || self.is_of_xmlrpc_c()
    }

    /// Returns true if the form has the types of these values.
    fn take(self, values: &ValueReader) -> bool {
        !self.dialect.is_emulated()
            || self.is_of_xmlrpc_c()
            || !(values.kinds.has(Kinds::UNTYPED) || values.kinds.has(Kinds::RARE))
    }

    /// The parameters that these values are.
    fn params(self, items: Vec<Item>) -> Option<Params> {
        if items.is_empty() {
            return Some(Params::None);
        }
        let is_scalar = |item: &Item| !matches!(item, Item::Null | Item::Array(_) | Item::Object(_));
        let are_strings = self.form != Form::Native && items.iter().all(is_scalar);
        if are_strings {
            if self.dialect.is_emulated() && !self.is_of_xmlrpc_c() && !items.iter().all(is_filled) {
                return None;
            }
            let mut params = text::as_strings(&Params::Positional(items)).ok()?;
            if self.decode_twice() {
                for param in &mut params {
                    param.value = decode_again(std::mem::take(&mut param.value).into_bytes()).into();
                }
            }
            return Some(Params::Strings(params));
        }
        if self.dialect.is_emulated() {
            return if self.form == Form::Native { native(items) } else { None };
        }
        Some(named_or_positional(items))
    }

    fn decode_twice(self) -> bool {
        self.dialect >= Dialect::V2_4 && self.dialect.is_emulated()
    }
}

/// The parameters of 3.x and 4.x.
fn native(items: Vec<Item>) -> Option<Params> {
    let mut params = named_or_positional(items);
    let understood = match &mut params {
        Params::Positional(items) => items.iter_mut().all(decode_native),
        Params::Named(members) => members.iter_mut().all(|(_, item)| decode_native(item)),
        // A struct without members is refused.
        _ => false,
    };
    understood.then_some(params)
}

/// Decodes a value twice, as OpenSIPS does, and returns whether OpenSIPS accepts it.
fn decode_native(item: &mut Item) -> bool {
    match item {
        Item::Int(_) => true,
        Item::Str(text) if text.is_empty() => false,
        Item::Str(text) => {
            *text = decode_again(std::mem::take(text).into_bytes()).into();
            true
        }
        Item::Array(items) => items.iter_mut().all(decode_native),
        _ => false,
    }
}

fn is_filled(item: &Item) -> bool {
    item.as_str().is_some_and(|text| !text.is_empty())
}

fn named_or_positional(mut items: Vec<Item>) -> Params {
    match items.as_mut_slice() {
        [Item::Object(members)] if members.is_empty() => Params::None,
        [Item::Object(members)] => Params::Named(std::mem::take(members)),
        _ => Params::Positional(items),
    }
}

/// The requests of a `system.multicall`, if it has the one list that it wants.
fn calls_of(items: Vec<Item>, rules: Rules) -> Option<Vec<Result<Request, RequestError>>> {
    match <[Item; 1]>::try_from(items) {
        Ok([Item::Array(calls)]) => Some(calls.into_iter().map(|call| call_of(call, rules)).collect()),
        _ => None,
    }
}

fn call_of(call: Item, rules: Rules) -> Result<Request, RequestError> {
    let (mut method, mut items) = (Str::default(), Some(Vec::new()));
    let Item::Object(members) = call else {
        return Err(RequestError { failure: Failure::InvalidRequest, method });
    };
    for (name, member) in members {
        match (&*name, member) {
            (b"methodName", Item::Str(text)) => method = text,
            (b"params", Item::Array(list)) => items = Some(list),
            (b"params", _) => items = None,
            _ => {}
        }
    }
    let is_one = !method.is_empty() && *method != *MULTICALL;
    match items.filter(|_| is_one).and_then(|items| rules.params(items)) {
        Some(params) => Ok(Request { method, params }),
        None => Err(RequestError { failure: Failure::InvalidRequest, method }),
    }
}

/// A parameter as it is sent.
struct Given<'a> {
    /// Where it stands among all, from 1.
    position: usize,
    /// Empty when it has none.
    name: &'a [u8],
    item: Cow<'a, Item>,
}

impl Given<'_> {
    fn unsayable(&self, why: &'static str) -> CodecError {
        CodecError::unsayable_param(self.position, why)
    }
}

/// The parameters without those that are left out: nulls by name or at the end.
fn given(params: &Params) -> Vec<Given<'_>> {
    let given = |place: usize, name, item| Given { position: place + 1, name, item };
    match params {
        Params::None => Vec::new(),
        Params::Positional(items) => {
            let len = items.iter().rposition(|item| *item != Item::Null).map_or(0, |last| last + 1);
            items[..len].iter().enumerate().map(|(place, item)| given(place, b"", Cow::Borrowed(item))).collect()
        }
        Params::Named(members) => {
            let said = members.iter().enumerate().filter(|(_, (_, item))| *item != Item::Null);
            said.map(|(place, (name, item))| given(place, name, Cow::Borrowed(item))).collect()
        }
        Params::Strings(params) => {
            let item = |param: &Param| Cow::Owned(Item::Str(param.value.clone()));
            params.iter().enumerate().map(|(place, param)| given(place, &param.name, item(param))).collect()
        }
    }
}

fn push_native(out: &mut Vec<u8>, params: &Params, server: Dialect, escapes: Escapes) -> Result<(), CodecError> {
    let mut given = given(params);
    for param in &mut given {
        match as_taken(&param.item, server) {
            Ok(Cow::Owned(item)) => param.item = Cow::Owned(item),
            Ok(Cow::Borrowed(_)) => {}
            Err(why) => return Err(param.unsayable(why)),
        }
    }
    let by_name = given.iter().any(|param| !param.name.is_empty());
    if let Some(param) = given.iter().find(|param| by_name && param.name.is_empty()) {
        return Err(param.unsayable("it has no name, and others have one"));
    }
    if let ([param], false) = (given.as_slice(), by_name)
        && matches!(*param.item, Item::Object(_))
    {
        return Err(param.unsayable("an object alone is read as parameters by name"));
    }
    out.extend_from_slice(if by_name { b"<param><value><struct>" } else { b"" });
    for param in &given {
        let pushed = if by_name {
            push_member(out, param.name, &param.item, escapes)
        } else {
            out.extend_from_slice(b"<param>");
            push_value(out, &param.item, escapes).map(|()| out.extend_from_slice(b"</param>"))
        };
        pushed.map_err(|unsayable| param.unsayable(unsayable.why()))?;
    }
    out.extend_from_slice(if by_name { b"</struct></value></param>" } else { b"" });
    Ok(())
}

/// A value as the server takes it.
fn as_taken(item: &Item, server: Dialect) -> Result<Cow<'_, Item>, &'static str> {
    if !server.is_emulated() {
        return Ok(Cow::Borrowed(item));
    }
    match item {
        Item::Null => Err("the server knows no null"),
        Item::Object(_) => Err("the server takes no object"),
        Item::Str(text) if text.is_empty() => Err("it is empty, which the server does not take"),
        Item::Str(text) if std::str::from_utf8(text).is_err() => Err(Unsayable::Bytes.why()),
        Item::Bool(value) => Ok(Cow::Owned(Item::Int(i64::from(*value)))),
        Item::Int(value) if i32::try_from(*value).is_err() => Ok(Cow::Owned(printed(push_int, *value))),
        Item::UInt(value) => Ok(Cow::Owned(printed(push_int, *value))),
        Item::Float(value) if value.is_finite() => Ok(Cow::Owned(printed(push_float, *value))),
        Item::Float(_) => Err("it is no finite number"),
        Item::Array(items) => {
            let items = items.iter().map(|item| as_taken(item, server).map(Cow::into_owned));
            items.collect::<Result<_, _>>().map(|items| Cow::Owned(Item::Array(items)))
        }
        Item::Str(_) | Item::Int(_) => Ok(Cow::Borrowed(item)),
    }
}

fn printed<T>(push: fn(&mut Vec<u8>, T), value: T) -> Item {
    let mut digits = Vec::new();
    push(&mut digits, value);
    Item::Str(digits.into())
}

fn push_strings(
    out: &mut Vec<u8>,
    params: &Params,
    form: Form,
    server: Dialect,
    escapes: Escapes,
) -> Result<(), CodecError> {
    let takes_empty = !server.is_emulated() || matches!(form, Form::String | Form::Array);
    for (place, param) in text::as_strings(params)?.iter().enumerate() {
        if param.value.is_empty() && !takes_empty {
            return Err(CodecError::unsayable_param(place + 1, "it is empty, which the server does not take"));
        }
        out.extend_from_slice(b"<param><value><string>");
        push_escaped(out, &param.value, escapes)
            .map_err(|unsayable| CodecError::unsayable_param(place + 1, unsayable.why()))?;
        out.extend_from_slice(b"</string></value></param>");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
