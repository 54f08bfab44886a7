//! The decisions of a FIFO listener that differ where a version of OpenSIPS is emulated.

use std::sync::MutexGuard;

use crate::codec::fifo_frame::{Frame, Framer};
use crate::dialect::Dialect;
use crate::server::dispatch::policy::Native;
use crate::server::dispatch::route::WINDOW;
use crate::transport::fifo::{Opened, ReplyFifo};

/// The way a FIFO listener reads requests and sends replies. The defaults are sipmi's own.
pub(crate) trait FifoPolicy: Send + Sync {
    /// Splits the bytes of the command FIFO into requests of at most `limit` bytes.
    fn framing(&self, dialect: Dialect, limit: usize) -> Box<dyn Framing> {
        Box::new(Framer::new(dialect, limit))
    }

    /// Waits until the listener may take the next request.
    fn wait_for_turn(&self) -> Option<MutexGuard<'_, ()>> {
        None
    }

    /// Returns true if the server crashes on a request.
    fn dies_of(&self, replies: &dyn ReplySide, frame: &Frame) -> bool {
        let _ = (replies, frame);
        false
    }

    /// Runs a request later if its reply FIFO has no reader yet.
    fn reach_reader(&self, request: Box<dyn UnreadRequest>) {
        request.await_reader();
    }

    /// Writes a reply.
    fn send(&self, replies: &dyn ReplySide, fifo: ReplyFifo, bytes: &mut Vec<u8>) {
        replies.write(fifo, bytes);
    }

    /// The number of bytes of a streamed reply that are collected before the first is written.
    fn window(&self) -> usize {
        WINDOW
    }
}

impl FifoPolicy for Native {}

/// The side of a listener that sends replies.
pub(crate) trait ReplySide {
    /// Opens a reply FIFO by its name.
    fn open_reply(&self, name: &[u8]) -> Opened;
    /// Writes the bytes of a reply that the pipe accepts at once; the deferred writer writes the rest.
    fn write(&self, fifo: ReplyFifo, bytes: &mut Vec<u8>);
    /// Counts a request whose client gets no reply.
    fn note_dropped(&self);
    /// Returns true if the server is stopping.
    fn is_stopping(&self) -> bool;
    /// Ends the server as a crash does.
    fn die(&self);
}

/// A request whose reply FIFO has no reader yet.
pub(crate) trait UnreadRequest {
    /// The side of its listener that sends replies.
    fn replies(&self) -> &dyn ReplySide;
    /// The name of its reply FIFO.
    fn name(&self) -> &[u8];
    /// Runs the request now. If this process crashes from now on, its client gets no reply.
    fn run_unwatched(self: Box<Self>, fifo: ReplyFifo);
    /// Makes the deferred writer open the reply FIFO and run the request, once the FIFO has a reader.
    fn await_reader(self: Box<Self>);
}

/// Splits the bytes of a command FIFO into requests.
pub(crate) trait Framing: Send {
    /// The most bytes that one read may return, if `possible` bytes fit in the buffer.
    fn room(&self, possible: usize) -> usize {
        possible
    }

    /// Takes the bytes of one read. `takes_no_input` tells whether a command accepts no parameters.
    fn push(&mut self, bytes: &[u8], takes_no_input: &dyn Fn(&[u8]) -> bool);

    /// The next request.
    fn next_frame(&mut self) -> Option<Frame>;

    /// The number of bytes that belong to no complete request yet.
    fn buffered(&self) -> usize {
        0
    }

    /// Returns true if a request is incomplete and can time out.
    fn is_mid_frame(&self) -> bool {
        false
    }

    /// Drops the incomplete request.
    fn give_up(&mut self) -> Option<Frame> {
        None
    }
}

impl Framing for Framer {
    fn push(&mut self, bytes: &[u8], _: &dyn Fn(&[u8]) -> bool) {
        Framer::push(self, bytes);
    }

    fn next_frame(&mut self) -> Option<Frame> {
        Framer::next_frame(self)
    }

    fn buffered(&self) -> usize {
        Framer::buffered(self)
    }

    fn is_mid_frame(&self) -> bool {
        Framer::is_mid_frame(self)
    }

    fn give_up(&mut self) -> Option<Frame> {
        Framer::give_up(self)
    }
}
