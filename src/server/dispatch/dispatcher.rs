//! One listener's desk: requests are read, run and answered here, whatever carried them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::codec::jsonrpc::{self, Call, Id, Incoming, Refused};
use crate::codec::pieces::Pieces;
use crate::codec::text::{self, Carrier, TextStyle};
use crate::codec::xmlrpc;
use crate::codec::{RequestError, mi_json};
use crate::command::permit::Permit;
use crate::command::service::Service;
use crate::command::statistics::TransportCounters;
use crate::command::trace::Trace;
use crate::command::{Answer, Command, Detach, Hook, Origin, Peer, Responder, Source, Transport, Wire, introspect};
use crate::dialect::Dialect;
use crate::item::Str;
use crate::request::{Params, Request};
use crate::response::{Failure, Response};
use crate::server::console::{PageCall, ReplyPage};
use crate::server::dispatch::batch::{Joint, PartRoute, Together};
use crate::server::dispatch::byte_budget::{ByteBudget, Reservation};
use crate::server::dispatch::deadline::Deadlines;
use crate::server::dispatch::limits::Gate;
use crate::server::dispatch::memory;
use crate::server::dispatch::pending_request::{Pending, Route, Ticket, Way};
use crate::server::dispatch::policy::ReplyPolicy;
use crate::server::dispatch::resources::Resources;
use crate::server::options::ListenOptions;
use crate::server::options::TogetherLimits;
use crate::server::panics::contained;
use crate::server::scheduling::thread_pool::Pool;
use crate::transport::fifo::Refusal;

pub(crate) struct Desk {
    resources: Arc<Resources>,
    service: Arc<Service>,
    pub(crate) counters: TransportCounters,
    /// What it lets callers ask.
    pub(crate) gate: Gate,
    /// Bytes that wait for its clients.
    unsent: Arc<ByteBudget>,
    /// How many requests are in progress here.
    pub(crate) in_progress: AtomicUsize,
    /// The request that the leader has in hand. When another takes its place, or it stays there for long, it is filed.
    hand: Mutex<Option<Arc<Ticket>>>,
    listener: Arc<str>,
    transport: Transport,
    style: TextStyle,
    pretty: bool,
    together: TogetherLimits,
    permit: Permit,
    /// The largest reply that the transport carries, in bytes.
    reply_limit: usize,
    policy: Arc<dyn ReplyPolicy>,
}

/// A request as it was read, or why it is none.
pub(crate) enum Asked {
    Text(Result<Request, RequestError>),
    Json(Incoming),
    MiJson(Result<Request, RequestError>),
    Xml(xmlrpc::Form, Result<xmlrpc::Incoming, RequestError>),
    Page(PageCall),
}

/// Who asks.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) peer: Peer,
    /// How many bytes the request has.
    pub(crate) size: usize,
    pub(crate) user: Option<Arc<str>>,
    /// Whether only commands that change nothing are run for this request.
    pub(crate) reads_only: bool,
}

impl Caller {
    /// Somebody of whom the transport knows no more than this.
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
    Page(Box<ReplyPage>),
}

impl Desk {
    pub(crate) fn new(
        resources: &Arc<Resources>,
        address: &Address,
        options: &ListenOptions,
        reply_limit: usize,
        policy: Arc<dyn ReplyPolicy>,
    ) -> Arc<Self> {
        let (transport, carrier, group) = match address {
            Address::Fifo { .. } => (Transport::Fifo, Carrier::Fifo, "mi_fifo"),
            Address::Unix { .. } => (Transport::Unix, Carrier::Datagram, "mi_datagram_unix"),
            Address::Udp { .. } => (Transport::Udp, Carrier::Datagram, "mi_datagram"),
            Address::Http(_) => (Transport::Http, Carrier::Datagram, "mi_http"),
        };
        let service = resources.service.clone();
        let counters = TransportCounters::new(&service.statistics, group);
        Arc::new(Desk {
            resources: resources.clone(),
            gate: Gate::new(&service.statistics, group, address, options.limits.clone()),
            unsent: resources.unsent.part(options.unsent_limit),
            in_progress: AtomicUsize::new(0),
            hand: Mutex::default(),
            counters,
            listener: address.to_string().into(),
            transport,
            style: TextStyle { carrier, dialect: service.dialect, indent: options.indent },
            pretty: options.pretty_printing,
            together: options.together,
            permit: options.permit.clone(),
            reply_limit,
            policy,
            service,
        })
    }

