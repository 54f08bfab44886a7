//! JSON-RPC 2.0 as 3.x and 4.x speak it: requests, batches and answers, for both sides.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::json::{self, ItemSeed, Text};
use super::{CodecError, is_blank, push_int};
use crate::dialect::Dialect;
use crate::item::{Item, Str};
use crate::request::{Params, Request};
use crate::response::{Body, Failure, Response};

/// What a 3.x or 4.x server sends on a datagram that holds no JSON. Not JSON itself.
pub const DATAGRAM_PARSE_ERROR: &[u8] = b"400 Parse_error";

/// What a 3.x or 4.x server sends on a datagram in place of a reply that it cannot write ([`Id::Broken`], or too large).
pub const DATAGRAM_INTERNAL_ERROR: &[u8] = b"500 Internal error";

/// What a 3.x or 4.x server writes to a reply FIFO in place of (the rest of) a reply that it cannot write.
pub const FIFO_PRINT_ERROR: &[u8] = b"failed to print response";

/// As [`FIFO_PRINT_ERROR`], before anything was written.
const FIFO_BUILD_ERROR: &[u8] = b"failed to build response";

/// Which request an answer belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Id {
    /// There was none: a notification, which is not answered.
    Absent,
    /// JSON null.
    Null,
    /// The JSON text of a string or number, echoed as it came.
    Raw(Box<[u8]>),
    /// A boolean, array or object given to a 3.x or 4.x server, which runs the command and then
    /// fails to print the reply: [`FIFO_PRINT_ERROR`], [`DATAGRAM_INTERNAL_ERROR`].
    Broken,
}

/// A request that can be run.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// What to run.
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

/// What one JSON text asks for.
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

/// Reads what a client sent. Text after the first JSON value is ignored.
///
/// Member names of the request are matched without regard to case; of two members with the same name the
/// first counts. Emulated versions turn numeric ids into 32-bit integers, keep what parameters repeat, and
/// refuse `\u0000` as unreadable, as the originals do.
pub fn decode_request(bytes: &[u8], dialect: Dialect) -> Incoming {
    decode_request_of(bytes, dialect, usize::MAX)
}

/// As [`decode_request`]; a batch may have so many calls, and of one that has more none is kept.
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

/// Appends the answer to a request.
///
/// A notification ([`Id::Absent`]) is answered only when it was no request at all, with id null. For
/// [`Id::Broken`] nothing is written; the transport says what its original says.
pub fn encode_response(
    out: &mut Vec<u8>,
    result: &Result<Response, Failure>,
    id: &Id,
    dialect: Dialect,
    pretty: bool,
) {
    let id = match (id, result) {
        (Id::Raw(text), _) => text,
        (Id::Null, _) | (Id::Absent, Err(Failure::InvalidRequest | Failure::Parse)) => b"null".as_slice(),
        (Id::Absent | Id::Broken, _) => return,
    };
    let (label, value) = match Outcome::new(result, dialect) {
        Outcome::Done => ("result", Value::Text(b"\"OK\"")),
        Outcome::Value(value) => ("result", value),
        Outcome::Error(item) => ("error", Value::Item(Cow::Owned(item))),
    };
    let [open, colon, comma, close]: [&[u8]; 4] =
        if pretty { [b"{\n\t", b":\t", b",\n\t", b"\n}"] } else { [b"{", b":", b",", b"}"] };
    for part in [open, b"\"jsonrpc\"", colon, b"\"2.0\"", comma, b"\"", label.as_bytes(), b"\"", colon] {
        out.extend_from_slice(part);
    }
    value.write(out, pretty);
    for part in [comma, b"\"id\"", colon, id, close] {
        out.extend_from_slice(part);
    }
}

