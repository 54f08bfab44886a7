//! One listener's desk: requests are read, run and answered here, whatever carried them.

use std::sync::Arc;
use std::time::Instant;

use super::ListenOptions;
use super::pending::{Batch, BatchRoute, Pending, Route};
use crate::address::Address;
use crate::codec::jsonrpc::{self, Call, Id, Incoming, Refused};
use crate::codec::text::{self, Carrier, TextStyle};
use crate::command::service::Service;
use crate::command::statistics::TransportCounters;
use crate::command::{Answer, Origin, Peer, Transport, Wire};
use crate::dialect::Dialect;
use crate::item::Str;
use crate::request::{Params, Request};
use crate::response::{Failure, Response};

pub(super) struct Desk {
    service: Arc<Service>,
    pub(super) counters: TransportCounters,
    listener: Arc<str>,
    transport: Transport,
    style: TextStyle,
    pretty: bool,
    /// The largest reply that the transport carries, in bytes.
    reply_limit: usize,
}

/// A request as it was read, or why it is none.
pub(super) enum Asked {
    Text(Result<Request, (Str, Failure)>),
    Json(Incoming),
}

impl Asked {
    /// Bytes that are no request; what was understood of them says in which form to answer.
    pub(super) fn unreadable(json: bool, method: Str, failure: Failure) -> Self {
        if json {
            Asked::Json(Incoming::One(Err(Refused { failure, id: Id::Null })))
        } else {
            Asked::Text(Err((method, failure)))
        }
    }
}

/// How an answer is written.
pub(super) enum Form {
    Text { method: Str },
    Json { id: Id },
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Served {
    /// The answer is in the buffer; an empty one means that the client wants none.
    Now,
    /// It comes later, on the route.
    Later,
}

/// Makes the way back to the client, for an answer that comes later.
pub(super) type MakeRoute<'a> = &'a mut dyn FnMut() -> Box<dyn Route>;

impl Desk {
    pub(super) fn new(
        service: Arc<Service>,
        address: &Address,
        options: &ListenOptions,
        reply_limit: usize,
    ) -> Arc<Self> {
        let (transport, carrier, group) = match address {
            Address::Fifo { .. } => (Transport::Fifo, Carrier::Fifo, "mi_fifo"),
            Address::Unix { .. } => (Transport::Unix, Carrier::Datagram, "mi_datagram_unix"),
            Address::Udp { .. } | Address::Http(_) => (Transport::Udp, Carrier::Datagram, "mi_datagram"),
        };
        Arc::new(Desk {
            counters: TransportCounters::new(&service.statistics, group),
            listener: address.to_string().into(),
            transport,
            style: TextStyle { carrier, dialect: service.dialect, indent: options.indent },
            pretty: options.pretty_printing,
            reply_limit,
            service,
        })
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.service.dialect
    }

    /// Reads a request in JSON.
    pub(super) fn read_json(&self, body: &[u8]) -> Asked {
        Asked::Json(jsonrpc::decode_request(body, self.dialect()))
    }

    /// Serves what was read.
    pub(super) fn serve(
        self: &Arc<Self>,
        asked: Asked,
        peer: Peer,
        out: &mut Vec<u8>,
        route: MakeRoute<'_>,
    ) -> Served {
        let started = Instant::now();
        match asked {
            Asked::Text(Ok(Request { method, params })) => {
                let form = Form::Text { method: method.clone() };
                self.run(&method, params, form, (started, peer, Wire::Text), out, route)
            }
            Asked::Text(Err((method, failure))) => {
                self.counters.parse_errors.add(1);
                self.finish(&Form::Text { method }, &Err(failure), started, out);
                Served::Now
            }
            Asked::Json(Incoming::One(call)) => self.serve_call(call, (started, peer), out, route),
            Asked::Json(Incoming::Batch(calls)) => {
                self.serve_batch(calls, (started, &peer), route);
                Served::Later
            }
        }
    }

    fn serve_batch(
        self: &Arc<Self>,
        calls: Vec<Result<Call, Refused>>,
        (started, peer): (Instant, &Peer),
        route: MakeRoute<'_>,
    ) {
        let batch = Batch::new(self.clone(), calls.len(), route());
        for (place, call) in calls.into_iter().enumerate() {
            let mut answer = Vec::new();
            let mut route = || Box::new(BatchRoute { batch: batch.clone(), place }) as Box<dyn Route>;
            if self.serve_call(call, (started, peer.clone()), &mut answer, &mut route) == Served::Now {
                batch.put(place, answer);
            }
        }
    }