    pub(crate) fn service(&self) -> &Service {
        &self.service
    }

    /// Whether a command may be run here.
    pub(crate) fn permits(&self, command: &Command) -> bool {
        self.permit.allows(command)
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.service.dialect
    }

    /// Whether there is memory to read and run a request of so many bytes; if not, that is counted.
    pub(crate) fn has_memory_for(&self, size: usize) -> bool {
        let has_room = memory::has_room_for(size);
        if !has_room {
            self.gate
                .memory
                .note(1, || format!("{}: there is no memory for a request of {size} bytes", self.listener));
        }
        has_room
    }

    /// Reads a request in XML.
    pub(crate) fn read_xml(&self, body: &[u8], form: xmlrpc::Form) -> Asked {
        if !self.has_memory_for(body.len()) {
            return Asked::Xml(form, Err(RequestError { failure: Failure::Busy, method: Str::default() }));
        }
        Asked::Xml(form, xmlrpc::decode_request(body, form, self.dialect()))
    }

    /// Reads a request in JSON.
    pub(crate) fn read_json(&self, body: &[u8]) -> Asked {
        if !self.has_memory_for(body.len()) {
            return Asked::unreadable(true, Str::default(), Failure::Busy);
        }
        Asked::Json(jsonrpc::decode_request_of(body, self.dialect(), self.together.calls))
    }

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
            Asked::Page(PageCall { request, wire, reply }) => (Form::Page(reply), Ok(request), wire),
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
        if self.transport == Transport::Http && self.resources.is_stopping() {
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
        self.take_in_hand(&ticket);
        let detach: Arc<dyn Detach> = ticket.clone();
        let answer = self.call(&ticket, params, &detach);
        match answer {
            Answer::Now(result) => ticket.reply(&result, out),
            Answer::Stream(source) => ticket.stream(source),
            Answer::Later => {}
        }
        self.put_down(&ticket);
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
                Answer::Stream(source) => ticket.stream(Box::new(SourceInTurn(source, in_turn.take_turn()))),
                Answer::Later => {}
            }
        };
        let pool = self.resources.waiting.clone();
        match &command.conduct.serial {
            None => pool.run(Box::new(move || run(None))),
            Some(serial) => serial.wait(Box::new(move |turn| pool.run(Box::new(move || run(Some(turn)))))),
        }
    }

    /// The leader begins a request. Another that was in hand is served by somebody who no longer leads.
    fn take_in_hand(&self, ticket: &Arc<Ticket>) {
        let other = self.hand().replace(ticket.clone());
        if let Some(other) = other {
            self.resources.deadlines.file(&other);
        }
    }

    fn put_down(&self, ticket: &Arc<Ticket>) {
        let mut hand = self.hand();
        if hand.as_ref().is_some_and(|other| Arc::ptr_eq(other, ticket)) {
            *hand = None;
        }
    }

    /// Whoever has a request in hand has had it for long: it is watched over from now on.
    pub(crate) fn set_aside(&self) {
        let ticket = self.hand().take();
        if let Some(ticket) = ticket {
            self.resources.deadlines.file(&ticket);
        }
    }

    fn hand(&self) -> std::sync::MutexGuard<'_, Option<Arc<Ticket>>> {
        self.hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn deadlines(&self) -> &Arc<Deadlines> {
        &self.resources.deadlines
    }

    /// The threads for streamed replies.
    pub(crate) fn aside_pool(&self) -> &Arc<Pool> {
        &self.resources.aside
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.resources.is_stopping()
    }

    /// Has something done by a thread that nobody waits for.
    pub(crate) fn aside(&self, job: Hook) {
        self.resources.aside.run_or_do(job);
    }

    /// How long a command may take.
    pub(crate) fn time_for(&self, command: &Command) -> Option<Duration> {
        command.conduct.limits.run.or(self.gate.limits.run)?.time()
    }

    /// How large a streamed reply may be; one that is gathered first may not be larger than what the transport carries.
    pub(crate) fn stream_limit(&self, command: &Command, is_gathered: bool) -> usize {
        let own = command.conduct.limits.reply.or(self.gate.limits.reply).unwrap_or(usize::MAX);
        if is_gathered { own.min(self.reply_limit) } else { own }
    }

    fn limit_of_replies(&self, command: Option<&Arc<Command>>) -> usize {
        let own = command.and_then(|command| command.conduct.limits.reply);
        own.or(self.gate.limits.reply).unwrap_or(usize::MAX).min(self.reply_limit)
    }

    /// What writes a reply in this form node by node, where that can be.
    pub(crate) fn pieces(&self, form: &Form) -> Option<Pieces> {
        match form {
            Form::Text { .. } => Some(Pieces::text(self.style)),
            Form::Json { id } => Pieces::json(id, self.pretty),
            Form::MiJson => Pieces::mi_json(self.dialect()),
            Form::Xml { form, .. } => Pieces::xml(*form, self.dialect()),
            Form::XmlPart { .. } | Form::Page(_) => None,
        }
    }

    /// A handler was done after its request had been answered for.
    pub(crate) fn note_late(&self, command: &Command) {
        self.gate
            .late
            .note(1, || format!("{}: command {} was done too late", self.listener, command.canonical_name()));
    }

    /// A request was answered in the place of its handler.
    pub(crate) fn note_given_up(&self, command: &Command, failure: &Failure, started: Instant) {
        if *failure == Failure::Timeout {
            self.gate.timeouts.note(1, || {
                let (name, time) = (command.canonical_name(), started.elapsed().as_secs_f64());
                format!("{}: command {name} was not done after {time:.3} s and is answered for", self.listener)
            });
        }
    }

    /// A client has left before its answer came.
    pub(crate) fn note_abandoned(&self, command: &Command) {
        self.counters.dropped.add(1);
        log::debug!("{}: who called {} has left", self.listener, command.canonical_name());
    }

    /// Room for bytes that have to wait for a client; nothing, where too many wait already, which is counted.
    pub(crate) fn reserve_unsent(&self, bytes: usize) -> Option<Reservation> {
        let reservation = self.unsent.reserve(bytes);
        if reservation.is_none() {
            self.counters.dropped.add(1);
            self.gate
                .unsent
                .note(1, || format!("{}: too many bytes wait for clients, {bytes} more are given up", self.listener));
        }
        reservation
    }

    /// Too many bytes wait for one client, and another reply to it is given up.
    pub(crate) fn note_full_peer(&self, peer: &Peer, waiting: usize) {
        self.counters.dropped.add(1);
        self.gate.unsent.note(1, || {
            format!(
                "{}: {waiting} bytes wait for {peer}, which does not read; replies to it are given up",
                self.listener
            )
        });
    }

    /// Room for a reply that may have to wait for its client. One that is larger than the limit fits while no other waits.
    pub(crate) fn reserve_reply(&self, bytes: usize) -> Option<Reservation> {
        self.reserve_unsent(bytes.min(self.unsent.limit()))
    }

    /// Gives back the memory of bytes that have waited for clients.
    pub(crate) fn trim(&self) {
        self.unsent.trim();
    }

    /// A client took nothing of its reply for as long as it may.
    pub(crate) fn note_stalled(&self, command: Option<&Command>) {
        self.gate.write_timeouts.note(1, || match command {
            Some(command) => {
                format!("{}: who called {} does not read the reply", self.listener, command.canonical_name())
            }
            None => format!("{}: a client does not read its reply", self.listener),
        });
    }

    /// Counts and tells that the process had no descriptor left, and what came of it.
    pub(crate) fn note_shortage(&self, consequence: &str) {
        self.gate.descriptors.note(1, || {
            format!(
                "{}: {consequence}: no other descriptor is left (raise `ulimit -n`, or LimitNOFILE= of the service)",
                self.listener
            )
        });
    }

    /// A caller names a reply FIFO that is not written to.
    pub(crate) fn note_refused_reply(&self, name: &Str, why: &Refusal) {
        self.counters.dropped.add(1);
        match why {
            Refusal::CommandFifo | Refusal::Restricted { .. } => {
                self.gate
                    .refused_replies
                    .note(1, || format!("{}: reply FIFO {name:?} refused: {why}", self.listener));
            }
            _ => log::debug!("{}: reply FIFO {name:?} refused: {why}", self.listener),
        }
    }

    /// What was asked and answered, where that is recorded.
    pub(crate) fn record(&self, command: &Command, record: &Record, started: Instant, reply: &str) {
        let (name, elapsed) = (command.canonical_name().to_string(), started.elapsed().as_secs_f64());
        let (peer, user) = (record.peer.to_string(), record.user.as_deref().unwrap_or_default());
        log::info!(
            target: "sipmi.trace",
            command = name.as_str(),
            listener = &*self.listener,
            transport = self.transport.scheme(),
            wire = record.wire.name(),
            peer = peer.as_str(),
            user = user,
            elapsed = elapsed,
            request = record.request.as_str(),
            reply = reply;
            "{name} from {peer}: {} -> {reply} in {elapsed:.6} s", record.request
        );
    }

    pub(crate) fn trace(&self) -> Option<&Trace> {
        self.service.trace.get()
    }

    /// A reply ended before its end.
    pub(crate) fn note_short(&self, command: &Command) {
        self.gate
            .short_replies
            .note(1, || format!("{}: a reply of command {} ends short", self.listener, command.canonical_name()));
    }

    /// Writes an answer, or the error that it is too large, and counts it.
    pub(crate) fn finish(
        &self,
        form: &Form,
        result: &Result<Response, Failure>,
        (started, command): (Instant, Option<&Arc<Command>>),
        out: &mut Vec<u8>,
    ) {
        let before = out.len();
        let what = || format!("{}: writing a reply", self.listener);
        if contained(what, || self.encode(form, result, out)).is_none() {
            out.truncate(before);
            if result.is_ok() {
                self.finish(form, &Err(Failure::Handler), (started, command), out);
            }
            return;
        }
        // What is refused is told in few words, however small the limit.
        let limit = if result.is_ok() { self.limit_of_replies(command) } else { self.reply_limit };
        let size = out.len() - before;
        if size > limit {
            out.truncate(before);
            self.gate
                .too_large_replies
                .note(1, || format!("{}: a reply of {size} bytes is over the limit of {limit}", self.listener));
            if self.policy.explains_oversize() {
                self.encode(form, &Err(Failure::ReplyTooLarge { size, limit }), out);
            }
        }
        let is_error = size > limit || !result.as_ref().is_ok_and(Response::is_success);
        self.count(command, is_error, started, out.len() - before);
    }

    /// Counts an answer of so many bytes.
    pub(crate) fn count(&self, command: Option<&Arc<Command>>, is_error: bool, started: Instant, size: usize) {
        let elapsed = started.elapsed();
        self.counters.answered(is_error, elapsed);
        if let Some(command) = command.filter(|_| self.policy.counts_commands()) {
            let name = || format!("{}.{}", command.module, command.name);
            command.conduct.metrics.count(&self.service.statistics, name, is_error, elapsed);
        }
        if size > 0 {
            self.counters.replies.add(1);
            self.counters.bytes_out.add(size as i64);
        }
    }

    /// Joins the answers to calls that came together, or says that they are too large.
    pub(crate) fn finish_together(&self, joint: Joint, answers: Result<Vec<Vec<u8>>, Failure>) -> Vec<u8> {
        let mut out = Vec::new();
        let joined = answers.and_then(|answers| {
            match joint {
                Joint::Json => jsonrpc::encode_batch(&mut out, answers),
                Joint::Xml(form) => xmlrpc::join_multicall(&mut out, answers, form),
            }
            let (size, limit) = (out.len(), self.reply_limit);
            if size > limit { Err(Failure::ReplyTooLarge { size, limit }) } else { Ok(()) }
        });
        if let Err(failure) = joined {
            if let Failure::ReplyTooLarge { size, limit } = failure {
                self.gate.too_large_replies.note(1, || {
                    format!("{}: replies to several calls have {size} bytes, limit {limit}", self.listener)
                });
            }
            out.clear();
            let form = match joint {
                Joint::Json => Form::Json { id: Id::Null },
                Joint::Xml(form) => Form::Xml { form, method: xmlrpc::MULTICALL.into() },
            };
            self.encode(&form, &Err(failure), &mut out);
        }
        out
    }

    /// What stands for the answer to a call that was given up without one.
    pub(crate) fn lost_part(&self, joint: Joint) -> Vec<u8> {
        let mut out = Vec::new();
        if let Joint::Xml(form) = joint {
            self.encode(&Form::XmlPart { form, method: Str::default() }, &Err(Failure::Handler), &mut out);
        }
        out
    }

    pub(crate) fn encode(&self, form: &Form, result: &Result<Response, Failure>, out: &mut Vec<u8>) {
        match form {
            Form::Text { method } => text::encode_response(out, result, method, &self.style),
            Form::Json { id } => match self.policy.plain_reply(id, result) {
                Some(words) => out.extend_from_slice(words),
                None => jsonrpc::encode_response(out, result, id, self.dialect(), self.pretty),
            },
            Form::Page(reply) => reply.write(out, result),
            Form::MiJson => mi_json::encode_response(out, result, self.dialect()),
            Form::Xml { form, method } => xmlrpc::encode_response(out, result, method, *form, self.dialect()),
            Form::XmlPart { form, method } => {
                xmlrpc::encode_multicall_answer(out, result, method, *form, self.dialect());
            }
        }
    }
}

