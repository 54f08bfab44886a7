//! Runs requests: finds their commands, checks limits, calls handlers, and answers.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::asked::{Asked, Caller, Form};
use super::batch::{Batch, BatchForm, BatchSink};
use super::dispatcher::Dispatcher;
use super::in_turn::{DetachInTurn, SourceInTurn};
use super::notes::Record;
use super::pending_request::PendingRequest;
use super::reply_stream;
use super::route::{Abandon as _, ReplySink, ReplyTarget};
use crate::codec::RequestError;
use crate::codec::jsonrpc::{Call, Incoming, Refused};
use crate::codec::xmlrpc;
use crate::command::permit::Permit;
use crate::command::{Answer, Command, Detach, Origin, Wire, introspect};
use crate::request::{Params, Request};
use crate::response::{Failure, Response};
use crate::server::panics::contained;

impl Dispatcher {
    /// Serves what was read: runs it now, and answers now or later. `out` is a buffer to write in.
    pub(crate) fn serve(
        self: &Arc<Self>,
        asked: Asked,
        caller: Caller,
        out: &mut Vec<u8>,
        route: Box<dyn ReplySink>,
    ) {
        let started = Instant::now();
        let (form, asked, wire) = match asked {
            Asked::Json(Incoming::One(Ok(Call { request, id }))) => (Form::Json { id }, Ok(request), Wire::JsonRpc),
            Asked::Json(Incoming::One(Err(Refused { failure, id }))) => {
                (Form::Json { id }, Err(failure), Wire::JsonRpc)
            }
            Asked::Json(Incoming::Batch(calls)) => return self.serve_batch(calls, (started, &caller), route),
            Asked::Xml(form, Ok(xmlrpc::Incoming::Multicall(calls))) if calls.len() > self.batch.calls => {
                let failure = Failure::TooManyCalls { calls: calls.len(), limit: self.batch.calls };
                (Form::Xml { form, method: xmlrpc::MULTICALL.into() }, Err(failure), xml_wire(form))
            }
            Asked::Xml(form, Ok(xmlrpc::Incoming::Multicall(calls))) => {
                return self.serve_multicall(calls, form, (started, &caller), route);
            }
            Asked::Xml(form, Ok(xmlrpc::Incoming::One(request))) => {
                // A client that asks about the server expects the answer that XML-RPC itself describes.
                let form = if introspect::is_question(&request.method) { xmlrpc::Form::Native } else { form };
                (Form::Xml { form, method: request.method.clone() }, Ok(request), xml_wire(form))
            }
            Asked::Xml(form, Err(error)) => {
                (Form::Xml { form, method: error.method }, Err(error.failure), xml_wire(form))
            }
            Asked::Text(Ok(request)) => (Form::Text { method: request.method.clone() }, Ok(request), Wire::Text),
            Asked::Text(Err(error)) => (Form::Text { method: error.method }, Err(error.failure), Wire::Text),
            Asked::Custom(request, wire, writer) => (Form::Custom(writer), Ok(request), wire),
            Asked::MiJson(asked) => (Form::MiJson, asked.map_err(|error| error.failure), Wire::MiJson),
        };
        match asked {
            Ok(request) => self.run(request, (started, caller, wire), out, ReplyTarget { form, route }),
            Err(failure) => {
                self.counters.parse_errors.add(1);
                self.limits.note_refused(&failure);
                self.finish(&form, &Err(failure), (started, None), out);
                route.reply(out);
            }
        }
    }

    fn serve_batch(
        self: &Arc<Self>,
        calls: Vec<Result<Call, Refused>>,
        (started, caller): (Instant, &Caller),
        route: Box<dyn ReplySink>,
    ) {
        let calls = calls.into_iter().map(|call| match call {
            Ok(Call { request, id }) => (Form::Json { id }, Ok(request)),
            Err(Refused { failure, id }) => (Form::Json { id }, Err(failure)),
        });
        self.serve_calls(calls, BatchForm::Json, (started, caller, Wire::JsonRpc), route);
    }

    fn serve_multicall(
        self: &Arc<Self>,
        calls: Vec<Result<Request, RequestError>>,
        form: xmlrpc::Form,
        (started, caller): (Instant, &Caller),
        route: Box<dyn ReplySink>,
    ) {
        let calls = calls.into_iter().map(|call| match call {
            Ok(request) => (Form::XmlPart { form, method: request.method.clone() }, Ok(request)),
            Err(RequestError { failure, method }) => (Form::XmlPart { form, method }, Err(failure)),
        });
        self.serve_calls(calls, BatchForm::Xml(form), (started, caller, xml_wire(form)), route);
    }

    /// Runs calls one after the other, until all have run or their replies are too large.
    fn serve_calls(
        self: &Arc<Self>,
        calls: impl ExactSizeIterator<Item = (Form, Result<Request, Failure>)>,
        joint: BatchForm,
        (started, caller, wire): (Instant, &Caller, Wire),
        route: Box<dyn ReplySink>,
    ) {
        let limit = self.batch.replies.min(self.reply_limit);
        let batch = Batch::new(self.clone(), joint, (calls.len(), limit), route);
        for (place, (form, asked)) in calls.enumerate() {
            if batch.is_over() {
                return;
            }
            let (mut out, route) = (Vec::new(), Box::new(BatchSink::new(&batch, place)));
            match asked {
                Ok(request) => {
                    self.run(request, (started, caller.clone(), wire), &mut out, ReplyTarget { form, route });
                }
                Err(failure) => {
                    self.counters.parse_errors.add(1);
                    self.finish(&form, &Err(failure), (started, None), &mut out);
                    route.reply(&mut out);
                }
            }
        }
    }

