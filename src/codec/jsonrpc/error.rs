//! Failures as the errors of JSON-RPC.

use crate::dialect::Dialect;
use crate::item::{Item, Str};
use crate::response::{Body, Failure, Response};

/// The error answer that JSON-RPC has for a failure.
pub fn failure_response(failure: &Failure, dialect: Dialect) -> Response {
    let (code, message, data) = describe(failure, dialect);
    let body = data.map_or(Body::Empty, |data| Body::Item(Item::Str(data)));
    Response { code, reason: message.into(), body }
}

const INVALID_PARAMS: (i32, &str) = (-32602, "Invalid params");
const SERVER_ERROR: (i32, &str) = (-32000, "Server error");
/// The detail that OpenSIPS gives when a command has no answer.
const RETURNED_NULL: &str = "Command handler returned null";

/// Code, message and data of a failure.
pub(super) fn describe(failure: &Failure, dialect: Dialect) -> (i32, &'static str, Option<Str>) {
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
        Failure::Handler(_) if dialect.is_emulated() => of(SERVER_ERROR, RETURNED_NULL.into()),
        Failure::Handler(error) => of(SERVER_ERROR, error.to_string().into()),
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