fn xml_wire(form: xmlrpc::Form) -> Wire {
    if form == xmlrpc::Form::Native { Wire::XmlRpc } else { Wire::XmlRpcText }
}

/// What is recorded of a request that is traced.
pub(crate) struct Record {
    request: String,
    peer: Peer,
    user: Option<Arc<str>>,
    wire: Wire,
}

/// Detaches a call of a command that has the turn, which goes with the responder.
struct DetachInTurn {
    ticket: Arc<Ticket>,
    turn: Mutex<Option<crate::command::serial::Turn>>,
}

impl DetachInTurn {
    fn take_turn(&self) -> Option<crate::command::serial::Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Detach for DetachInTurn {
    fn origin(&self) -> &Origin {
        self.ticket.origin()
    }

    fn detach(self: Arc<Self>) -> Box<dyn Responder> {
        Box::new(InTurn(Pending::new(&self.ticket), self.take_turn()))
    }
}

/// Answers a call of a command that has the turn, which ends when the handler does.
struct InTurn(Pending, Option<crate::command::serial::Turn>);

impl Responder for InTurn {
    fn answer(self: Box<Self>, result: Result<Response, Failure>) {
        Box::new(self.0).answer(result);
    }

    fn stream(self: Box<Self>, source: Box<dyn Source>) {
        let InTurn(pending, turn) = *self;
        Box::new(pending).stream(Box::new(SourceInTurn(source, turn)));
    }

    fn provisional(&self, response: Response) -> bool {
        self.0.provisional(response)
    }

    fn on_cancel(&self, hook: Hook) {
        self.0.on_cancel(hook);
    }

    fn is_awaited(&self) -> bool {
        self.0.is_awaited()
    }
}

/// Nodes of a command that has the turn, which ends when they do.
struct SourceInTurn(Box<dyn Source>, #[allow(dead_code)] Option<crate::command::serial::Turn>);

impl Source for SourceInTurn {
    fn fill(&mut self, batch: &mut crate::tree::Tree, waker: &std::task::Waker) -> crate::command::Filled {
        self.0.fill(batch, waker)
    }
}
