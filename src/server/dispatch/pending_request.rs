//! A request in progress, answered exactly once: by its handler, its deadline, or the end of the server.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::deadline::Place;
use crate::command::{Command, Detach, Hook, Origin, Responder, Source};
use crate::response::{Failure, Response};
use crate::server::dispatch::dispatcher::{Desk, Form, Record};
use crate::server::dispatch::one_shot::Once;
use crate::server::dispatch::reply_stream::Stream;

/// The way back to one client.
pub(crate) trait Route: Send {
    /// Sends the answer's bytes; none when the client wants no answer.
    fn deliver(self: Box<Self>, bytes: Vec<u8>);

    /// As `deliver`, from the thread that read the request. The buffer may be used again.
    fn reply(self: Box<Self>, out: &mut Vec<u8>) {
        self.deliver(std::mem::take(out));
    }

    /// How large the answer may be, beside other limits.
    fn limit(&self) -> usize {
        usize::MAX
    }

    /// Whether the client still has use for the answer.
    fn is_awaited(&self) -> bool {
        true
    }

    /// How much of a streamed answer is gathered before it begins: all of it, where the wire wants it in one piece.
    fn window(&self) -> usize {
        usize::MAX
    }

    /// Sends an answer that is still being made, of which these are the first bytes.
    fn stream(self: Box<Self>, first: Vec<u8>, stream: Stream) {
        drop(stream);
        self.deliver(first);
    }

    /// The answer is made elsewhere, or waits for its turn: told where a client that leaves is noticed.
    fn will_take_long(&mut self, ticket: &Arc<Ticket>) {
        let _ = ticket;
    }

    /// Sends something before the answer; whether that can be.
    fn provisional(&mut self, bytes: &[u8]) -> bool {
        let _ = bytes;
        false
    }
}

/// What an answer needs: it is written in this form and sent.
pub(crate) struct Way {
    pub(crate) form: Form,
    pub(crate) route: Box<dyn Route>,
}

pub(crate) struct Ticket {
    desk: Arc<Desk>,
    command: Arc<Command>,
    origin: Origin,
    started: Instant,
    once: Once<Way, Hook>,
    place: OnceLock<Place>,
    /// What was asked, where that is recorded.
    record: Option<Box<Record>>,
}

impl Ticket {
    pub(crate) fn new(
        desk: &Arc<Desk>,
        command: Arc<Command>,
        (started, record): (Instant, Option<Box<Record>>),
        origin: Origin,
        way: Way,
    ) -> Arc<Self> {
        desk.counters.in_progress.add(1);
        desk.in_progress.fetch_add(1, Ordering::Relaxed);
        if command.conduct.limits.in_progress.is_some() {
            command.conduct.in_progress.fetch_add(1, Ordering::Relaxed);
        }
        let deadline = desk.time_for(&command).and_then(|time| started.checked_add(time));
        Arc::new(Ticket {
            desk: desk.clone(),
            command,
            origin: Origin { deadline, ..origin },
            started,
            once: Once::new(way),
            place: OnceLock::new(),
            record,
        })
    }

    pub(crate) fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    pub(crate) fn command(&self) -> &Arc<Command> {
        &self.command
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// When it is answered for.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.origin.deadline
    }

    /// Gives it its place among those that are watched over; false when it has one.
    pub(crate) fn set_place(&self, place: Place) -> bool {
        self.place.set(place).is_ok()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.once.is_open()
    }

    /// Whether its answer is still of use, where none has been given.
    pub(crate) fn is_awaited(&self) -> bool {
        self.once.peek(|way| way.route.is_awaited()).unwrap_or(false)
    }

    /// Answers from the thread that read the request, if nobody has; `out` is a buffer to write in.
    pub(crate) fn reply(&self, result: &Result<Response, Failure>, out: &mut Vec<u8>) {
        let way = self.take();
        if way.is_some() {
            self.note_result(result);
        }
        match way {
            Some(Way { form, route }) => {
                self.desk.finish(&form, result, (self.started, Some(&self.command)), out);
                route.reply(out);
            }
            None => self.desk.note_late(&self.command),
        }
    }

    /// Answers, if nobody has.
    pub(crate) fn answer(&self, result: &Result<Response, Failure>) {
        match self.take() {
            Some(way) => self.send(way, result),
            None => self.desk.note_late(&self.command),
        }
    }

    fn send(&self, Way { form, route }: Way, result: &Result<Response, Failure>) {
        self.note_result(result);
        let mut bytes = Vec::new();
        self.desk.finish(&form, result, (self.started, Some(&self.command)), &mut bytes);
        route.deliver(bytes);
    }

