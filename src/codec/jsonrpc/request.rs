//! Requests and batches, read and written.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Id;
use super::member::{Member, MemberSeed};
use crate::codec::json::{self, ItemSeed, Text};
use crate::codec::{CodecError, push_int};
use crate::dialect::Dialect;
use crate::item::{Item, Str};
use crate::request::{Params, Request};
use crate::response::Failure;

/// A request that can be run.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The request to run.
    pub request: Request,
    /// Where the answer belongs.
    pub id: Id,
}

/// A request that cannot be run.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// [`Failure::Parse`], [`Failure::InvalidRequest`] or [`Failure::TooManyCalls`].
    pub failure: Failure,
    /// Where the answer belongs; [`Id::Null`] when that is not known.
    pub id: Id,
}

/// The content of one JSON text.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// A request alone.
    One(Result<Call, Refused>),
    /// Several in an array, answered in an array.
    Batch(Vec<Result<Call, Refused>>),
}

/// The id of a request that a client sends. Servers keep strings and 32-bit integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestId<'a> {
    /// Sent as a number.
    Number(u32),
    /// Sent as a string.
    Text(&'a str),
}

impl From<u32> for RequestId<'_> {
    fn from(id: u32) -> Self {
        RequestId::Number(id)
    }
}

impl<'a> From<&'a str> for RequestId<'a> {
    fn from(id: &'a str) -> Self {
        RequestId::Text(id)
    }
}

/// Reads a client's message. Text after the first JSON value is ignored.
///
/// Member names of the request are matched without regard to case; of two members with the same name the
/// first counts. Emulated versions turn numeric ids into 32-bit integers, keep what parameters repeat, and
/// refuse `\u0000` as unreadable, as the originals do.
pub fn decode_request(bytes: &[u8], dialect: Dialect) -> Incoming {
    decode_request_of(bytes, dialect, usize::MAX)
}

/// As [`decode_request`], with a limit of `most_calls` for a batch; a larger batch is rejected as a whole.
pub fn decode_request_of(bytes: &[u8], dialect: Dialect, most_calls: usize) -> Incoming {
    let unreadable = || Incoming::One(Err(Refused { failure: Failure::Parse, id: Id::Null }));
    if dialect.is_emulated() && holds_nul_escape(bytes) {
        return unreadable();
    }
    let text = Text::new(bytes);
    let reader = Reader { text: &text, dialect, most_calls, top: true };
    match reader.deserialize(&mut text.deserializer()) {
        Ok(incoming) => incoming,
        Err(_) => unreadable(),
    }
}

/// Appends a request as every 3.x and 4.x server understands it.
///
/// Booleans go as 1 and 0, a null by name or at the end is left out, and so are empty parameters. String
/// parameters go by name when all have one and by position when none has. On error nothing is appended.
pub fn encode_request(out: &mut Vec<u8>, request: &Request, id: Option<RequestId<'_>>) -> Result<(), CodecError> {
    let start = out.len();
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"method\":");
    json::write_string(out, &request.method);
    match id {
        Some(RequestId::Number(id)) => {
            out.extend_from_slice(b",\"id\":");
            push_int(out, i64::from(id));
        }
        Some(RequestId::Text(id)) => {
            out.extend_from_slice(b",\"id\":");
            json::write_string(out, id.as_bytes());
        }
        None => {}
    }
    let written = write_params(out, &request.params);
    match written {
        Ok(()) => out.push(b'}'),
        Err(_) => out.truncate(start),
    }
    written
}

/// Returns true if a JSON string in these bytes has the escape `\u0000`.
fn holds_nul_escape(bytes: &[u8]) -> bool {
    let escaped = |at: usize| bytes[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1;
    memchr::memmem::find_iter(bytes, br"\u0000").any(|at| !escaped(at))
}

/// Reads a request or, at the top, a batch of them.
#[derive(Clone, Copy)]
struct Reader<'t> {
    text: &'t Text<'t>,
    dialect: Dialect,
    most_calls: usize,
    top: bool,
}

/// The members of a request that were present.
#[derive(Default)]
struct Envelope {
    is_version_2: Option<bool>,
    id: Option<Result<Id, BadId>>,
    method: Option<Method>,
    params: Option<Item>,
}

/// The method, when it is a string.
struct Method(Option<Str>);