/// Appends the answer to a batch: the answers to its requests in an array; nothing when there are none.
pub fn encode_batch(out: &mut Vec<u8>, parts: impl IntoIterator<Item = Vec<u8>>) {
    let mut separator = b'[';
    for part in parts.into_iter().filter(|part| !part.is_empty()) {
        out.push(separator);
        out.extend_from_slice(&part);
        separator = b',';
    }
    if separator == b',' {
        out.push(b']');
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

/// As [`decode_response`], but leaves a result unread: it stays the JSON text that came ([`Body::Json`]), of which
/// only the end was looked for. What cannot be read in it shows when it is read.
pub fn skim_response(bytes: &[u8]) -> Result<(Response, Id), CodecError> {
    read_response(bytes, true)
}

/// Reads what a server answered, and to which request.
///
/// `"OK"` is success without a body. An error whose code is 200 to 299 is a success whose value is the message.
/// The plain texts of the datagram transport (`400 Parse_error`) are errors with that code; those of the FIFO
/// transport end a reply that was [`CodecError::Truncated`].
pub fn decode_response(bytes: &[u8]) -> Result<(Response, Id), CodecError> {
    read_response(bytes, false)
}

fn read_response(bytes: &[u8], skim: bool) -> Result<(Response, Id), CodecError> {
    if let Some(response) = plain_error(bytes) {
        return Ok((response, Id::Null));
    }
    let truncated = CodecError::Truncated { what: "the JSON-RPC reply", size: bytes.len() };
    if [FIFO_PRINT_ERROR, FIFO_BUILD_ERROR].iter().any(|end| bytes.trim_ascii_end().ends_with(end)) {
        return Err(truncated);
    }
    let text = Text::new(bytes);
    let mut json = text.deserializer();
    let answer =
        AnswerReader { text: &text, skim }.deserialize(&mut json).and_then(|answer| json.end().map(|()| answer));
    let answer = answer.map_err(|error| if error.is_eof() { truncated } else { text.error(&error, bytes) })?;
    let id = answer.id;
    let response = match (answer.result, answer.error) {
        (_, Some(error)) => error_response(error),
        (Some(body), None) => Some(success(body)),
        (None, None) => None,
    };
    let response = response.ok_or_else(|| CodecError::unexpected("an object with a result or an error", bytes, 0))?;
    Ok((response, id))
}

/// What an answer says: a result or an error.
enum Outcome<'a> {
    Done,
    Value(Value<'a>),
    Error(Item),
}

/// A result, or what is its JSON text already.
enum Value<'a> {
    Item(Cow<'a, Item>),
    Text(&'a [u8]),
}

impl Value<'_> {
    fn write(&self, out: &mut Vec<u8>, pretty: bool) {
        match (self, pretty) {
            (Value::Item(item), false) => json::write(out, item),
            (Value::Item(item), true) => json::write_pretty_at(out, item, 1),
            (Value::Text(text), false) => out.extend_from_slice(text),
            (Value::Text(text), true) => match json::parse(text) {
                Ok(item) => json::write_pretty_at(out, &item, 1),
                // What cannot be laid out goes as it is.
                Err(_) => out.extend_from_slice(text),
            },
        }
    }
}

impl<'a> Outcome<'a> {
    fn new(result: &'a Result<Response, Failure>, dialect: Dialect) -> Self {
        match result {
            Ok(response) => Outcome::of_response(response, dialect),
            Err(failure) => Outcome::of_failure(failure, dialect),
        }
    }

    fn of_response(response: &'a Response, dialect: Dialect) -> Self {
        let is_success = response.is_success_of(dialect);
        if let (true, Body::Json(text)) = (is_success, &response.body) {
            return Outcome::Value(Value::Text(text));
        }
        match json::item_of(&response.body) {
            Ok(None) if is_success => Outcome::Done,
            Ok(Some(item)) if is_success => Outcome::Value(Value::Item(item)),
            Ok(value) => Outcome::error(response.code, response.reason.clone(), value.map(Cow::into_owned)),
            Err(_) => Outcome::of_failure(&Failure::Handler, dialect),
        }
    }

    fn of_failure(failure: &Failure, dialect: Dialect) -> Self {
        let (code, message, data) = describe(failure, dialect);
        Outcome::error(code, message.into(), data.map(Item::from))
    }

    fn error(code: i32, message: Str, data: Option<Item>) -> Self {
        let mut members = vec![("code".into(), Item::Int(i64::from(code))), ("message".into(), Item::Str(message))];
        members.extend(data.map(|data| ("data".into(), data)));
        Outcome::Error(Item::Object(members))
    }
}

/// The error answer that JSON-RPC has for a failure.
pub fn failure_response(failure: &Failure, dialect: Dialect) -> Response {
    let (code, message, data) = describe(failure, dialect);
    let body = data.map_or(Body::Empty, |data| Body::Item(Item::Str(data)));
    Response { code, reason: message.into(), body }
}

const INVALID_PARAMS: (i32, &str) = (-32602, "Invalid params");
const SERVER_ERROR: (i32, &str) = (-32000, "Server error");

/// Code, message and data of a failure.
fn describe(failure: &Failure, dialect: Dialect) -> (i32, &'static str, Option<Str>) {
    let of = |(code, message): (i32, &'static str), data: Str| (code, message, Some(data));
    match failure {
        Failure::Parse => (-32700, "Parse error", None),
        Failure::InvalidRequest => (-32600, "Invalid Request", None),
        Failure::Ambiguous(names) if dialect.has_modules() => {
            of((-32001, "Method ambiguous"), [b"supported names: ".as_slice(), &join(names)].concat().into())
        }
        Failure::UnknownCommand | Failure::Ambiguous(_) => (-32601, "Method not found", None),
        Failure::ParamCount => of(INVALID_PARAMS, "Too few or too many parameters".into()),
        Failure::ParamNames => of(INVALID_PARAMS, "Named parameters do not match".into()),
        Failure::AmbiguousCall => of(INVALID_PARAMS, "Ambiguous call, use named parameters instead".into()),
        Failure::NamedOnly => of(INVALID_PARAMS, "Command only supports named parameters".into()),
        Failure::ParamType(name) => of(INVALID_PARAMS, about_parameter("Bad type for parameter", name)),
        Failure::ItemType(name) => of(INVALID_PARAMS, about_parameter("Bad type for array item in parameter", name)),
        Failure::EmptyArray(name) => of(INVALID_PARAMS, about_parameter("Empty array in parameter", name)),
        Failure::Handler => of(SERVER_ERROR, "Command handler returned null".into()),
        Failure::Forbidden => of(SERVER_ERROR, "Command not allowed".into()),
        Failure::Timeout => of(SERVER_ERROR, "Request timeout".into()),
        Failure::Busy => of(SERVER_ERROR, "Server busy".into()),
        Failure::RequestTooLarge { size, limit } => {
            of(SERVER_ERROR, format!("Request too large: {size} bytes, limit {limit}").into())
        }
        Failure::TooManyCalls { calls, limit } => {
            of(SERVER_ERROR, format!("Too many calls: {calls}, limit {limit}").into())
        }
        Failure::ReplyTooLarge { size, limit } => {
            of(SERVER_ERROR, format!("Reply too large: {size} bytes, limit {limit}").into())
        }
    }
}

fn about_parameter(complaint: &str, name: &Str) -> Str {
    [complaint.as_bytes(), b" '", name, b"'"].concat().into()
}

fn join(names: &[Str]) -> Vec<u8> {
    names.iter().map(Str::as_bytes).collect::<Vec<_>>().join(b", ".as_slice())
}

/// Whether a JSON string in here has the escape `\u0000`.
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

/// The members of a request, as far as they were there.
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

enum Member {
    Version,
    Id,
    Method,
    Params,
    Result,
    Error,
    Other,
}

impl Reader<'_> {
    fn envelope<'de, A: MapAccess<'de>>(self, mut object: A) -> Result<Envelope, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(member) = object.next_key_seed(MemberSeed)? {
            match member {
                Member::Version if envelope.is_version_2.is_none() => {
                    let version = self.string(object.next_value::<&RawValue>()?.get())?;
                    envelope.is_version_2 = Some(version.is_some_and(|version| version == "2.0"));
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
        // What stands in a batch is never one itself, and versions 3.x and 4.x know none: those that survive one say so.
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

/// Reads a member's name as one of those that count, without regard to case.
struct MemberSeed;

impl<'de> DeserializeSeed<'de> for MemberSeed {
    type Value = Member;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Member, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for MemberSeed {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Member, E> {
        let known = [
            ("jsonrpc", Member::Version),
            ("id", Member::Id),
            ("method", Member::Method),
            ("params", Member::Params),
            ("result", Member::Result),
            ("error", Member::Error),
        ];
        let found = known.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known));
        Ok(found.map_or(Member::Other, |(_, member)| member))
    }
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

/// `CODE REASON` without any JSON.
fn plain_error(bytes: &[u8]) -> Option<Response> {
    let text = bytes.trim_ascii();
    let blank = memchr::memchr(b' ', text)?;
    let code = std::str::from_utf8(&text[..blank]).ok().filter(|code| code.len() == 3)?.parse().ok()?;
    Some(Response::error(code, &text[blank + 1..]))
}

fn success(body: Body) -> Response {
    let is_plain = match &body {
        Body::Item(Item::Str(text)) => *text == "OK",
        Body::Json(text) => text == b"\"OK\"",
        _ => false,
    };
    if is_plain { Response::ok() } else { Response { body, ..Response::ok() } }
}

fn error_response(error: Item) -> Option<Response> {
    let Item::Object(members) = error else { return None };
    let (mut code, mut reason, mut data) = (None, None, None);
    for (name, item) in members {
        match (&*name, item) {
            (b"code", Item::Int(value)) => code = code.or_else(|| i32::try_from(value).ok()),
            (b"message", Item::Str(text)) => reason = reason.or(Some(text)),
            (b"data", item) => data = data.or(Some(item)),
            _ => {}
        }
    }
    let (code, reason) = (code?, reason.unwrap_or_default());
    let body = match data {
        _ if (200..300).contains(&code) => Body::Item(Item::Str(reason.clone())),
        Some(item) => Body::Item(item),
        None => Body::Empty,
    };
    Some(Response { code, reason, body })
}

/// Reads an answer; anything but an object is an error.
struct AnswerReader<'t> {
    text: &'t Text<'t>,
    skim: bool,
}

struct Answer {
    result: Option<Body>,
    error: Option<Item>,
    id: Id,
}

impl<'de> DeserializeSeed<'de> for AnswerReader<'_> {
    type Value = Answer;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Answer, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for AnswerReader<'_> {
    type Value = Answer;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON-RPC answer")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Answer, A::Error> {
        let mut answer = Answer { result: None, error: None, id: Id::Absent };
        let seed = ItemSeed { text: self.text, first_wins: false };
        while let Some(member) = object.next_key_seed(MemberSeed)? {
            match member {
                Member::Result if answer.result.is_none() && self.skim => {
                    let raw = object.next_value::<&RawValue>()?.get();
                    answer.result = Some(Body::Json(self.text.bytes(raw).into_bytes()));
                }
                Member::Result if answer.result.is_none() => {
                    answer.result = Some(Body::Item(object.next_value_seed(seed)?));
                }
                Member::Error if answer.error.is_none() => {
                    answer.error = Some(object.next_value_seed(seed)?).filter(|error| *error != Item::Null);
                }
                Member::Id if answer.id == Id::Absent => {
                    answer.id = match object.next_value::<&RawValue>()?.get() {
                        "null" => Id::Null,
                        raw => Id::Raw(self.text.bytes(raw).into_bytes().into()),
                    };
                }
                _ => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(answer)
    }
}

/// Whether these bytes, after blanks, begin as a JSON object or array does.
pub fn looks_like_json(bytes: &[u8]) -> bool {
    bytes.iter().find(|byte| !is_blank(**byte)).is_some_and(|byte| matches!(byte, b'{' | b'['))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{NodeId, Tree};

    fn one(text: &str) -> Result<Call, Refused> {
        match decode_request(text.as_bytes(), Dialect::Sipmi) {
            Incoming::One(call) => call,
            Incoming::Batch(calls) => panic!("a batch: {calls:?}"),
        }
    }

    fn raw(text: &str) -> Id {
        Id::Raw(text.as_bytes().into())
    }

    fn refused(failure: Failure, id: Id) -> Result<Call, Refused> {
        Err(Refused { failure, id })
    }

    fn answered(result: &Result<Response, Failure>, id: &Id) -> String {
        let mut out = Vec::new();
        encode_response(&mut out, result, id, Dialect::Sipmi, false);
        String::from_utf8(out).expect("text in, text out")
    }

    fn said(request: &Request) -> Result<String, String> {
        let mut out = Vec::new();
        encode_request(&mut out, request, Some(RequestId::Text("a"))).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).expect("text in, text out"))
    }

    #[test]
    fn ids_come_back_exactly_as_they_came() {
        for id in ["1", "1.50", "-0", "1e3", "123456789012345678901234567890", r#""a\u00e9\/""#, r#""""#] {
            let call = one(&format!(r#"{{"jsonrpc":"2.0","method":"m","id": {id} }}"#)).expect("a call");
            assert_eq!(call.id, raw(id));
        }
        assert_eq!(one(r#"{"jsonrpc":"2.0","method":"m","id":null}"#).expect("a call").id, Id::Null);
        assert_eq!(one(r#"{"jsonrpc":"2.0","method":"m"}"#).expect("a call").id, Id::Absent);
        let bytes = b"{\"jsonrpc\":\"2.0\",\"method\":\"m\xff\",\"id\":\"\xff\"}";
        let Incoming::One(Ok(call)) = decode_request(bytes, Dialect::Sipmi) else { panic!("no call") };
        assert_eq!(
            (call.request.method, call.id),
            (b"m\xff".as_slice().into(), Id::Raw(b"\"\xff\"".as_slice().into()))
        );
    }

    #[test]
    fn ids_that_are_none_are_refused_with_null() {
        for id in ["true", "[]", "{}", "[[[[1]]]]"] {
            let call = one(&format!(r#"{{"jsonrpc":"2.0","method":"m","id":{id}}}"#));
            assert_eq!(call, refused(Failure::InvalidRequest, Id::Null));
        }
        let deep =
            format!(r#"{{"jsonrpc":"2.0","method":"m","id":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(one(&deep), refused(Failure::InvalidRequest, Id::Null));
    }

    #[test]
    fn emulated_versions_make_32_bit_integers_of_numeric_ids_and_break_on_others() {
        let id = |id: &str| {
            let text = format!(r#"{{"jsonrpc":"2.0","method":"m","id":{id}}}"#);
            match decode_request(text.as_bytes(), Dialect::V4_0) {
                Incoming::One(Ok(call)) => call.id,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(id("1.5"), raw("1"));
        assert_eq!(id("1e3"), raw("1000"));
        assert_eq!(id("99999999999"), raw("2147483647"));
        assert_eq!(id("-1e99"), raw("-2147483648"));
        assert_eq!(id(r#""\u00e9\/\u0001""#), raw("\"é/\\u0001\""));
        assert_eq!(id("true"), Id::Broken);
        assert_eq!(id("{\"a\":1}"), Id::Broken);
        assert_eq!(answered(&Ok(Response::ok()), &Id::Broken), "");
    }

    #[test]
    fn of_repeated_members_the_first_counts_and_case_does_not() {
        let call = one(r#"{"JSONRPC":"2.0","jsonrpc":"1.0","Method":"m","METHOD":"n","ID":1,"id":2,
            "Params":{"a":1,"a":2,"b":{"c":3,"c":4}},"params":null,"other":[]}"#);
        let params = vec![("a".into(), Item::Int(1)), ("b".into(), Item::Object(vec![("c".into(), Item::Int(3))]))];
        assert_eq!(call, Ok(Call { request: Request::named("m", params), id: raw("1") }));
    }

    #[test]
    fn many_repeated_names_are_found_too() {
        let members: Vec<_> = (0..1000).map(|i| format!(r#""n{}":{i}"#, i % 100)).collect();
        let members = members.join(",");
        let call = one(&format!(r#"{{"jsonrpc":"2.0","method":"m","params":{{"x":0,{members}}}}}"#)).expect("a call");
        let Params::Named(params) = call.request.params else { panic!("not named") };
        assert_eq!((params.len(), &params[100].1), (101, &Item::Int(99)));
    }

    #[test]
    fn what_is_json_and_no_request_is_refused_with_its_id() {
        for text in [
            r#"{"jsonrpc":"1.0","method":"m","id":7}"#,
            r#"{"jsonrpc":2.0,"method":"m","id":7}"#,
            r#"{"method":"m","id":7}"#,
            r#"{"jsonrpc":"2.0","id":7}"#,
            r#"{"jsonrpc":"2.0","method":5,"id":7}"#,
            r#"{"jsonrpc":"2.0","method":"m","params":null,"id":7}"#,
            r#"{"jsonrpc":"2.0","method":"m","params":"x","id":7}"#,
        ] {
            assert_eq!(one(text), refused(Failure::InvalidRequest, raw("7")), "{text}");
        }
        for text in ["42", "null", "\"x\"", "true", "1.5", "-1", "[]", "{}"] {
            assert_eq!(one(text), refused(Failure::InvalidRequest, Id::Null), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_a_parse_error() {
        let deep = "[".repeat(100_000);
        let params = format!(r#"{{"jsonrpc":"2.0","method":"m","params":{}"#, "[".repeat(100_000));
        for text in
            ["", "{", "abc", "\0\0\0", "{\"jsonrpc\":", ":version:\n", &deep, &params, r#"{"method":"\ud83d"}"#]
        {
            assert_eq!(one(text), refused(Failure::Parse, Id::Null));
        }
        let nul = br#"{"jsonrpc":"2.0","method":"m","params":["a\u0000b","\\u0000"],"id":1}"#;
        assert!(matches!(decode_request(nul, Dialect::Sipmi), Incoming::One(Ok(_))));
        assert_eq!(decode_request(nul, Dialect::V4_0), Incoming::One(refused(Failure::Parse, Id::Null)));
    }

    #[test]
    fn text_after_the_first_value_is_ignored() {
        assert!(one("{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"id\":1}\n{\"jsonrpc\"").is_ok());
    }

    #[test]
    fn a_batch_is_answered_in_an_array_and_notifications_not_at_all() {
        let batch = br#"[{"jsonrpc":"2.0","method":"a","id":1},1,[[]],{"jsonrpc":"2.0","method":"b"}]"#;
        let Incoming::Batch(calls) = decode_request(batch, Dialect::Sipmi) else { panic!("no batch") };
        let parts: Vec<Vec<u8>> = calls
            .iter()
            .map(|call| match call {
                Ok(call) => answered(&Ok(Response::ok()), &call.id).into_bytes(),
                Err(refused) => answered(&Err(refused.failure.clone()), &refused.id).into_bytes(),
            })
            .collect();
        let mut out = Vec::new();
        encode_batch(&mut out, parts);
        let invalid = r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid Request"},"id":null}"#;
        let expected = format!(r#"[{{"jsonrpc":"2.0","result":"OK","id":1}},{invalid},{invalid}]"#);
        assert_eq!(String::from_utf8(out), Ok(expected));
        let mut none = Vec::new();
        encode_batch(&mut none, [Vec::new()]);
        assert!(none.is_empty());
    }

    #[test]
    fn failures_have_the_codes_and_data_of_the_originals() {
        let cases = [
            (Failure::Parse, r#"-32700,"message":"Parse error"}"#),
            (Failure::UnknownCommand, r#"-32601,"message":"Method not found"}"#),
            (
                Failure::Ambiguous(vec!["a:list".into(), "b:list".into()]),
                r#"-32001,"message":"Method ambiguous","data":"supported names: a:list, b:list"}"#,
            ),
            (
                Failure::ParamType("q".into()),
                r#"-32602,"message":"Invalid params","data":"Bad type for parameter 'q'"}"#,
            ),
            (Failure::Handler, r#"-32000,"message":"Server error","data":"Command handler returned null"}"#),
            (
                Failure::ReplyTooLarge { size: 9, limit: 8 },
                r#"-32000,"message":"Server error","data":"Reply too large: 9 bytes, limit 8"}"#,
            ),
        ];
        for (failure, expected) in cases {
            let expected = format!(r#"{{"jsonrpc":"2.0","error":{{"code":{expected},"id":1}}"#);
            assert_eq!(answered(&Err(failure), &raw("1")), expected);
        }
        assert_eq!(answered(&Err(Failure::UnknownCommand), &Id::Absent), "");
        assert!(answered(&Err(Failure::InvalidRequest), &Id::Absent).ends_with("\"id\":null}"));
    }

    #[test]
    fn trees_and_errors_with_data_are_answered_as_values() {
        let mut tree = Tree::new(404, "AOR not found");
        tree.add_child(NodeId::ROOT, "AOR", "alice");
        assert_eq!(
            answered(&Ok(Response::from(tree)), &raw("1")),
            r#"{"jsonrpc":"2.0","error":{"code":404,"message":"AOR not found","data":{"AOR":"alice"}},"id":1}"#
        );
        assert_eq!(answered(&Ok(Response::from(Tree::ok())), &raw("1")), r#"{"jsonrpc":"2.0","result":"OK","id":1}"#);
        let mut deep = Tree::ok();
        let mut node = NodeId::ROOT;
        for _ in 0..1000 {
            node = deep.add_child(node, "n", "v");
        }
        assert!(answered(&Ok(Response::from(deep)), &raw("1")).contains("Command handler returned null"));
    }

    #[test]
    fn a_request_says_what_every_server_takes() {
        let items = vec![Item::Bool(true), vec![Item::Bool(false)].into(), "x".into(), Item::Null];
        let expected = r#"{"jsonrpc":"2.0","method":"m","id":"a","params":[1,[0],"x"]}"#;
        assert_eq!(said(&Request::positional("m", items)), Ok(expected.into()));
        let members = vec![("a".into(), Item::Null), ("b".into(), Item::Bool(true))];
        let expected = r#"{"jsonrpc":"2.0","method":"m","id":"a","params":{"b":1}}"#;
        assert_eq!(said(&Request::named("m", members)), Ok(expected.into()));
        let bare = r#"{"jsonrpc":"2.0","method":"m","id":"a"}"#;
        for params in
            [Params::None, Params::Positional(vec![Item::Null]), Params::Named(vec![]), Params::Strings(vec![])]
        {
            assert_eq!(said(&Request { method: "m".into(), params }), Ok(bare.into()));
        }
        let inner_null = Request::positional("m", vec![Item::Null, Item::Int(1)]);
        assert_eq!(said(&inner_null), Err("parameter 1 cannot be sent: servers take no null".into()));
        assert!(said(&Request::positional("m", vec![Item::Float(f64::NAN)])).is_err());
    }

    #[test]
    fn string_parameters_go_by_name_when_all_have_one() {
        let param = |name: &str, value: &str| crate::request::Param { name: name.into(), value: value.into() };
        let request = |params| Request { method: "m".into(), params: Params::Strings(params) };
        let named = said(&request(vec![param("a", "1"), param("b", "2")]));
        assert_eq!(named, Ok(r#"{"jsonrpc":"2.0","method":"m","id":"a","params":{"a":"1","b":"2"}}"#.into()));
        let bare = said(&request(vec![param("", "1"), param("", "")]));
        assert_eq!(bare, Ok(r#"{"jsonrpc":"2.0","method":"m","id":"a","params":["1",""]}"#.into()));
        assert!(said(&request(vec![param("a", "1"), param("", "2")])).is_err());
    }

    #[test]
    fn answers_are_read_with_their_id() {
        let read = |text: &str| decode_response(text.as_bytes());
        assert_eq!(read(r#"{"jsonrpc":"2.0","result":"OK","id":1}"#), Ok((Response::ok(), raw("1"))));
        assert_eq!(read(r#"{"result":null,"error":null,"id":"a"}"#), Ok((Response::from(Item::Null), raw("\"a\""))));
        let synced = Response { code: 200, reason: "Synced".into(), body: Body::Item("Synced".into()) };
        assert_eq!(read(r#"{"error":{"code":200,"message":"Synced"},"id":null}"#), Ok((synced, Id::Null)));
        assert_eq!(read("400 Parse_error"), Ok((Response::error(400, "Parse_error"), Id::Null)));
    }

    #[test]
    fn answers_that_are_none_say_what_is_wrong() {
        let error = |text: &str| decode_response(text.as_bytes()).expect_err("no answer").to_string();
        assert_eq!(error(r#"{"jsonrpc":"2.0","result":{"a":"#), "the JSON-RPC reply was cut off after 31 bytes");
        assert_eq!(
            error(r#"{"result":{"v":failed to print response"#),
            "the JSON-RPC reply was cut off after 39 bytes"
        );
        assert_eq!(error("failed to build response"), "the JSON-RPC reply was cut off after 24 bytes");
        assert_eq!(error(""), "the JSON-RPC reply was cut off after 0 bytes");
        for text in ["[]", "42", "{}", r#"{"id":1}"#, r#"{"error":5}"#, r#"{"error":{"code":"x"}}"#, "<html>", "{} x"]
        {
            assert!(decode_response(text.as_bytes()).is_err(), "{text}");
        }
    }
}
