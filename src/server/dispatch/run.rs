//! Runs requests: finds their commands, checks limits, calls handlers, and answers.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::asked::{Asked, Caller, Form};
use super::batch::{Joint, PartRoute, Together};
use super::dispatcher::Desk;
use super::in_turn::{DetachInTurn, SourceInTurn};
use super::notes::Record;
use super::pending_request::Ticket;
use super::reply_stream;
use super::route::{Abandon as _, Route, Way};
use crate::codec::RequestError;
use crate::codec::jsonrpc::{Call, Incoming, Refused};
use crate::codec::xmlrpc;
use crate::command::permit::Permit;
use crate::command::{Answer, Command, Detach, Origin, Wire, introspect};
use crate::request::{Params, Request};
use crate::response::{Failure, Response};
use crate::server::panics::contained;

impl Desk {
    /// Serves what was read: runs it now, and answers now or later. `out` is a buffer to write in.
    pub(crate) fn serve(self: &Arc<Self>, asked: Asked, caller: Caller, out: &mut Vec<u8>, route: Box<dyn Route>) {
        let started = Instant::now();
        let (form, asked, wire) = match asked {
            Asked::Json(Incoming::One(Ok(Call { request, id }))) => (Form::Json { id }, Ok(request), Wire::JsonRpc),
            Asked::Json(Incoming::One(Err(Refused { failure, id }))) => {
                (Form::Json { id }, Err(failure), Wire::JsonRpc)
            }
            Asked::Json(Incoming::Batch(calls)) => return self.serve_batch(calls, (started, &caller), route),
            Asked::Xml(form, Ok(xmlrpc::Incoming::Multicall(calls))) if calls.len() > self.together.calls => {
                let failure = Failure::TooManyCalls { calls: calls.len(), limit: self.together.calls };
                (Form::Xml { form, method: xmlrpc::MULTICALL.into() }, Err(failure), xml_wire(form))
            }
            Asked::Xml(form, Ok(xmlrpc::Incoming::Multicall(calls))) => {
                return self.serve_multicall(calls, form, (started, &caller), route);
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
            Asked::Custom(request, wire, writer) => (Form::Custom(writer), Ok(request), wire),
            Asked::MiJson(asked) => (Form::MiJson, asked.map_err(|error| error.failure), Wire::MiJson),
        };
        match asked {
            Ok(request) => self.run(request, (started, caller, wire), out, Way { form, route }),
            Err(failure) => {
                self.counters.parse_errors.add(1);
                self.gate.note_refused(&failure);
                self.finish(&form, &Err(failure), (started, None), out);
                route.reply(out);
            }
        }
    }

    fn serve_batch(
        self: &Arc<Self>,
        calls: Vec<Result<Call, Refused>>,
        (started, caller): (Instant, &Caller),
        route: Box<dyn Route>,
    ) {
        let calls = calls.into_iter().map(|call| match call {
            Ok(Call { request, id }) => (Form::Json { id }, Ok(request)),
            Err(Refused { failure, id }) => (Form::Json { id }, Err(failure)),
        });
        self.serve_together(calls, Joint::Json, (started, caller, Wire::JsonRpc), route);
    }

    fn serve_multicall(
        self: &Arc<Self>,
        calls: Vec<Result<Request, RequestError>>,
        form: xmlrpc::Form,
        (started, caller): (Instant, &Caller),
        route: Box<dyn Route>,
    ) {
        let calls = calls.into_iter().map(|call| match call {
            Ok(request) => (Form::XmlPart { form, method: request.method.clone() }, Ok(request)),
            Err(RequestError { failure, method }) => (Form::XmlPart { form, method }, Err(failure)),
        });
        self.serve_together(calls, Joint::Xml(form), (started, caller, xml_wire(form)), route);
    }

    /// Runs calls one after the other, until all have run or their replies are too large.
    fn serve_together(
        self: &Arc<Self>,
        calls: impl ExactSizeIterator<Item = (Form, Result<Request, Failure>)>,
        joint: Joint,
        (started, caller, wire): (Instant, &Caller, Wire),
        route: Box<dyn Route>,
    ) {
        let limit = self.together.replies.min(self.reply_limit);
        let together = Together::new(self.clone(), joint, (calls.len(), limit), route);
        for (place, (form, asked)) in calls.enumerate() {
            if together.is_over() {
                return;
            }
            let (mut out, route) = (Vec::new(), Box::new(PartRoute::new(&together, place)));
            match asked {
                Ok(request) => self.run(request, (started, caller.clone(), wire), &mut out, Way { form, route }),
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
        way: Way,
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
        if let Err(failure) = self.gate.check(&command, &params, (&caller.peer, caller.size), in_progress, started) {
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
        let ticket = Ticket::new(self, command, (started, record), origin, way);
        let command = ticket.command();
        if command.conduct.is_blocking || command.conduct.serial.is_some() {
            return self.run_elsewhere(ticket, (params, caller.size));
        }
        self.take_in_hand(ticket.clone());
        let detach: Arc<dyn Detach> = ticket.clone();
        let answer = self.call(&ticket, params, &detach);
        match answer {
            Answer::Now(result) => ticket.reply(&result, out),
            Answer::Stream(source) => reply_stream::open(&ticket, source),
            Answer::Later => {}
        }
        self.put_down(&*ticket);
    }

    /// Runs the command of a request. One that panics has failed.
    fn call(&self, ticket: &Ticket, params: Params, detach: &Arc<dyn Detach>) -> Answer {
        let what = || format!("{}: command {}", self.listener, ticket.command().canonical_name());
        let answer = contained(what, || self.service.run(ticket.command(), params, detach));
        answer.unwrap_or_else(|| Answer::Now(Err(Failure::Handler)))
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
        Way { form, route }: Way,
        result: &Result<Response, Failure>,
        (started, command): (Instant, Option<&Arc<Command>>),
        out: &mut Vec<u8>,
    ) {
        self.finish(&form, result, (started, command), out);
        route.reply(out);
    }

    /// Has a command run on a thread of those that may wait, in its turn.
    fn run_elsewhere(self: &Arc<Self>, ticket: Arc<Ticket>, (params, size): (Params, usize)) {
        let command = ticket.command().clone();
        let Some(waiting) = self.reserve_unsent(size) else { return ticket.answer(&Err(Failure::Busy)) };
        if let Err(failure) = self.gate.enter_queue(&command) {
            return ticket.answer(&Err(failure));
        }
        ticket.file();
        let desk = self.clone();
        let run = move |turn: Option<crate::command::serial::Turn>| {
            desk.gate.leave_queue(ticket.command());
            drop(waiting);
            // Nobody waits for it any more, so it need not run at all.
            if !ticket.is_awaited() {
                return ticket.abandon();
            }
            let in_turn = Arc::new(DetachInTurn { ticket: ticket.clone(), turn: Mutex::new(turn) });
            let detach: Arc<dyn Detach> = in_turn.clone();
            let answer = desk.call(&ticket, params, &detach);
            match answer {
                Answer::Now(result) => ticket.answer(&result),
                Answer::Stream(source) => {
                    reply_stream::open(&ticket, Box::new(SourceInTurn(source, in_turn.take_turn())));
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