    /// Answers with what is still being made, if nobody has answered; else that is not made any further.
    pub(crate) fn stream(self: &Arc<Self>, source: Box<dyn Source>) {
        let opened = self.once.peek(|Way { form, route }| Stream::new(self, form, &**route, source));
        match opened {
            Some(stream) => stream.open(),
            None => self.desk.note_late(&self.command),
        }
    }

    /// The way back, for the first who takes it.
    pub(crate) fn take(&self) -> Option<Way> {
        let way = self.once.take();
        if way.is_some() {
            self.leave();
        }
        way
    }

    /// Answers in the place of whoever is at work, who is told to stop.
    pub(crate) fn give_up(&self, failure: Failure) {
        let Some((way, stop)) = self.once.give_up() else { return };
        self.leave();
        self.desk.note_given_up(&self.command, &failure, self.started);
        self.send(way, &Err(failure));
        if let Some(stop) = stop {
            self.desk.aside(stop);
        }
    }

    /// Nobody waits for the answer any more: the client has left.
    pub(crate) fn abandon(&self) {
        let Some((_, stop)) = self.once.give_up() else { return };
        self.leave();
        self.desk.note_abandoned(&self.command);
        if let Some(stop) = stop {
            self.desk.aside(stop);
        }
    }

    /// It takes long: it is watched over, and given up when the client leaves.
    pub(crate) fn file(self: &Arc<Self>) {
        self.desk.deadlines().file(self);
        self.once.peek(|way| way.route.will_take_long(self));
    }

    pub(crate) fn provisional(&self, response: Response) -> bool {
        let send = |Way { form, route }: &mut Way| match form {
            Form::Text { .. } => {
                let mut bytes = Vec::new();
                self.desk.encode(form, &Ok(response), &mut bytes);
                route.provisional(&bytes)
            }
            _ => false,
        };
        self.once.peek(send).unwrap_or(false)
    }

    pub(crate) fn on_cancel(&self, hook: Hook) {
        if let Some(hook) = self.once.on_give_up(hook) {
            self.desk.aside(hook);
        }
    }

    fn note_result(&self, result: &Result<Response, Failure>) {
        if let (Some(record), Some(trace)) = (&self.record, self.desk.trace()) {
            self.desk.record(&self.command, record, self.started, &trace.reply(result));
        }
    }

    /// A reply was sent while it was made.
    pub(crate) fn note_streamed(&self, size: usize) {
        if let Some(record) = &self.record {
            self.desk.record(&self.command, record, self.started, &format!("{size} bytes, streamed"));
        }
    }

    fn leave(&self) {
        if let Some(place) = self.place.get() {
            self.desk.deadlines().strike(*place);
        }
        self.desk.counters.in_progress.add(-1);
        self.desk.in_progress.fetch_sub(1, Ordering::Relaxed);
        if self.command.conduct.limits.in_progress.is_some() {
            self.command.conduct.in_progress.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Detach for Ticket {
    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn detach(self: Arc<Self>) -> Box<dyn Responder> {
        Box::new(Pending::new(&self))
    }
}

/// Whoever holds it answers; when it is dropped, the caller is told that the command failed.
pub(crate) struct Pending(Option<Arc<Ticket>>);

impl Pending {
    /// Holds a ticket, which is watched over from now on.
    pub(crate) fn new(ticket: &Arc<Ticket>) -> Self {
        ticket.file();
        Pending(Some(ticket.clone()))
    }
}

impl Responder for Pending {
    fn answer(mut self: Box<Self>, result: Result<Response, Failure>) {
        if let Some(ticket) = self.0.take() {
            ticket.answer(&result);
        }
    }

    fn stream(mut self: Box<Self>, source: Box<dyn Source>) {
        if let Some(ticket) = self.0.take() {
            ticket.stream(source);
        }
    }

    fn provisional(&self, response: Response) -> bool {
        self.0.as_ref().is_some_and(|ticket| ticket.provisional(response))
    }

    fn on_cancel(&self, hook: Hook) {
        if let Some(ticket) = &self.0 {
            ticket.on_cancel(hook);
        }
    }

    fn is_awaited(&self) -> bool {
        self.0.as_ref().is_some_and(|ticket| ticket.is_open())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // Nobody is told that an answer which nobody waits for comes late.
        if let Some(ticket) = self.0.take().filter(|ticket| ticket.is_open()) {
            ticket.answer(&Err(Failure::Handler));
        }
    }
}