    fn serve_call(
        self: &Arc<Self>,
        call: Result<Call, Refused>,
        (started, peer): (Instant, Peer),
        out: &mut Vec<u8>,
        route: MakeRoute<'_>,
    ) -> Served {
        match call {
            Ok(Call { request: Request { method, params }, id }) => {
                self.run(&method, params, Form::Json { id }, (started, peer, Wire::JsonRpc), out, route)
            }
            Err(Refused { failure, id }) => {
                self.counters.parse_errors.add(1);
                self.finish(&Form::Json { id }, &Err(failure), started, out);
                Served::Now
            }
        }
    }

    fn run(
        self: &Arc<Self>,
        method: &[u8],
        params: Params,
        form: Form,
        (started, peer, wire): (Instant, Peer, Wire),
        out: &mut Vec<u8>,
        route: MakeRoute<'_>,
    ) -> Served {
        self.counters.requests.add(1);
        self.counters.in_progress.add(1);
        let origin = Origin { listener: self.listener.clone(), transport: self.transport, peer, wire };
        let mut form = Some(form);
        let mut detach = || {
            let form = form.take().unwrap_or(Form::Json { id: Id::Absent });
            Box::new(Pending::new(self.clone(), started, form, route())) as Box<dyn crate::command::Responder>
        };
        let answer = self.service.call(method, params, &origin, &mut detach);
        match (answer, form) {
            (Answer::Now(result), Some(form)) => {
                self.counters.in_progress.add(-1);
                self.finish(&form, &result, started, out);
                Served::Now
            }
            _ => Served::Later,
        }
    }

    /// Writes an answer, or the error that it is too large for the transport, and counts it.
    pub(super) fn finish(
        &self,
        form: &Form,
        result: &Result<Response, Failure>,
        started: Instant,
        out: &mut Vec<u8>,
    ) {
        let before = out.len();
        self.encode(form, result, out);
        let size = out.len() - before;
        if size > self.reply_limit {
            out.truncate(before);
            self.encode(form, &Err(Failure::ReplyTooLarge { size, limit: self.reply_limit }), out);
        }
        let is_error = size > self.reply_limit || !result.as_ref().is_ok_and(Response::is_success);
        self.counters.answered(is_error, started.elapsed());
        if out.len() > before {
            self.counters.replies.add(1);
            self.counters.bytes_out.add((out.len() - before) as i64);
        }
    }

    /// Joins the answers of a batch, or says that together they are too large.
    pub(super) fn finish_batch(&self, answers: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        if answers.iter().any(|answer| !answer.is_empty()) {
            jsonrpc::encode_batch(&mut out, answers);
        }
        if out.len() > self.reply_limit {
            let failure = Failure::ReplyTooLarge { size: out.len(), limit: self.reply_limit };
            out.clear();
            self.encode(&Form::Json { id: Id::Null }, &Err(failure), &mut out);
        }
        out
    }

    /// A detached request has been answered.
    pub(super) fn leave(&self) {
        self.counters.in_progress.add(-1);
    }

    fn encode(&self, form: &Form, result: &Result<Response, Failure>, out: &mut Vec<u8>) {
        match form {
            Form::Text { method } => text::encode_response(out, result, method, &self.style),
            Form::Json { id } if self.dialect().is_emulated() && self.plain(id, result).is_some() => {
                out.extend_from_slice(self.plain(id, result).unwrap_or_default());
            }
            Form::Json { id } => jsonrpc::encode_response(out, result, id, self.dialect(), self.pretty),
        }
    }

    /// What versions 3.x and 4.x say in plain words instead of JSON; nothing at all to bad JSON on a FIFO.
    fn plain(&self, id: &Id, result: &Result<Response, Failure>) -> Option<&'static [u8]> {
        let fifo = self.style.carrier == Carrier::Fifo;
        match (id, result) {
            (Id::Broken, _) => Some(if fifo { b"failed to print response" } else { b"500 Internal error" }),
            (_, Err(Failure::Parse)) => Some(if fifo { b"" } else { b"400 Parse_error" }),
            (_, Err(Failure::ReplyTooLarge { .. })) if !fifo => Some(b"500 Internal error"),
            _ => None,
        }
    }
}
