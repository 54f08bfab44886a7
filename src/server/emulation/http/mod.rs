//! The HTTP modules of real servers: which requests they take, how they read a body, and how they answer.
//!
//! A request that is lost by its size or by how it was cut is a fault, so these count with hazards alone.

mod abyss;
mod faults;
mod pieces;
mod replies;
mod rules;

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::HeaderMap;
use hyper::http::request::Parts;

use crate::codec::jsonrpc::{self, Id};
use crate::codec::xmlrpc;
use crate::dialect::Dialect;
use crate::response::Response;
use crate::server::dispatch::asked::Asked;
use crate::server::listener::http::guard::Guard;
use crate::server::listener::http::media;
use crate::server::listener::http::policy::{HttpPolicy, Preferences, Quirks, Verdict};
use crate::server::listener::http::reply::{Problem, Reply};
use crate::server::listener::http::strict;
use crate::server::options::http::HttpOptions;
use crate::server::options::roots::{Roots, Route};
use faults::{ArrayReply, DeferredFaults, NewConnectionSignal};

/// The size of a body that 3.6 and 4.0 take unless they are told otherwise (`receive_buf_size`).
const RECEIVE_BUFFER: usize = 1_024;

/// The HTTP of a version, with its faults where the listener has hazards.
pub(super) struct EmulatedHttp {
    dialect: Dialect,
    has_hazards: bool,
    roots: Roots,
    /// The form at the root for XML-RPC.
    form: xmlrpc::Form,
    /// The most bytes of a body that the server takes.
    receive_buffer: usize,
    connections: Arc<NewConnectionSignal>,
    faults: DeferredFaults,
}

impl EmulatedHttp {
    pub(super) fn new(dialect: Dialect, has_hazards: bool, options: &HttpOptions) -> Self {
        EmulatedHttp {
            dialect,
            has_hazards,
            roots: options.roots.clone().unwrap_or_else(|| Roots::of(dialect)),
            form: options.xmlrpc.unwrap_or_else(|| form_of(dialect)),
            receive_buffer: if options.receive_buffer == 0 { RECEIVE_BUFFER } else { options.receive_buffer },
            connections: Arc::default(),
            faults: DeferredFaults::default(),
        }
    }

    fn is_of_abyss(&self, path: &str) -> bool {
        abyss::has_path(self.dialect, &self.roots, path)
    }

    /// A reply at the root for XML-RPC.
    fn xml(&self, response: Response) -> Reply {
        replies::xml(&Ok(response), self.form, self.dialect)
    }
}

/// The form of XML-RPC that a version has at `/RPC2` unless it is configured otherwise.
fn form_of(dialect: Dialect) -> xmlrpc::Form {
    match dialect {
        Dialect::V1_8 | Dialect::V1_11 => xmlrpc::Form::String,
        Dialect::V2_4 => xmlrpc::Form::Ng2,
        _ => xmlrpc::Form::Native,
    }
}

impl HttpPolicy for EmulatedHttp {
    fn has_own_paths(&self) -> bool {
        false
    }

    fn has_pages_of_words(&self) -> bool {
        self.dialect.reads_text()
    }

    fn xmlrpc_form(&self) -> xmlrpc::Form {
        form_of(self.dialect)
    }

    fn note_connection(&self) {
        if self.has_hazards {
            self.connections.notify();
        }
    }

    fn quirks(&self) -> Quirks {
        let is_curt = abyss::has_port(self.dialect, &self.roots);
        let forgets = self.has_hazards && !is_curt;
        Quirks { is_curt, first_request: forgets.then_some(pieces::first_request) }
    }

    fn preferences(&self, head: &Parts, was_pipelined: bool) -> Preferences {
        let is_of_abyss = self.is_of_abyss(head.uri.path());
        let mut preferences = replies::preferences(&head.headers, head.version, is_of_abyss);
        // 1.x and 2.x close then, 3.x and 4.x wait for more.
        preferences.closes |= self.dialect.reads_text() && was_pipelined;
        preferences
    }

    /// Real servers check nothing. A link could run their commands, so they are only that open with hazards.
    fn check_head(&self, head: &Parts, guard: &Guard) -> Result<(), Problem> {
        if self.has_hazards {
            return Ok(());
        }
        strict::check(head, false)?;
        guard.check_site(&head.headers).map_err(|refusal| Problem::Refused(refusal, guard.challenge()))
    }

    fn not_found(&self, path: &str) -> Option<Reply> {
        self.is_of_abyss(path).then(|| abyss::not_found(path))
    }

    fn rule(&self, mount: Route<'_>, head: &Parts) -> Verdict {
        match rules::rule(self.dialect, mount, head, self.has_hazards) {
            rules::Ruling::Verdict(verdict) => verdict,
            rules::Ruling::Stall => Verdict::Wait(self.connections.next()),
            rules::Ruling::Fail(code, words) => Verdict::Answer(self.xml(Response::error(code, words))),
            rules::Ruling::WithoutBody => {
                let result = match xmlrpc::decode_request(b"", self.form, self.dialect) {
                    Ok(_) => Ok(Response::ok()),
                    Err(error) => Err(error.failure),
                };
                Verdict::Answer(replies::xml(&result, self.form, self.dialect))
            }
        }
    }

    fn takes_json(&self, head: &HeaderMap) -> bool {
        rules::begins_as_json(head) || media::is_one_of(head, media::JSON)
    }

    fn takes_xml(&self, _: &HeaderMap) -> bool {
        true
    }

    fn reads_pieces(&self, path: &str) -> bool {
        self.has_hazards && !self.is_of_abyss(path)
    }

    fn join(&self, pieces: Vec<Bytes>) -> Option<Bytes> {
        pieces::join(self.dialect, pieces, self.receive_buffer)
    }

    fn no_xml(&self) -> Option<Reply> {
        self.dialect.reads_json().then(replies::bad_xml)
    }

    fn refuse_xml(&self, body: &[u8], form: xmlrpc::Form) -> Option<Reply> {
        xmlrpc::refuse(body, form, self.dialect).map(|refusal| self.xml(refusal))
    }

    fn dies_of_mi_json(&self, is_broken: bool) -> bool {
        self.has_hazards && self.dialect.is_1x() && self.faults.dies_of_mi_json(is_broken)
    }

    fn fails_to_print(&self, asked: &Asked) -> bool {
        matches!(asked, Asked::Json(jsonrpc::Incoming::One(Ok(call))) if call.id == Id::Broken)
    }

    fn finish_body(&self, path: &str, body: Bytes) -> Option<Bytes> {
        if !self.has_hazards || !self.is_of_abyss(path) {
            return Some(body);
        }
        let mangled = abyss::mangle_text(&body);
        let fate = match self.form {
            xmlrpc::Form::Array => self.faults.fate_of_array(&mangled),
            _ => ArrayReply::Sent,
        };
        match fate {
            ArrayReply::Sent => Some(mangled.into()),
            ArrayReply::NotAnArray => {
                let mut fault = Vec::new();
                let result = Ok(Response::error(-501, "Value is not an array"));
                xmlrpc::encode_response(&mut fault, &result, b"", self.form, self.dialect);
                Some(fault.into())
            }
            ArrayReply::Death => None,
        }
    }

    fn explain(&self, problem: Problem) -> Option<Reply> {
        replies::explain(problem, self.dialect)
    }

    fn finish(&self, preferences: Preferences, reply: Reply) -> Reply {
        let reply = replies::finish(self.dialect, preferences, reply);
        if self.has_hazards { replies::leave_open(self.dialect, reply) } else { reply }
    }
}
