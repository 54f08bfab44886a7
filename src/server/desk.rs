//! One listener's desk: requests are read, run and answered here, whatever carried them.

use std::sync::Arc;
use std::time::Instant;

use super::ListenOptions;
use super::http::console::{PageCall, ReplyPage};
use super::pending::{Batch, BatchRoute, Multicall, MulticallPlace, Pending, Route};
use crate::address::Address;
use crate::codec::jsonrpc::{self, Call, Id, Incoming, Refused};
use crate::codec::text::{self, Carrier, TextStyle};
use crate::codec::xmlrpc;
use crate::codec::{RequestError, mi_json};
use crate::command::permit::Permit;
use crate::command::service::Service;
use crate::command::statistics::TransportCounters;
use crate::command::{Answer, Command, Origin, Peer, Responder, Transport, Wire, introspect};
use crate::dialect::Dialect;
use crate::item::Str;
use crate::request::Request;
use crate::response::{Failure, Response};

pub(super) struct Desk {
    service: Arc<Service>,
    pub(super) counters: TransportCounters,
    listener: Arc<str>,
    transport: Transport,
    style: TextStyle,
    pretty: bool,
    permit: Permit,
    /// The largest reply that the transport carries, in bytes.
    reply_limit: usize,
}

/// A request as it was read, or why it is none.
pub(super) enum Asked {
    Text(Result<Request, RequestError>),
    Json(Incoming),
    MiJson(Result<Request, RequestError>),
    Xml(xmlrpc::Form, Result<xmlrpc::Incoming, RequestError>),
    Page(PageCall),
}

/// Who asks.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) peer: Peer,
    pub(super) user: Option<Arc<str>>,
    /// Whether only commands that change nothing are run for this request.
    pub(super) reads_only: bool,
}

impl From<Peer> for Caller {
    fn from(peer: Peer) -> Self {
        Caller { peer, user: None, reads_only: false }
    }
}

impl Asked {
    /// Bytes that are no request; what was understood of them says in which form to answer.
    pub(super) fn unreadable(json: bool, method: Str, failure: Failure) -> Self {
        if json {
            Asked::Json(Incoming::One(Err(Refused { failure, id: Id::Null })))
        } else {
            Asked::Text(Err(RequestError { failure, method }))
        }
    }
}

