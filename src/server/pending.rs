//! A request whose answer comes later, answered exactly once (`struct mi_handler`).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::desk::{Desk, Form};
use crate::codec::xmlrpc;
use crate::command::Responder;
use crate::item::Str;
use crate::response::{Failure, Response};

/// The way back to one client.
pub(super) trait Route: Send {
    /// Sends the answer's bytes; none when the client wants no answer.
    fn deliver(self: Box<Self>, bytes: Vec<u8>);
}

/// Whoever holds it answers; when it is dropped, the caller is told that the command failed.
pub(super) struct Pending {
    desk: Arc<Desk>,
    started: Instant,
    way: Option<(Form, Box<dyn Route>)>,
}

impl Pending {
    pub(super) fn new(desk: Arc<Desk>, started: Instant, form: Form, route: Box<dyn Route>) -> Self {
        Pending { desk, started, way: Some((form, route)) }
    }

    fn send(&mut self, result: &Result<Response, Failure>) {
        if let Some((form, route)) = self.way.take() {
            let mut bytes = Vec::new();
            self.desk.leave();
            self.desk.finish(&form, result, self.started, &mut bytes);
            route.deliver(bytes);
        }
    }
}

impl Responder for Pending {
    fn answer(mut self: Box<Self>, result: Result<Response, Failure>) {
        self.send(&result);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.send(&Err(Failure::Handler));
    }
}

/// The answers of a batch, sent together when the last has come.
pub(super) struct Batch {
    desk: Arc<Desk>,
    answers: Mutex<Vec<Vec<u8>>>,
    missing: AtomicUsize,
    route: Mutex<Option<Box<dyn Route>>>,
}

impl Batch {
    pub(super) fn new(desk: Arc<Desk>, calls: usize, route: Box<dyn Route>) -> Arc<Self> {
        Arc::new(Batch {
            desk,
            answers: Mutex::new(vec![Vec::new(); calls]),
            missing: AtomicUsize::new(calls),
            route: Mutex::new(Some(route)),
        })
    }

    /// Keeps the answer to one call; notifications have an empty one.
    pub(super) fn put(&self, place: usize, bytes: Vec<u8>) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)[place] = bytes;
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.send();
        }
    }

    fn send(&self) {
        let answers = std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(route) = self.route.lock().unwrap_or_else(PoisonError::into_inner).take() {
            route.deliver(self.desk.finish_batch(&answers));
        }
    }
}

/// A place in a batch.
pub(super) struct BatchRoute {
    pub(super) batch: Arc<Batch>,
    pub(super) place: usize,
}

impl Route for BatchRoute {
    fn deliver(self: Box<Self>, bytes: Vec<u8>) {
        self.batch.put(self.place, bytes);
    }
}

/// The answers to the calls of a `system.multicall`, sent together when the last has come.
pub(super) struct Multicall {
    desk: Arc<Desk>,
    form: xmlrpc::Form,
    started: Instant,
    answers: Mutex<Vec<(Str, Result<Response, Failure>)>>,
    missing: AtomicUsize,
    route: Mutex<Option<Box<dyn Route>>>,
}

impl Multicall {
    pub(super) fn new(
        desk: Arc<Desk>,
        form: xmlrpc::Form,
        methods: Vec<Str>,
        started: Instant,
        route: Box<dyn Route>,
    ) -> Arc<Self> {
        Arc::new(Multicall {
            desk,
            form,
            started,
            missing: AtomicUsize::new(methods.len()),
            answers: Mutex::new(methods.into_iter().map(|method| (method, Err(Failure::Handler))).collect()),
            route: Mutex::new(Some(route)),
        })
    }

    /// Keeps the answer to one call.
    pub(super) fn put(&self, place: usize, result: Result<Response, Failure>) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)[place].1 = result;
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.send();
        }
    }

    /// A multicall of nothing is answered, too.
    pub(super) fn send_if_empty(&self) {
        if self.answers.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            self.send();
        }
    }

    fn send(&self) {
        let answers = std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(route) = self.route.lock().unwrap_or_else(PoisonError::into_inner).take() {
            route.deliver(self.desk.finish_multicall(self.form, &answers, self.started));
        }
    }
}

/// A call of a multicall that is answered later.
pub(super) struct MulticallPlace(Option<(Arc<Multicall>, usize)>);

impl MulticallPlace {
    pub(super) fn new(multicall: Arc<Multicall>, place: usize) -> Self {
        MulticallPlace(Some((multicall, place)))
    }

    fn put(&mut self, result: Result<Response, Failure>) {
        if let Some((multicall, place)) = self.0.take() {
            multicall.put(place, result);
        }
    }
}

impl Responder for MulticallPlace {
    fn answer(mut self: Box<Self>, result: Result<Response, Failure>) {
        self.put(result);
    }
}

impl Drop for MulticallPlace {
    fn drop(&mut self) {
        self.put(Err(Failure::Handler));
    }
}
