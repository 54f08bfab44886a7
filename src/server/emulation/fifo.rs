//! The FIFO modules of real servers, with their faults: they serve one request at a time, and wait for its client.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::fifo_framing::{JsonReader, TextReader};
use super::hazards;
use crate::codec::fifo_frame::Frame;
use crate::dialect::Dialect;
use crate::server::listener::fifo::policy::{FifoPolicy, Framing, ReplySide, UnreadRequest};
use crate::transport::fifo::{Opened, ReplyFifo};

/// The time between two attempts to write to a full pipe.
const FULL_PIPE: Duration = Duration::from_millis(1);

/// The FIFO of a version with its faults. Without hazards the FIFO of a version is sipmi's.
pub(super) struct FaultyFifo {
    dialect: Dialect,
    /// Held while a request is served.
    turn: Mutex<()>,
    /// True if the current request is for a command that answers later, which crashes the server in other ways.
    answers_later: AtomicBool,
}

impl FaultyFifo {
    pub(super) fn new(dialect: Dialect) -> Self {
        FaultyFifo { dialect, turn: Mutex::default(), answers_later: AtomicBool::new(false) }
    }

    /// Returns true if a real server would crash on the request. It opens the reply FIFO before it crashes.
    fn is_deadly(&self, replies: &dyn ReplySide, frame: &Frame) -> bool {
        let (reply, deadly) = match frame {
            Frame::Json { reply, body } => (reply, hazards::dies_of_json(self.dialect, body, true)),
            Frame::Text { reply, .. } | Frame::Malformed { reply, .. } => (reply, false),
        };
        if deadly && !reply.is_empty() {
            return matches!(replies.open_reply(reply), Opened::Ready(_));
        }
        let has_no_way_back = reply.is_empty() && hazards::answers_later(frame);
        // 4.1 drops the reply that has nowhere to go.
        deadly || (has_no_way_back && self.dialect != Dialect::V4_1)
    }
}

impl FifoPolicy for FaultyFifo {
    fn framing(&self, dialect: Dialect, _: usize) -> Box<dyn Framing> {
        if dialect.reads_text() { Box::new(TextReader::new(dialect)) } else { Box::<JsonReader>::default() }
    }

    fn wait_for_turn(&self) -> Option<MutexGuard<'_, ()>> {
        Some(self.turn.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn dies_of(&self, replies: &dyn ReplySide, frame: &Frame) -> bool {
        let dies = self.is_deadly(replies, frame);
        self.answers_later.store(hazards::answers_later(frame), Ordering::Relaxed);
        dies
    }

    /// Looks for a missing reader a few times, while all other requests wait.
    fn reach_reader(&self, request: Box<dyn UnreadRequest>) {
        for pause in hazards::READER_LOOKS {
            std::thread::sleep(pause);
            if let Opened::Ready(fifo) = request.replies().open_reply(request.name()) {
                return request.run_unwatched(fifo);
            }
        }
        request.replies().note_dropped();
    }

    /// Writes until the client has taken the whole reply, while all other requests wait.
    fn send(&self, replies: &dyn ReplySide, fifo: ReplyFifo, bytes: &mut Vec<u8>) {
        let bytes = std::mem::take(bytes);
        if self.answers_later.load(Ordering::Relaxed) && hazards::dies_of_reply(self.dialect, &bytes) {
            return replies.die();
        }
        let bytes = hazards::cut_fifo_reply(self.dialect, bytes);
        let mut sent = 0;
        while sent < bytes.len() && !replies.is_stopping() {
            match fifo.write(&bytes[sent..]) {
                Ok(0) => std::thread::sleep(FULL_PIPE),
                Ok(more) => sent += more,
                Err(error) => return log::debug!("a reply was not delivered: {error}"),
            }
        }
    }

    /// A reply is written as a whole.
    fn window(&self) -> usize {
        usize::MAX
    }
}
