//! Answers, read and written.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::describe;
use super::member::{Member, MemberSeed};
use super::{FIFO_PRINT_ERROR, Id};
use crate::codec::CodecError;
use crate::codec::json::{self, ItemSeed, Text};
use crate::dialect::Dialect;
use crate::item::{Item, Str};
use crate::response::{Body, Failure, Response};

/// As [`FIFO_PRINT_ERROR`], before anything was written.
const FIFO_BUILD_ERROR: &[u8] = b"failed to build response";

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

/// As [`decode_response`], but leaves a result unread: it stays the received JSON text ([`Body::Json`]), in which only
/// the end was searched. Syntax errors in it surface when it is read.
pub fn skim_response(bytes: &[u8]) -> Result<(Response, Id), CodecError> {
    read_response(bytes, true)
}

/// Reads a server's answer and the id of its request.
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

/// The content of an answer: a result or an error.
enum Outcome<'a> {
    Done,
    Value(Value<'a>),
    Error(Item),
}

/// A result as a value, or as its JSON text.
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
                // A result that cannot be indented goes as it is.
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
            Err(_) => Outcome::of_failure(&Failure::handler(), dialect),
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
