//! The way back to a client, and the replies that it carries.

use std::sync::{Arc, Weak};
use std::task::Waker;

use super::asked::Form;
use crate::command::Command;
use crate::response::{Failure, Response};

/// A reply that is no larger is sent as one that was made at once.
pub(crate) const WINDOW: usize = 64 << 10;
/// The way back to one client.
pub(crate) trait ReplySink: Send {
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

    /// Returns true if the client still waits for the answer.
    fn is_awaited(&self) -> bool {
        true
    }

    /// How much of a streamed answer is gathered before it begins: all of it, where the wire wants it in one piece.
    fn window(&self) -> usize {
        usize::MAX
    }

    /// Sends an answer that is still being made, of which these are the first bytes.
    fn stream(self: Box<Self>, first: Vec<u8>, stream: Box<dyn StreamedReply>) {
        drop(stream);
        self.deliver(first);
    }

    /// The answer is made elsewhere, or waits for its turn: told where a client that leaves is noticed.
    fn will_take_long(&mut self, request: Weak<dyn Abandon>) {
        let _ = request;
    }

    /// Sends something before the answer; whether that can be.
    fn provisional(&mut self, bytes: &[u8]) -> bool {
        let _ = bytes;
        false
    }
}

/// The target of an answer: the form to write it in and the route to send it on.
pub(crate) struct ReplyTarget {
    pub(crate) form: Form,
    pub(crate) route: Box<dyn ReplySink>,
}

/// How far a stream got.
pub(crate) enum Advance {
    /// Its source has nothing yet, and wakes who asked when it has.
    Wait,
    /// It has not begun, and is a reply like others.
    Answer(Result<Response, Failure>),
    /// It has not begun, and this is all of it.
    Whole(Vec<u8>),
    /// Its next bytes.
    Part(Vec<u8>),
    /// Its last bytes.
    Last(Vec<u8>),
    /// It ends before its end.
    Short,
}

/// A reply that is made while it is sent.
pub(crate) trait StreamedReply: Send {
    /// Goes on until there is something to send, or no source any more. `waker` is woken when there is more.
    fn advance(&mut self, waker: &Waker) -> Advance;
    /// Called when the client has all of it.
    fn note_sent(&mut self);
    fn command(&self) -> &Arc<Command>;
}

/// A request that a client can leave without its answer.
pub(crate) trait Abandon: Send + Sync {
    /// The client has left: no answer is made any more.
    fn abandon(&self);
}
