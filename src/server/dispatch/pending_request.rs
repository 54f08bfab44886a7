//! A request in progress, answered exactly once: by its handler, its deadline, or the end of the server.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use super::asked::Form;
use super::deadline::{Due, Place};
use super::dispatcher::Desk;
use super::notes::Record;
use super::one_shot::Once;
use super::route::{Abandon, Way};
use crate::command::{Command, Hook, Origin};
use crate::response::{Failure, Response};

pub(crate) struct Ticket {
    desk: Arc<Desk>,
    command: Arc<Command>,
    origin: Origin,
    started: Instant,
    pub(super) once: Once<Way, Hook>,
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

    pub(crate) fn request_origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
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

    /// The way back, for the first who takes it.
    pub(crate) fn take(&self) -> Option<Way> {
        let way = self.once.take();
        if way.is_some() {
            self.leave();
        }
        way
    }

    /// It takes long: it is watched over, and given up when the client leaves.
    pub(crate) fn file(self: &Arc<Self>) {
        let due: Arc<dyn Due> = self.clone();
        self.desk.deadlines().file(&due);
        self.once.peek(|way| {
            let request: Weak<dyn Abandon> = Arc::downgrade(&(self.clone() as Arc<dyn Abandon>));
            way.route.will_take_long(request);
        });
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

impl Due for Ticket {
    fn deadline(&self) -> Option<Instant> {
        self.origin.deadline
    }

    fn set_place(&self, place: Place) -> bool {
        self.place.set(place).is_ok()
    }

    fn is_open(&self) -> bool {
        self.once.is_open()
    }

    fn give_up(&self, failure: Failure) {
        let Some((way, stop)) = self.once.give_up() else { return };
        self.leave();
        self.desk.note_given_up(&self.command, &failure, self.started);
        self.send(way, &Err(failure));
        if let Some(stop) = stop {
            self.desk.aside(stop);
        }
    }
}

impl Abandon for Ticket {
    fn abandon(&self) {
        let Some((_, stop)) = self.once.give_up() else { return };
        self.leave();
        self.desk.note_abandoned(&self.command);
        if let Some(stop) = stop {
            self.desk.aside(stop);
        }
    }
}