/// How an answer is written.
pub(super) enum Form {
    Text { method: Str },
    Json { id: Id },
    MiJson,
    Xml { form: xmlrpc::Form, method: Str },
    Page(Box<ReplyPage>),
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
            Address::Udp { .. } => (Transport::Udp, Carrier::Datagram, "mi_datagram"),
            Address::Http(_) => (Transport::Http, Carrier::Datagram, "mi_http"),
        };
        Arc::new(Desk {
            counters: TransportCounters::new(&service.statistics, group),
            listener: address.to_string().into(),
            transport,
            style: TextStyle { carrier, dialect: service.dialect, indent: options.indent },
            pretty: options.pretty_printing,
            permit: options.permit.clone(),
            reply_limit,
            service,
        })
    }

    pub(super) fn service(&self) -> &Service {
        &self.service
    }

    /// Whether a command may be run here.
    pub(super) fn permits(&self, command: &Command) -> bool {
        self.permit.allows(command)
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
        caller: impl Into<Caller>,
        out: &mut Vec<u8>,
        route: MakeRoute<'_>,
    ) -> Served {
        let started = Instant::now();
        let caller = caller.into();
        let (form, asked, wire) = match asked {
            Asked::Json(Incoming::One(call)) => return self.serve_call(call, (started, caller), out, route),
            Asked::Json(Incoming::Batch(calls)) => {
                self.serve_batch(calls, (started, &caller), route);
                return Served::Later;
            }
            Asked::Xml(form, Ok(xmlrpc::Incoming::Multicall(calls))) => {
                self.serve_multicall(calls, form, (started, &caller), route);
                return Served::Later;
            }
            Asked::Xml(form, Ok(xmlrpc::Incoming::One(request))) => {
                // Whoever asks about the server expects the answer that XML-RPC itself describes.
                let form = if introspect::is_question(&request.method) { xmlrpc::Form::Native } else { form };
                (Form::Xml { form, method: request.method.clone() }, Ok(request), xml_wire(form))
            }
            Asked::Xml(form, Err(error)) => {
                (Form::Xml { form, method: error.method }, Err(error.failure), xml_wire(form))
            }
            Asked::Text(Ok(request)) => (Form::Text { method: request.method.clone() }, Ok(request), Wire::Text),
            Asked::Text(Err(error)) => (Form::Text { method: error.method }, Err(error.failure), Wire::Text),
            Asked::Page(PageCall { request, wire, reply }) => (Form::Page(reply), Ok(request), wire),
            Asked::MiJson(asked) => (Form::MiJson, asked.map_err(|error| error.failure), Wire::MiJson),
        };
        match asked {
            Ok(request) => self.run(request, form, (started, caller, wire), out, route),
            Err(failure) => self.refuse(&form, failure, started, out),
        }
    }

    fn refuse(&self, form: &Form, failure: Failure, started: Instant, out: &mut Vec<u8>) -> Served {
        self.counters.parse_errors.add(1);
        self.finish(form, &Err(failure), started, out);
        Served::Now
    }

    fn serve_batch(
        self: &Arc<Self>,
        calls: Vec<Result<Call, Refused>>,
        (started, caller): (Instant, &Caller),
        route: MakeRoute<'_>,
    ) {
        let batch = Batch::new(self.clone(), calls.len(), route());
        for (place, call) in calls.into_iter().enumerate() {
            let mut answer = Vec::new();
            let mut route = || Box::new(BatchRoute { batch: batch.clone(), place }) as Box<dyn Route>;
            if self.serve_call(call, (started, caller.clone()), &mut answer, &mut route) == Served::Now {
                batch.put(place, answer);
            }
        }
    }

    fn serve_multicall(
        self: &Arc<Self>,
        calls: Vec<Result<Request, RequestError>>,
        form: xmlrpc::Form,
        (started, caller): (Instant, &Caller),
        route: MakeRoute<'_>,
    ) {
        let methods = calls.iter().map(|call| match call {
            Ok(request) => request.method.clone(),
            Err(error) => error.method.clone(),
        });
        let multicall = Multicall::new(self.clone(), form, methods.collect(), started, route());
        for (place, call) in calls.into_iter().enumerate() {
            let mut detach = || Box::new(MulticallPlace::new(multicall.clone(), place)) as Box<dyn Responder>;
            let answer = match call {
                Ok(request) => self.answer(request, (caller.clone(), xml_wire(form)), &mut detach),
                Err(error) => {
                    self.counters.parse_errors.add(1);
                    Answer::Now(Err(error.failure))
                }
            };
            if let Answer::Now(result) = answer {
                multicall.put(place, result);
            }
        }
        multicall.send_if_empty();
    }

    fn serve_call(
        self: &Arc<Self>,
        call: Result<Call, Refused>,
        (started, caller): (Instant, Caller),
        out: &mut Vec<u8>,
        route: MakeRoute<'_>,
    ) -> Served {
        match call {
            Ok(Call { request, id }) => {
                self.run(request, Form::Json { id }, (started, caller, Wire::JsonRpc), out, route)
            }
            Err(Refused { failure, id }) => self.refuse(&Form::Json { id }, failure, started, out),
        }
    }

    fn run(
        self: &Arc<Self>,
        request: Request,
        form: Form,
        (started, caller, wire): (Instant, Caller, Wire),
        out: &mut Vec<u8>,
        route: MakeRoute<'_>,
    ) -> Served {
        self.counters.in_progress.add(1);
        let mut form = Some(form);
        let mut detach = || {
            let form = form.take().unwrap_or(Form::Json { id: Id::Absent });
            Box::new(Pending::new(self.clone(), started, form, route())) as Box<dyn Responder>
        };
        let answer = self.answer(request, (caller, wire), &mut detach);
        match (answer, form) {
            (Answer::Now(result), Some(form)) => {
                self.counters.in_progress.add(-1);
                self.finish(&form, &result, started, out);
                Served::Now
            }
            _ => Served::Later,
        }
    }

    /// Has the command run.
    fn answer(
        &self,
        Request { method, params }: Request,
        (Caller { peer, user, reads_only }, wire): (Caller, Wire),
        detach: &mut dyn FnMut() -> Box<dyn Responder>,
    ) -> Answer {
        self.counters.requests.add(1);
        if matches!(wire, Wire::XmlRpc | Wire::XmlRpcText)
            && let Some(result) = introspect::answer(&self.service, &self.permit, &method, &params)
        {
            return Answer::Now(result);
        }
        let origin = Origin { listener: self.listener.clone(), transport: self.transport, peer, wire, user };
        if reads_only && !self.permit.read_only {
            let permit = Permit { read_only: true, ..self.permit.clone() };
            return self.service.call(&method, params, &permit, &origin, detach);
        }
        self.service.call(&method, params, &self.permit, &origin, detach)
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

    /// Joins the answers of a multicall.
    pub(super) fn finish_multicall(
        &self,
        form: xmlrpc::Form,
        answers: &[(Str, Result<Response, Failure>)],
        started: Instant,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        let answers = answers.iter().map(|(method, result)| {
            self.counters.answered(!result.as_ref().is_ok_and(Response::is_success), started.elapsed());
            (method.as_bytes(), result)
        });
        xmlrpc::encode_multicall(&mut out, answers, form, self.dialect());
        if out.len() > self.reply_limit {
            let failure = Failure::ReplyTooLarge { size: out.len(), limit: self.reply_limit };
            out.clear();
            xmlrpc::encode_response(&mut out, &Err(failure), b"system.multicall", form, self.dialect());
        }
        self.counters.replies.add(1);
        self.counters.bytes_out.add(out.len() as i64);
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
            Form::Page(reply) => reply.write(out, result),
            Form::MiJson => mi_json::encode_response(out, result, self.dialect()),
            Form::Xml { form, method } => xmlrpc::encode_response(out, result, method, *form, self.dialect()),
        }
    }

    /// What versions 3.x and 4.x say in plain words instead of JSON; nothing at all to bad JSON on a FIFO.
    fn plain(&self, id: &Id, result: &Result<Response, Failure>) -> Option<&'static [u8]> {
        if self.transport == Transport::Http {
            return None;
        }
        let fifo = self.style.carrier == Carrier::Fifo;
        match (id, result) {
            (Id::Broken, _) => Some(if fifo { b"failed to print response" } else { b"500 Internal error" }),
            (_, Err(Failure::Parse)) => Some(if fifo { b"" } else { b"400 Parse_error" }),
            (_, Err(Failure::ReplyTooLarge { .. })) if !fifo => Some(b"500 Internal error"),
            _ => None,
        }
    }
}

fn xml_wire(form: xmlrpc::Form) -> Wire {
    if form == xmlrpc::Form::Native { Wire::XmlRpc } else { Wire::XmlRpcText }
}
