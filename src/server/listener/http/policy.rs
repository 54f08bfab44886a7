//! The decisions of an HTTP listener that differ where a version of OpenSIPS is emulated.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
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

/// The way an HTTP listener reads requests and answers them. The defaults are sipmi's own.
pub(crate) trait HttpPolicy: Send + Sync {
    /// Returns true if the listener has paths of sipmi's own: `/healthz`, and pages below the root of JSON-RPC.
    fn has_own_paths(&self) -> bool {
        true
    }

    /// Returns true if the pages are those of 1.x and 2.x, which take parameters as words.
    fn has_pages_of_words(&self) -> bool {
        false
    }

    /// The form of XML-RPC replies at the root.
    fn xmlrpc_form(&self) -> xmlrpc::Form {
        xmlrpc::Form::Native
    }

    /// Called for each new connection.
    fn note_connection(&self) {}

    /// The differences between a connection's bytes and those of hyper.
    fn quirks(&self) -> Quirks {
        Quirks::default()
    }

    /// Properties of the reply that depend on the request. `was_pipelined`: another request arrived before this one was
    /// answered.
    fn preferences(&self, head: &Parts, was_pipelined: bool) -> Preferences {
        let _ = (head, was_pipelined);
        Preferences::default()
    }

    /// Rejects the head of a request.
    fn check_head(&self, head: &Parts, guard: &Guard) -> Result<(), Problem> {
        strict::check(head, true)?;
        guard.check_site(&head.headers).map_err(|refusal| Problem::Refused(refusal, guard.challenge()))
    }

    /// The reply at a path without a route.
    fn not_found(&self, path: &str) -> Option<Reply> {
        let _ = path;
        None
    }

    /// Decides on a request before its body is read.
    fn rule(&self, mount: Route<'_>, head: &Parts) -> Verdict {
        let _ = (mount, head);
        Verdict::Serve
    }

    /// Returns true if a body is JSON.
    fn takes_json(&self, head: &HeaderMap) -> bool {
        media::is_one_of(head, media::JSON)
    }

    /// Returns true if a body is XML.
    fn takes_xml(&self, head: &HeaderMap) -> bool {
        media::is_one_of(head, media::XML)
    }

    /// Returns true if the server reads a body in the pieces in which it arrives.
    fn reads_pieces(&self, path: &str) -> bool {
        let _ = path;
        false
    }

    /// The body that the server makes of the pieces; `None` closes the connection.
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

    /// Returns true if the server crashes on a request of `mi_json`. `is_broken`: it has an empty parameter.
    fn dies_of_mi_json(&self, is_broken: bool) -> bool {
        let _ = is_broken;
        false
    }

    /// Returns true if the server runs a request but fails to print its reply.
    fn fails_to_print(&self, asked: &Asked) -> bool {
        let _ = asked;
        false
    }

    /// The reply's body as the server sends it; `None` when the server dies of it.
    fn finish_body(&self, path: &str, body: Bytes) -> Option<Bytes> {
        let _ = path;
        Some(body)
    }

    /// The reply to a request with an HTTP error; `None` closes the connection.
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

/// Differences between a connection's bytes and those of hyper.
#[derive(Clone, Copy, Default)]
pub(crate) struct Quirks {
    /// True if the connection never sends `100 Continue`.
    pub(crate) is_curt: bool,
    /// The number of bytes of a read that belong to the first request, for servers that drop the rest.
    pub(crate) first_request: Option<fn(&[u8]) -> usize>,
}

/// Properties of a reply that depend on its request.
#[derive(Default)]
pub(crate) struct Preferences {
    /// True if the connection ends with the reply.
    pub(crate) closes: bool,
    /// True if the reply comes from the web server of 1.x's `mi_xmlrpc`.
    pub(crate) is_of_abyss: bool,
    /// The content type of every reply of 1.11's `httpd`.
    pub(crate) content_type: Option<HeaderValue>,
}

/// The decision on a request before its body is read.
pub(crate) enum Verdict {
    /// Serve the request normally.
    Serve,
    /// Serve the request after this future.
    Wait(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// Close the connection without a reply.
    Close,
    /// Send this reply.
    Answer(Reply),
}