/// An id that is neither string nor number nor null.
struct BadId;

impl Reader<'_> {
    fn envelope<'de, A: MapAccess<'de>>(self, mut object: A) -> Result<Envelope, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(member) = object.next_key_seed(MemberSeed)? {
            match member {
                Member::Version if envelope.is_version_2.is_none() => {
                    let version = object.next_value::<&RawValue>()?.get();
                    // An escape in it is as good, and needs to be read.
                    let is_2 = version == "\"2.0\"" || self.string(version)?.is_some_and(|version| version == "2.0");
                    envelope.is_version_2 = Some(is_2);
                }
                Member::Id if envelope.id.is_none() => {
                    envelope.id = Some(self.id(object.next_value::<&RawValue>()?.get())?);
                }
                Member::Method if envelope.method.is_none() => {
                    envelope.method = Some(Method(self.string(object.next_value::<&RawValue>()?.get())?));
                }
                Member::Params if envelope.params.is_none() => {
                    let seed = ItemSeed { text: self.text, first_wins: !self.dialect.is_emulated() };
                    envelope.params = Some(object.next_value_seed(seed)?);
                }
                _ => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(envelope)
    }

    /// The string that this JSON text is, if it is one.
    fn string<E: de::Error>(self, raw: &str) -> Result<Option<Str>, E> {
        let Some(inner) = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return Ok(None) };
        if !inner.contains('\\') {
            return Ok(Some(self.text.bytes(inner)));
        }
        let parsed: String = serde_json::from_str(raw).map_err(E::custom)?;
        Ok(Some(self.text.bytes(&parsed)))
    }

    fn id<E: de::Error>(self, raw: &str) -> Result<Result<Id, BadId>, E> {
        Ok(match raw.as_bytes().first() {
            Some(b'n') => Ok(Id::Null),
            Some(b'"') if self.dialect.is_emulated() => {
                let mut written = Vec::with_capacity(raw.len());
                json::write_string(&mut written, &self.string(raw)?.unwrap_or_default());
                Ok(Id::Raw(written.into()))
            }
            Some(b'-' | b'0'..=b'9') if self.dialect.is_emulated() => {
                let mut written = Vec::new();
                // Saturates, as the originals do. JSON numbers are numbers to Rust.
                push_int(&mut written, i64::from(raw.parse::<f64>().map_err(E::custom)? as i32));
                Ok(Id::Raw(written.into()))
            }
            Some(b'"' | b'-' | b'0'..=b'9') => Ok(Id::Raw(self.text.bytes(raw).into_bytes().into())),
            _ if self.dialect.is_emulated() => Ok(Id::Broken),
            _ => Err(BadId),
        })
    }
}

impl Envelope {
    fn into_call(self) -> Result<Call, Refused> {
        let refused = |id| Err(Refused { failure: Failure::InvalidRequest, id });
        let id = match self.id {
            None => Id::Absent,
            Some(Ok(id)) => id,
            Some(Err(BadId)) => return refused(Id::Null),
        };
        let params = match self.params {
            None => Some(Params::None),
            Some(Item::Array(items)) if items.is_empty() => Some(Params::None),
            Some(Item::Object(members)) if members.is_empty() => Some(Params::None),
            Some(Item::Array(items)) => Some(Params::Positional(items)),
            Some(Item::Object(members)) => Some(Params::Named(members)),
            Some(_) => None,
        };
        match (self.is_version_2, self.method.and_then(|method| method.0), params) {
            (Some(true), Some(method), Some(params)) => Ok(Call { request: Request { method, params }, id }),
            _ => refused(if id == Id::Absent { Id::Null } else { id }),
        }
    }
}

