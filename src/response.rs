//! An answer, independent of its wire: [`Response`], or the [`Failure`] to get one.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::dialect::Dialect;
use crate::item::{Item, Str};
use crate::tree::{Flags, NodeId, Tree};

/// The answer of a command: code, reason and nodes or a value (`struct mi_root`, `mi_response_t`).
///
/// A code of 200 to 299 is success; every other code is an error, on every wire.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The code on the wire, such as 200, 404 or -32602.
    pub code: i32,
    /// The meaning of the code, such as `OK` or `AOR not found`.
    pub reason: Str,
    /// The nodes or value. For an error, the `data` of JSON-RPC.
    pub body: Body,
}

/// The content of a response beside code and reason.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Body {
    /// No content: `"OK"` on JSON-RPC, `200 OK` without nodes on text.
    #[default]
    Empty,
    /// A value.
    Item(Item),
    /// A value as compact JSON text, written by its command or not yet parsed.
    Json(Vec<u8>),
    /// Nodes. The tree's own code and reason are ignored.
    Tree(Tree),
}

impl Response {
    /// Success without nodes.
    pub fn ok() -> Self {
        Response { code: 200, reason: "OK".into(), body: Body::Empty }
    }

    /// An error without data.
    pub fn error(code: i32, reason: impl Into<Str>) -> Self {
        Response { code, reason: reason.into(), body: Body::Empty }
    }

    /// Returns true if the code is 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Returns true if a server of this version sends it as a success. Versions 3.x and 4.x send a response with a
    /// reason of its own, such as `200 Contacts already synced`, as an error.
    pub fn is_success_of(&self, dialect: Dialect) -> bool {
        let has_own_reason = self.reason != "OK" && matches!(self.body, Body::Empty);
        self.is_success() && !(has_own_reason && dialect.is_emulated() && dialect.reads_json())
    }
}

impl Default for Response {
    fn default() -> Self {
        Response::ok()
    }
}

impl From<Item> for Response {
    fn from(item: Item) -> Self {
        Response { body: Body::Item(item), ..Response::ok() }
    }
}

impl From<Tree> for Response {
    fn from(mut tree: Tree) -> Self {
        let (code, reason) = (tree.code, std::mem::take(&mut tree.reason));
        let unmarked = tree.flags(NodeId::ROOT) == Flags::NONE;
        let body = if tree.is_empty() && unmarked { Body::Empty } else { Body::Tree(tree) };
        Response { code, reason, body }
    }
}

/// The failure of a handler: its command, and the error for a caller in this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandlerError {
    /// The name of the command, if it is known.
    pub command: Option<Str>,
    /// The error, which goes over no wire.
    pub cause: Option<Cause>,
}

impl fmt::Display for HandlerError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.command {
            Some(command) => write!(out, "command '{command}' failed"),
            None => out.write_str("command failed"),
        }
    }
}

/// The error of a handler, in the form of its language.
#[derive(Clone)]
pub struct Cause(pub Arc<dyn Any + Send + Sync>);

impl fmt::Debug for Cause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Cause")
    }
}

impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Cause {}

impl Failure {
    /// The failure of a handler whose command is not known.
    pub fn handler() -> Failure {
        Failure::Handler(HandlerError::default())
    }

    /// True if an error with this reason means the failure of a handler, with or without its command.
    pub fn is_handler(reason: &[u8]) -> bool {
        reason.starts_with(b"command ") && reason.ends_with(b" failed") || reason == b"command failed"
    }

    /// The failure of the handler of this command.
    pub fn handler_of(command: impl Into<Str>) -> Failure {
        Failure::Handler(HandlerError { command: Some(command.into()), cause: None })
    }
}

/// The reason why a command gave no response. Each wire has its own words for each reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The bytes cannot be parsed.
    #[error("the request cannot be read")]
    Parse,
    /// The request is valid JSON but not a valid JSON-RPC request.
    #[error("not a JSON-RPC 2.0 request")]
    InvalidRequest,
    /// No command has this name.
    #[error("no such command")]
    UnknownCommand,
    /// Several commands have this name.
    #[error("the name is ambiguous: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Ambiguous(Vec<Str>),
    /// The listener does not run this command.
    #[error("command not allowed here")]
    Forbidden,
    /// No recipe takes this many parameters.
    #[error("too few or too many parameters")]
    ParamCount,
    /// The count fits, the names do not.
    #[error("named parameters do not match")]
    ParamNames,
    /// Several recipes take this many parameters by position.
    #[error("ambiguous call, use named parameters instead")]
    AmbiguousCall,
    /// The command accepts parameters by name only.
    #[error("command only supports named parameters")]
    NamedOnly,
    /// A parameter cannot be read as its type.
    #[error("bad type for parameter '{0}'")]
    ParamType(Str),
    /// An element of a list parameter cannot be read as its type.
    #[error("bad type for array item in parameter '{0}'")]
    ItemType(Str),
    /// A list parameter without elements.
    #[error("empty array in parameter '{0}'")]
    EmptyArray(Str),
    /// The handler raised an exception, or returned a value that cannot be sent.
    #[error("{0}")]
    Handler(HandlerError),
    /// The command exceeded its time limit.
    #[error("request timeout")]
    Timeout,
    /// Too many requests are in progress.
    #[error("server busy")]
    Busy,
    /// The request exceeds the listener's limit.
    #[error("request too large: {size} bytes, limit {limit}")]
    RequestTooLarge {
        /// The size in bytes of the part that was read.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A batch or a multicall has more calls than the listener accepts.
    #[error("too many calls: {calls}, limit {limit}")]
    TooManyCalls {
        /// The number of its calls.
        calls: usize,
        /// The limit.
        limit: usize,
    },
    /// The reply exceeds the limit of the transport.
    #[error("reply too large: {size} bytes, limit {limit}")]
    ReplyTooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
}