    /// Finds the command and has it run, if it may be.
    fn run(
        self: &Arc<Self>,
        Request { method, params }: Request,
        (started, caller, wire): (Instant, Caller, Wire),
        out: &mut Vec<u8>,
        way: ReplyTarget,
    ) {
        self.counters.requests.add(1);
        if matches!(wire, Wire::XmlRpc | Wire::XmlRpcText)
            && self.service.forwarder().is_none()
            && let Some(result) = introspect::answer(&self.service, &self.permit, &method, &params)
        {
            return self.answer_at_once(way, &result, (started, None), out);
        }
        let command = match self.find(&method, caller.reads_only) {
            Ok(command) => command,
            Err(failure) => return self.answer_at_once(way, &Err(failure), (started, None), out),
        };
        let in_progress = self.in_progress.load(Ordering::Relaxed);
        if let Err(failure) = self.limits.check(&command, &params, (&caller.peer, caller.size), in_progress, started)
        {
            return self.answer_at_once(way, &Err(failure), (started, Some(&command)), out);
        }
        if self.rejects_while_stopping && self.is_stopping() {
            return self.answer_at_once(way, &Err(Failure::Busy), (started, Some(&command)), out);
        }
        let record = self.service.trace.get().filter(|trace| trace.records(&command)).map(|trace| {
            let request = trace.request(&command, &params);
            Box::new(Record { request, peer: caller.peer.clone(), user: caller.user.clone(), wire })
        });
        let origin = Origin {
            listener: self.listener.clone(),
            transport: self.transport,
            peer: caller.peer,
            wire,
            user: caller.user,
            deadline: None,
        };
        let request = PendingRequest::new(self, command, (started, record), origin, way);
        let command = request.command();
        if command.conduct.is_blocking || command.conduct.serial.is_some() {
            return self.run_elsewhere(request, (params, caller.size));
        }
        self.track_current(request.clone());
        let detach: Arc<dyn Detach> = request.clone();
        let answer = self.call(&request, params, &detach);
        match answer {
            Answer::Now(result) => request.reply(&result, out),
            Answer::Stream(source) => reply_stream::open(&request, source),
            Answer::Later => {}
        }
        self.release_current(&*request);
    }

    /// Runs the command of a request. One that panics has failed.
    fn call(&self, request: &PendingRequest, params: Params, detach: &Arc<dyn Detach>) -> Answer {
        let what = || format!("{}: command {}", self.listener, request.command().canonical_name());
        let answer = contained(what, || self.service.run(request.command(), params, detach));
        answer.unwrap_or_else(|| Answer::Now(Err(request.command().failure())))
    }

    fn find(&self, method: &[u8], reads_only: bool) -> Result<Arc<Command>, Failure> {
        if reads_only && !self.permit.read_only {
            let permit = Permit { read_only: true, ..self.permit.clone() };
            return self.service.find(method, &permit);
        }
        self.service.find(method, &self.permit)
    }

    /// Answers what has not become a request in progress.
    fn answer_at_once(
        &self,
        ReplyTarget { form, route }: ReplyTarget,
        result: &Result<Response, Failure>,
        (started, command): (Instant, Option<&Arc<Command>>),
        out: &mut Vec<u8>,
    ) {
        self.finish(&form, result, (started, command), out);
        route.reply(out);
    }

    /// Has a command run on a thread of those that may wait, in its turn.
    fn run_elsewhere(self: &Arc<Self>, request: Arc<PendingRequest>, (params, size): (Params, usize)) {
        let command = request.command().clone();
        let Some(waiting) = self.reserve_unsent(size) else { return request.answer(&Err(Failure::Busy)) };
        if let Err(failure) = self.limits.enter_queue(&command) {
            return request.answer(&Err(failure));
        }
        request.file();
        let dispatcher = self.clone();
        let run = move |turn: Option<crate::command::serial::Turn>| {
            dispatcher.limits.leave_queue(request.command());
            drop(waiting);
            // The client is gone, so the command need not run.
            if !request.is_awaited() {
                return request.abandon();
            }
            let in_turn = Arc::new(DetachInTurn { request: request.clone(), turn: Mutex::new(turn) });
            let detach: Arc<dyn Detach> = in_turn.clone();
            let answer = dispatcher.call(&request, params, &detach);
            match answer {
                Answer::Now(result) => request.answer(&result),
                Answer::Stream(source) => {
                    reply_stream::open(&request, Box::new(SourceInTurn(source, in_turn.take_turn())));
                }
                Answer::Later => {}
            }
        };
        let pool = self.resources.waiting.clone();
        match &command.conduct.serial {
            None => pool.run(Box::new(move || run(None))),
            Some(serial) => serial.wait(Box::new(move |turn| pool.run(Box::new(move || run(Some(turn)))))),
        }
    }
}

fn xml_wire(form: xmlrpc::Form) -> Wire {
    if form == xmlrpc::Form::Native { Wire::XmlRpc } else { Wire::XmlRpcText }
}
