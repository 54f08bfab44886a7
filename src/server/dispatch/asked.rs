//! A request as a transport has read it, and the form in which it is answered.

use std::sync::Arc;

use crate::codec::RequestError;
use crate::codec::jsonrpc::{Id, Incoming, Refused};
use crate::codec::xmlrpc;
use crate::command::{Peer, Wire};
use crate::item::Str;
use crate::request::Request;
use crate::response::{Failure, Response};

/// A request as it was read, or why it is none.
pub(crate) enum Asked {
    Text(Result<Request, RequestError>),
    Json(Incoming),
    MiJson(Result<Request, RequestError>),
    Xml(xmlrpc::Form, Result<xmlrpc::Incoming, RequestError>),
    /// A request whose reply is written by a writer of its own.
    Custom(Request, Wire, Box<dyn ReplyWriter>),
}

/// The caller of a request.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) peer: Peer,
    /// How many bytes the request has.
    pub(crate) size: usize,
    pub(crate) user: Option<Arc<str>>,
    /// True if this request may run only commands that change nothing.
    pub(crate) reads_only: bool,
}

impl Caller {
    /// A caller of which the transport knows only the peer and the size of its request.
    pub(crate) fn of(peer: Peer, size: usize) -> Self {
        Caller { peer, size, user: None, reads_only: false }
    }
}

impl Asked {
    /// Bytes that are no request; what was understood of them says in which form to answer.
    pub(crate) fn unreadable(json: bool, method: Str, failure: Failure) -> Self {
        if json {
            Asked::Json(Incoming::One(Err(Refused { failure, id: Id::Null })))
        } else {
            Asked::Text(Err(RequestError { failure, method }))
        }
    }
}

/// How an answer is written.
pub(crate) enum Form {
    Text {
        method: Str,
    },
    Json {
        id: Id,
    },
    MiJson,
    Xml {
        form: xmlrpc::Form,
        method: Str,
    },
    /// As an element of the answer to a multicall.
    XmlPart {
        form: xmlrpc::Form,
        method: Str,
    },
    Custom(Box<dyn ReplyWriter>),
}

/// Writes replies in a form that dispatch does not know, such as a page.
pub(crate) trait ReplyWriter: Send {
    /// Appends the reply with a result.
    fn write(&self, out: &mut Vec<u8>, result: &Result<Response, Failure>);
}
