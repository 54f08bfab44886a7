//! The slot in which a connection finds its reply, and the cancellation when the client leaves before.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Poll, Waker};

use bytes::Bytes;

use crate::server::dispatch::byte_budget::Reservation;
use crate::server::dispatch::dispatcher::Dispatcher;
use crate::server::dispatch::route::{Abandon, ReplySink, StreamedReply, WINDOW};

/// A complete reply, or the start of a streamed one.
pub(super) enum Made {
    Whole(Bytes),
    Begun(Vec<u8>, Box<dyn StreamedReply>),
    /// The memory for replies that wait for their clients has no room for this many bytes.
    Refused(usize),
}

/// A reply up to this size fits in the socket's buffer, so it is not counted among those that wait.
const FITS_A_SOCKET: usize = 16 << 10;

/// A reply that is counted until its last byte is in the socket's buffer.
struct Counted {
    bytes: Vec<u8>,
    _reservation: Reservation,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Made {
    fn whole(mut bytes: Vec<u8>, dispatcher: &Dispatcher) -> Self {
        if bytes.len() <= FITS_A_SOCKET {
            return Made::Whole(bytes.into());
        }
        match dispatcher.reserve_reply(bytes.len()) {
            Some(reservation) => {
                bytes.shrink_to_fit();
                Made::Whole(Bytes::from_owner(Counted { bytes, _reservation: reservation }))
            }
            None => Made::Refused(bytes.len()),
        }
    }
}

/// The connection's side. If it is dropped before the reply arrives, the request is canceled.
#[derive(Default)]
pub(super) struct ReplySlot(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    answer: Option<Made>,
    is_answered: bool,
    waker: Option<Waker>,
    /// The requests in progress, if they take long.
    requests: Vec<Weak<dyn Abandon>>,
}

impl ReplySlot {
    /// The way to the slot for the thread that makes the reply.
    pub(super) fn route(&self, dispatcher: &Arc<Dispatcher>) -> Box<dyn ReplySink> {
        Box::new(HttpRoute { state: self.0.clone(), dispatcher: dispatcher.clone() })
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

impl Drop for ReplySlot {
    fn drop(&mut self) {
        let requests = {
            let mut state = lock(&self.0);
            if state.is_answered { Vec::new() } else { std::mem::take(&mut state.requests) }
        };
        requests.iter().filter_map(Weak::upgrade).for_each(|ticket| ticket.abandon());
    }
}

struct HttpRoute {
    state: Arc<Mutex<State>>,
    dispatcher: Arc<Dispatcher>,
}

impl HttpRoute {
    /// Stores the reply and returns the waker of the connection.
    fn put(&self, answer: Made) -> Option<Waker> {
        let mut state = lock(&self.state);
        state.answer = Some(answer);
        state.is_answered = true;
        state.waker.take()
    }
}

impl ReplySink for HttpRoute {
    fn deliver(self: Box<Self>, bytes: Vec<u8>) {
        if let Some(waker) = self.put(Made::whole(bytes, &self.dispatcher)) {
            waker.wake();
        }
    }

    fn reply(self: Box<Self>, out: &mut Vec<u8>) {
        // The thread that serves the request polls the connection next.
        drop(self.put(Made::whole(std::mem::take(out), &self.dispatcher)));
    }

    fn window(&self) -> usize {
        WINDOW
    }

    fn stream(self: Box<Self>, first: Vec<u8>, stream: Box<dyn StreamedReply>) {
        if let Some(waker) = self.put(Made::Begun(first, stream)) {
            waker.wake();
        }
    }

    fn will_take_long(&mut self, request: Weak<dyn Abandon>) {
        lock(&self.state).requests.push(request);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
