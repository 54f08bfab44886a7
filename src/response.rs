//! An answer as every wire means it: [`Response`], or the [`Failure`] to get one.

use crate::dialect::Dialect;
use crate::item::{Item, Str};
use crate::tree::{Flags, NodeId, Tree};

/// What a command answered: code, reason and nodes or a value (`struct mi_root`, `mi_response_t`).
///
/// A code of 200 to 299 is success; every other code is an error, on every wire.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// 200, 404, -32602: what the wire says.
    pub code: i32,
    /// `OK`, `AOR not found`: what the code means.
    pub reason: Str,
    /// The nodes or value; of an error, what JSON-RPC calls its `data`.
    pub body: Body,
}

/// What a response carries beside code and reason.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Body {
    /// Nothing: `"OK"` on JSON-RPC, `200 OK` without nodes on text.
    #[default]
    Empty,
    /// A value.
    Item(Item),
    /// A value as compact JSON text: written so by its command, or not read yet.
    Json(Vec<u8>),
    /// Nodes. The tree's own code and reason do not count.
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

    /// Whether the code is 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Whether it is told as a success by who answers so: 3.x and 4.x tell one that has a reason of its own as an error,
    /// as they do `200 Contacts already synced`.
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

/// Why there is no response from a command. Each wire has its own words for each of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The bytes are no request.
    #[error("the request cannot be read")]
    Parse,
    /// Readable, but no JSON-RPC request.
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
    /// The command wants its parameters by name.
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
    /// The handler raised, or returned what cannot be sent.
    #[error("command failed")]
    Handler,
    /// The command took too long.
    #[error("request timeout")]
    Timeout,
    /// Too many requests are in progress.
    #[error("server busy")]
    Busy,
    /// The request is over the listener's limit.
    #[error("request too large: {size} bytes, limit {limit}")]
    RequestTooLarge {
        /// Its size in bytes, as far as it was read.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A batch or a multicall has more calls than the listener takes.
    #[error("too many calls: {calls}, limit {limit}")]
    TooManyCalls {
        /// How many it has.
        calls: usize,
        /// The limit.
        limit: usize,
    },
    /// The reply is over what the transport carries.
    #[error("reply too large: {size} bytes, limit {limit}")]
    ReplyTooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
}
