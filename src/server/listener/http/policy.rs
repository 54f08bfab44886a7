//! The questions of an HTTP listener whose answers differ where a version of OpenSIPS is emulated.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::http::request::Parts;

use super::guard::Guard;
use super::media;
use super::reply::{Problem, Reply};
use super::strict;
use crate::codec::xmlrpc;
use crate::server::dispatch::asked::Asked;
use crate::server::dispatch::policy::Native;
use crate::server::options::roots::Route;

/// How an HTTP listener reads requests and answers them. The defaults are sipmi's own.
pub(crate) trait HttpPolicy: Send + Sync {
    /// Whether the listener has paths of sipmi's own: `/healthz`, and pages below the root of JSON-RPC.
    fn has_own_paths(&self) -> bool {
        true
    }

    /// Whether the pages are those of 1.x and 2.x, which take parameters as words.
    fn has_pages_of_words(&self) -> bool {
        false
    }

    /// How replies look at the root for XML-RPC.
    fn xmlrpc_form(&self) -> xmlrpc::Form {
        xmlrpc::Form::Native
    }

    /// Called for each new connection.
    fn note_connection(&self) {}

    /// How a connection's bytes differ from those of hyper.
    fn quirks(&self) -> Quirks {
        Quirks::default()
    }

    /// What the reply has to respect of a request. `was_overfed`: another request came before this one was answered.
    fn preferences(&self, request: &Request<Incoming>, was_pipelined: bool) -> Preferences {
        let _ = (request, was_pipelined);
        Preferences::default()
    }

    /// Refuses the head of a request.
    fn check_head(&self, head: &Parts, guard: &Guard) -> Result<(), Problem> {
        strict::check(head, true)?;
        guard.check_site(&head.headers).map_err(|refusal| Problem::Refused(refusal, guard.challenge()))
    }

    /// The reply at a path that is not mounted.
    fn not_found(&self, path: &str) -> Option<Reply> {
        let _ = path;
        None
    }

    /// Decides on a request before its body is read.
    fn rule(&self, mount: Route<'_>, head: &Parts) -> Verdict {
        let _ = (mount, head);
        Verdict::Serve
    }

    /// Whether a body is JSON.
    fn takes_json(&self, head: &HeaderMap) -> bool {
        media::is_one_of(head, media::JSON)
    }

    /// Whether a body is XML.
    fn takes_xml(&self, head: &HeaderMap) -> bool {
        media::is_one_of(head, media::XML)
    }

    /// Whether the server reads a body in the pieces in which it arrives.
    fn reads_pieces(&self, path: &str) -> bool {
        let _ = path;
        false
    }

    /// The body that the server makes of its pieces; `None` closes the connection.
    fn join(&self, pieces: Vec<Bytes>) -> Option<Bytes> {
        Some(pieces.concat().into())
    }

    /// The reply to an XML-RPC request without a body.
    fn no_xml(&self) -> Option<Reply> {
        None
    }

    /// The reply to an XML-RPC request that the server's library rejects before its call is read.
    fn refuse_xml(&self, body: &[u8], form: xmlrpc::Form) -> Option<Reply> {
        let _ = (body, form);
        None
    }

    /// Whether the server dies of a request of `mi_json`. `is_broken`: it has an empty parameter.
    fn dies_of_mi_json(&self, is_broken: bool) -> bool {
        let _ = is_broken;
        false
    }

    /// Whether the server fails to print the reply to a request, which it runs all the same.
    fn fails_to_print(&self, asked: &Asked) -> bool {
        let _ = asked;
        false
    }

    /// The reply's body as the server sends it; `None` when the server dies of it.
    fn finish_body(&self, path: &str, body: Bytes) -> Option<Bytes> {
        let _ = path;
        Some(body)
    }

    /// The answer to a request that HTTP itself refuses; `None` closes the connection.
    fn explain(&self, problem: Problem) -> Option<Reply> {
        Some(problem.explained())
    }

    /// The reply as the server sends it.
    fn finish(&self, preferences: Preferences, reply: Reply) -> Reply {
        let _ = preferences;
        reply
    }
}

impl HttpPolicy for Native {}

/// How a connection's bytes differ from those of hyper.
#[derive(Clone, Copy, Default)]
pub(crate) struct Quirks {
    /// Whether the connection never says `100 Continue`.
    pub(crate) is_curt: bool,
    /// How many bytes of a read belong to the first request, where the server drops the rest.
    pub(crate) first_request: Option<fn(&[u8]) -> usize>,
}

/// What a reply has to respect of its request.
#[derive(Default)]
pub(crate) struct Preferences {
    /// Whether the connection ends with the reply.
    pub(crate) closes: bool,
    /// Whether the reply comes from the web server of 1.x's `mi_xmlrpc`.
    pub(crate) is_of_abyss: bool,
    /// The type of each reply of 1.11's `httpd`.
    pub(crate) content_type: Option<HeaderValue>,
}

/// The decision on a request before its body is read.
pub(crate) enum Verdict {
    /// The request is served as it is.
    Serve,
    /// The request is served after something else has happened.
    Wait(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// The connection is closed without an answer.
    Close,
    /// This is the answer.
    Answer(Reply),
}