fn no_request() -> Incoming {
    Incoming::One(Err(Refused { failure: Failure::InvalidRequest, id: Id::Null }))
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Incoming;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Incoming, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Incoming;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON-RPC request")
    }

    fn visit_unit<E>(self) -> Result<Incoming, E> {
        Ok(no_request())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Incoming, E> {
        Ok(no_request())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Incoming, E> {
        Ok(no_request())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Incoming, E> {
        Ok(no_request())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Incoming, E> {
        Ok(no_request())
    }

    fn visit_str<E>(self, _: &str) -> Result<Incoming, E> {
        Ok(no_request())
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Incoming, A::Error> {
        Ok(Incoming::One(self.envelope(object)?.into_call()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Incoming, A::Error> {
        let mut calls = Vec::new();
        // An element of a batch is never a batch itself. Versions 3.x and 4.x know no batches: those that survive one
        // say so.
        if !self.top || self.dialect.is_emulated() {
            skip_all(elements)?;
            return Ok(no_request());
        }
        let element = Reader { top: false, ..self };
        while let Some(incoming) = elements.next_element_seed(element)? {
            if calls.len() == self.most_calls {
                let calls = calls.len() + 1 + skip_all(elements)?;
                let failure = Failure::TooManyCalls { calls, limit: self.most_calls };
                return Ok(Incoming::One(Err(Refused { failure, id: Id::Null })));
            }
            if let Incoming::One(call) = incoming {
                calls.push(call);
            }
        }
        Ok(if calls.is_empty() { no_request() } else { Incoming::Batch(calls) })
    }
}

/// Reads the elements that are left, and says how many there are.
fn skip_all<'de, A: SeqAccess<'de>>(mut elements: A) -> Result<usize, A::Error> {
    let mut count = 0;
    while elements.next_element::<IgnoredAny>()?.is_some() {
        count += 1;
    }
    Ok(count)
}

fn write_params(out: &mut Vec<u8>, params: &Params) -> Result<(), CodecError> {
    match params {
        Params::None => Ok(()),
        Params::Positional(items) => write_positional(out, items),
        Params::Named(members) => {
            let given = members.iter().enumerate().filter(|(_, (_, item))| *item != Item::Null);
            write_named(out, given.map(|(place, (name, item))| (place, name, Cow::Borrowed(item))))
        }
        Params::Strings(params) => {
            let items = || params.iter().map(|param| Item::Str(param.value.clone()));
            match params.iter().filter(|param| param.name.is_empty()).count() {
                0 => {
                    let names = params.iter().map(|param| &param.name);
                    let members = names.zip(items()).enumerate();
                    write_named(out, members.map(|(place, (name, item))| (place, name, Cow::Owned(item))))
                }
                unnamed if unnamed == params.len() => write_positional(out, &items().collect::<Vec<_>>()),
                _ => {
                    let place = params.iter().position(|param| param.name.is_empty()).unwrap_or_default();
                    Err(CodecError::unsayable_param(place + 1, "it has no name, and others have one"))
                }
            }
        }
    }
}

fn write_positional(out: &mut Vec<u8>, items: &[Item]) -> Result<(), CodecError> {
    let given = items.iter().rposition(|item| *item != Item::Null).map_or(0, |last| last + 1);
    if given == 0 {
        return Ok(());
    }
    out.extend_from_slice(b",\"params\":");
    write_array(out, &items[..given], None)
}

/// Appends members with their places (from 0), or nothing when there are none.
fn write_named<'a>(
    out: &mut Vec<u8>,
    members: impl Iterator<Item = (usize, &'a Str, Cow<'a, Item>)>,
) -> Result<(), CodecError> {
    let mut separator: &[u8] = b",\"params\":{";
    for (place, name, item) in members {
        out.extend_from_slice(separator);
        json::write_string(out, name);
        out.push(b':');
        write_param(out, &item, place + 1)?;
        separator = b",";
    }
    if separator == b"," {
        out.push(b'}');
    }
    Ok(())
}

/// Appends the elements of the parameter at `position`, or (without one) parameters, which have their own.
fn write_array(out: &mut Vec<u8>, items: &[Item], position: Option<usize>) -> Result<(), CodecError> {
    out.push(b'[');
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write_param(out, item, position.unwrap_or(place + 1))?;
    }
    out.push(b']');
    Ok(())
}

fn write_param(out: &mut Vec<u8>, item: &Item, position: usize) -> Result<(), CodecError> {
    match item {
        Item::Null => return Err(CodecError::unsayable_param(position, "servers take no null")),
        Item::Float(value) if !value.is_finite() => {
            return Err(CodecError::unsayable_param(position, "it is not a finite number"));
        }
        Item::Bool(value) => push_int(out, i64::from(*value)),
        Item::Array(items) => return write_array(out, items, Some(position)),
        item => json::write(out, item),
    }
    Ok(())
}
