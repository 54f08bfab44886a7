//! Faults of 1.11 that show later, and requests that wait for another client.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The faults of 1.11 that an earlier request has prepared.
#[derive(Default)]
pub(super) struct DeferredFaults {
    /// `mi_json` has freed an empty parameter, and will do so again.
    is_doomed: AtomicBool,
    /// `mi_xmlrpc` has given away the one array that it has.
    has_given_array: AtomicBool,
}

/// The fate of a reply with an array.
pub(super) enum ArrayReply {
    Sent,
    NotAnArray,
    Death,
}

impl DeferredFaults {
    /// Returns true if 1.11 crashes on this request of `mi_json`: it follows one with an empty parameter.
    pub(super) fn dies_of_mi_json(&self, had_empty_parameter: bool) -> bool {
        self.is_doomed.swap(had_empty_parameter, Ordering::Relaxed)
    }

    /// Returns how `mi_xmlrpc` treats a reply after its first success: it has no array any more to put nodes into.
    pub(super) fn fate_of_array(&self, reply: &[u8]) -> ArrayReply {
        let has = |what: &[u8]| memchr::memmem::find(reply, what).is_some();
        if has(b"<fault>") || !self.has_given_array.swap(true, Ordering::Relaxed) {
            ArrayReply::Sent
        } else if has(b"<string>") {
            ArrayReply::NotAnArray
        } else {
            ArrayReply::Death
        }
    }
}

/// Tells stalled requests of new connections: they go on when another client connects.
#[derive(Default)]
pub(super) struct NewConnectionSignal(Mutex<(u64, Vec<Waker>)>);

impl NewConnectionSignal {
    /// Wakes the requests that wait for a connection.
    pub(super) fn notify(&self) {
        let wakers = {
            let mut state = self.lock();
            state.0 += 1;
            std::mem::take(&mut state.1)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Ready when another client has connected from now on.
    pub(super) fn next(self: &Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let (signal, seen) = (self.clone(), self.lock().0);
        Box::pin(poll_fn(move |context| signal.poll_more(seen, context)))
    }

    fn poll_more(&self, seen: u64, context: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.0 > seen {
            return Poll::Ready(());
        }
        state.1.push(context.waker().clone());
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, (u64, Vec<Waker>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_given_once() {
        let faults = DeferredFaults::default();
        let rule = |reply: &str| match faults.fate_of_array(reply.as_bytes()) {
            ArrayReply::Sent => "sent",
            ArrayReply::NotAnArray => "no array",
            ArrayReply::Death => "death",
        };
        let (fault, empty, line) = ("<fault>", "<array>", "<array><string>");
        assert_eq!([fault, empty, line, fault, empty].map(rule), ["sent", "sent", "no array", "sent", "death"]);
    }

    #[test]
    fn mi_json_dies_after_an_empty_parameter() {
        let faults = DeferredFaults::default();
        assert_eq!(
            [false, true, false, false].map(|broken| faults.dies_of_mi_json(broken)),
            [false, false, true, false]
        );
    }
}
