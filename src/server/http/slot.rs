//! Where the answer to a request is put down for its connection, and what happens when the client leaves before.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Poll, Waker};

use crate::server::stream::{Stream, WINDOW};
use crate::server::ticket::{Route, Ticket};

/// An answer, or the beginning of one.
pub(super) enum Made {
    Whole(Vec<u8>),
    Begun(Vec<u8>, Box<Stream>),
}

/// The connection's side. Dropped before the answer has come, it tells whoever makes it that nobody waits.
#[derive(Default)]
pub(super) struct Slot(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    answer: Option<Made>,
    is_answered: bool,
    waker: Option<Waker>,
    /// What is being made for the answer, where that takes long.
    tickets: Vec<Weak<Ticket>>,
}

impl Slot {
    /// The way from whoever makes the answer.
    pub(super) fn route(&self) -> Box<dyn Route> {
        Box::new(HttpRoute(self.0.clone()))
    }

    pub(super) fn poll(&self, waker: &Waker) -> Poll<Made> {
        let mut state = lock(&self.0);
        if let Some(answer) = state.answer.take() {
            return Poll::Ready(answer);
        }
        state.waker = Some(waker.clone());
        Poll::Pending
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let tickets = {
            let mut state = lock(&self.0);
            if state.is_answered { Vec::new() } else { std::mem::take(&mut state.tickets) }
        };
        tickets.iter().filter_map(Weak::upgrade).for_each(|ticket| ticket.abandon());
    }
}

struct HttpRoute(Arc<Mutex<State>>);

impl HttpRoute {
    /// Puts the answer down, and gives what wakes the connection.
    fn put(&self, answer: Made) -> Option<Waker> {
        let mut state = lock(&self.0);
        state.answer = Some(answer);
        state.is_answered = true;
        state.waker.take()
    }
}

impl Route for HttpRoute {
    fn deliver(self: Box<Self>, bytes: Vec<u8>) {
        if let Some(waker) = self.put(Made::Whole(bytes)) {
            waker.wake();
        }
    }

    fn reply(self: Box<Self>, out: &mut Vec<u8>) {
        // Whoever serves the request looks at the connection next.
        drop(self.put(Made::Whole(std::mem::take(out))));
    }

    fn window(&self) -> usize {
        WINDOW
    }

    fn stream(self: Box<Self>, first: Vec<u8>, stream: Stream) {
        if let Some(waker) = self.put(Made::Begun(first, Box::new(stream))) {
            waker.wake();
        }
    }

    fn will_take_long(&mut self, ticket: &Arc<Ticket>) {
        lock(&self.0).tickets.push(Arc::downgrade(ticket));
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
