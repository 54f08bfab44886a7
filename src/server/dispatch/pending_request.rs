//! A request in progress, answered exactly once: by its handler, its deadline, or the end of the server.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use super::asked::Form;
use super::deadline::{DeadlineKey, Due};
use super::dispatcher::Dispatcher;
use super::notes::Record;
use super::one_shot::OneShot;
use super::route::{Abandon, ReplyTarget};
use crate::command::{Command, Hook, Origin};
use crate::response::{Failure, Response};

pub(crate) struct PendingRequest {
    dispatcher: Arc<Dispatcher>,
    command: Arc<Command>,
    origin: Origin,
    started: Instant,
    pub(super) once: OneShot<ReplyTarget, Hook>,
    key: OnceLock<DeadlineKey>,
    /// The recorded request, if it is traced.
    record: Option<Box<Record>>,
}

impl PendingRequest {
    pub(crate) fn new(
        dispatcher: &Arc<Dispatcher>,
        command: Arc<Command>,
        (started, record): (Instant, Option<Box<Record>>),
        origin: Origin,
        way: ReplyTarget,
    ) -> Arc<Self> {
        dispatcher.counters.in_progress.add(1);
        dispatcher.in_progress.fetch_add(1, Ordering::Relaxed);
        if command.conduct.limits.in_progress.is_some() {
            command.conduct.in_progress.fetch_add(1, Ordering::Relaxed);
        }
        let deadline = dispatcher.time_for(&command).and_then(|time| started.checked_add(time));
        Arc::new(PendingRequest {
            dispatcher: dispatcher.clone(),
            command,
            origin: Origin { deadline, ..origin },
            started,
            once: OneShot::new(way),
            key: OnceLock::new(),
            record,
        })
    }

    pub(crate) fn dispatcher(&self) -> &Arc<Dispatcher> {
        &self.dispatcher
    }

    pub(crate) fn command(&self) -> &Arc<Command> {
        &self.command
    }

    pub(crate) fn request_origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Returns true if it has no answer and the client still waits for one.
    pub(crate) fn is_awaited(&self) -> bool {
        self.once.peek(|way| way.route.is_awaited()).unwrap_or(false)
    }

    /// Answers from the thread that read the request, unless it is answered; `out` is a buffer to write in.
    pub(crate) fn reply(&self, result: &Result<Response, Failure>, out: &mut Vec<u8>) {
        let way = self.take();
        if way.is_some() {
            self.note_result(result);
        }
        match way {
            Some(ReplyTarget { form, route }) => {
                self.dispatcher.finish(&form, result, (self.started, Some(&self.command)), out);
                route.reply(out);
            }
            None => self.dispatcher.note_late(&self.command),
        }
    }

    /// Answers, unless it is answered already.
    pub(crate) fn answer(&self, result: &Result<Response, Failure>) {
        match self.take() {
            Some(way) => self.send(way, result),
            None => self.dispatcher.note_late(&self.command),
        }
    }

    fn send(&self, ReplyTarget { form, route }: ReplyTarget, result: &Result<Response, Failure>) {
        self.note_result(result);
        let mut bytes = Vec::new();
        self.dispatcher.finish(&form, result, (self.started, Some(&self.command)), &mut bytes);
        route.deliver(bytes);
    }

    /// The way back, for the first who takes it.
    pub(crate) fn take(&self) -> Option<ReplyTarget> {
        let way = self.once.take();
        if way.is_some() {
            self.leave();
        }
        way
    }

    /// It takes long: it is watched over, and given up when the client leaves.
    pub(crate) fn file(self: &Arc<Self>) {
        let due: Arc<dyn Due> = self.clone();
        self.dispatcher.deadlines().file(&due);
        self.once.peek(|way| {
            let request: Weak<dyn Abandon> = Arc::downgrade(&(self.clone() as Arc<dyn Abandon>));
            way.route.will_take_long(request);
        });
    }

    pub(crate) fn provisional(&self, response: Response) -> bool {
        let send = |ReplyTarget { form, route }: &mut ReplyTarget| match form {
            Form::Text { .. } => {
                let mut bytes = Vec::new();
                self.dispatcher.encode(form, &Ok(response), &mut bytes);
                route.provisional(&bytes)
            }
            _ => false,
        };
        self.once.peek(send).unwrap_or(false)
    }

    pub(crate) fn on_cancel(&self, hook: Hook) {
        if let Some(hook) = self.once.on_give_up(hook) {
            self.dispatcher.aside(hook);
        }
    }

    fn note_result(&self, result: &Result<Response, Failure>) {
        if let (Some(record), Some(trace)) = (&self.record, self.dispatcher.trace()) {
            self.dispatcher.record(&self.command, record, self.started, &trace.reply(result));
        }
    }

    /// A reply was sent while it was made.
    pub(crate) fn note_streamed(&self, size: usize) {
        if let Some(record) = &self.record {
            self.dispatcher.record(&self.command, record, self.started, &format!("{size} bytes, streamed"));
        }
    }

    fn leave(&self) {
        if let Some(key) = self.key.get() {
            self.dispatcher.deadlines().strike(*key);
        }
        self.dispatcher.counters.in_progress.add(-1);
        self.dispatcher.in_progress.fetch_sub(1, Ordering::Relaxed);
        if self.command.conduct.limits.in_progress.is_some() {
            self.command.conduct.in_progress.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Due for PendingRequest {
    fn deadline(&self) -> Option<Instant> {
        self.origin.deadline
    }

    fn set_key(&self, key: DeadlineKey) -> bool {
        self.key.set(key).is_ok()
    }

    fn is_open(&self) -> bool {
        self.once.is_open()
    }

    fn give_up(&self, failure: Failure) {
        let Some((way, stop)) = self.once.give_up() else { return };
        self.leave();
        self.dispatcher.note_given_up(&self.command, &failure, self.started);
        self.send(way, &Err(failure));
        if let Some(stop) = stop {
            self.dispatcher.aside(stop);
        }
    }
}

impl Abandon for PendingRequest {
    fn abandon(&self) {
        let Some((_, stop)) = self.once.give_up() else { return };
        self.leave();
        self.dispatcher.note_abandoned(&self.command);
        if let Some(stop) = stop {
            self.dispatcher.aside(stop);
        }
    }
}
