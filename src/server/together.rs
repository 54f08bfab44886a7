//! Answers that are sent together: those of a batch, and those of a multicall.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::desk::Desk;
use super::ticket::{Route, Ticket};
use crate::codec::xmlrpc;
use crate::item::Str;
use crate::response::{Failure, Response};

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

    fn will_take_long(&mut self, ticket: &Arc<Ticket>) {
        if let Some(route) = &mut *self.batch.route.lock().unwrap_or_else(PoisonError::into_inner) {
            route.will_take_long(ticket);
        }
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

/// A place in a multicall. Left without an answer, its call has failed.
pub(super) struct MulticallPlace(Option<(Arc<Multicall>, usize)>);

impl MulticallPlace {
    pub(super) fn new(multicall: Arc<Multicall>, place: usize) -> Self {
        MulticallPlace(Some((multicall, place)))
    }

    pub(super) fn will_take_long(&self, ticket: &Arc<Ticket>) {
        let Some((multicall, _)) = &self.0 else { return };
        if let Some(route) = &mut *multicall.route.lock().unwrap_or_else(PoisonError::into_inner) {
            route.will_take_long(ticket);
        }
    }

    pub(super) fn put(mut self, result: Result<Response, Failure>) {
        if let Some((multicall, place)) = self.0.take() {
            multicall.put(place, result);
        }
    }
}

impl Drop for MulticallPlace {
    fn drop(&mut self) {
        if let Some((multicall, place)) = self.0.take() {
            multicall.put(place, Err(Failure::Handler));
        }
    }
}
