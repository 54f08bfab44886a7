//! Replies through a client's FIFO, complete or streamed.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::Waker;
use std::time::Duration;

use super::policy::{FifoPolicy, ReplySide};
use crate::clock;
use crate::server::context::Context;
use crate::server::delivery::deferred_writer::PendingWrite;
use crate::server::dispatch::byte_budget::Reservation;
use crate::server::dispatch::dispatcher::Dispatcher;
use crate::server::dispatch::route::ReplySink;
use crate::server::dispatch::route::{Advance, StreamedReply};
use crate::server::multiprocess::in_flight::Slot;
use crate::server::scheduling::driver::{Driver, Task};
use crate::transport::fifo::{Opened, Refusal, ReplyDir, ReplyFifo};

/// The side of a listener that sends replies: its directory of reply FIFOs, and the way they are written.
pub(super) struct FifoReplies {
    context: Arc<Context>,
    dispatcher: Arc<Dispatcher>,
    dir: RwLock<ReplyDir>,
    write_timeout: Duration,
    policy: Arc<dyn FifoPolicy>,
}

impl FifoReplies {
    pub(super) fn new(
        context: &Arc<Context>,
        dispatcher: &Arc<Dispatcher>,
        dir: ReplyDir,
        (write_timeout, policy): (Duration, Arc<dyn FifoPolicy>),
    ) -> Self {
        FifoReplies {
            context: context.clone(),
            dispatcher: dispatcher.clone(),
            dir: RwLock::new(dir),
            write_timeout,
            policy,
        }
    }

    /// Opens the reply FIFO of a request. If this process dies afterwards, the parent knows that the client may have
    /// seen the end of its reply.
    pub(super) fn open_of(&self, slot: Option<&Slot>, name: &[u8]) -> Opened {
        if let Some(slot) = slot {
            slot.begin_open();
        }
        let opened = self.open_reply(name);
        match (slot, &opened) {
            (Some(slot), Opened::Ready(fifo)) => slot.note_opened(fifo.identity()),
            (Some(slot), Opened::NoReader | Opened::NoDescriptor) => slot.note_unopened(),
            _ => {}
        }
        opened
    }
}

impl ReplySide for FifoReplies {
    fn open_reply(&self, name: &[u8]) -> Opened {
        let dir = self.dir.read().unwrap_or_else(PoisonError::into_inner);
        match dir.open_reply(name) {
            Opened::Refused(Refusal::Missing) if dir.is_gone() => {
                drop(dir);
                let mut dir = self.dir.write().unwrap_or_else(PoisonError::into_inner);
                match dir.reopen() {
                    Ok(()) => dir.open_reply(name),
                    Err(_) => Opened::Refused(Refusal::Missing),
                }
            }
            opened => opened,
        }
    }

    fn write(&self, fifo: ReplyFifo, bytes: &mut Vec<u8>) {
        let dispatcher = &self.dispatcher;
        match fifo.write(bytes) {
            Ok(sent) if sent == bytes.len() => {}
            Ok(sent) => {
                let Some(waiting) = dispatcher.reserve_unsent(bytes.len()) else { return };
                let deadline = clock::deadline(self.write_timeout);
                let (dispatcher, bytes) = (dispatcher.clone(), std::mem::take(bytes));
                self.context.deferred_writer.take(PendingWrite::Write {
                    fifo,
                    bytes,
                    sent,
                    deadline,
                    dispatcher,
                    waiting,
                });
            }
            Err(error) => {
                dispatcher.counters.dropped.add(1);
                log::debug!("a reply was not delivered: {error}");
            }
        }
    }

    fn note_dropped(&self) {
        self.dispatcher.counters.dropped.add(1);
    }

    fn is_stopping(&self) -> bool {
        self.context.is_stopping()
    }

    fn die(&self) {
        self.context.die();
    }
}

/// The way back through a reply FIFO; it leads nowhere if the client named none.
pub(super) struct FifoRoute {
    pub(super) replies: Arc<FifoReplies>,
    pub(super) fifo: Option<ReplyFifo>,
    /// The slot that keeps the request until it is answered.
    pub(super) slot: Option<Slot>,
}

impl FifoRoute {
    /// Writes the reply. Dropping the FIFO ends it.
    fn send(self, bytes: &mut Vec<u8>) {
        let Some(fifo) = self.fifo else { return };
        if let Some(slot) = &self.slot {
            slot.begin_answer();
        }
        self.replies.policy.send(&*self.replies, fifo, bytes);
    }
}

impl ReplySink for FifoRoute {
    fn deliver(self: Box<Self>, mut bytes: Vec<u8>) {
        self.send(&mut bytes);
    }

    fn reply(self: Box<Self>, out: &mut Vec<u8>) {
        self.send(out);
    }

    fn window(&self) -> usize {
        self.replies.policy.window()
    }

    fn stream(self: Box<Self>, first: Vec<u8>, stream: Box<dyn StreamedReply>) {
        let FifoRoute { replies, fifo, slot } = *self;
        if let Some(slot) = slot {
            // From now on, the end of the process ends the reply.
            slot.begin_answer();
        }
        let pool = replies.context.resources.aside.clone();
        let task = FifoStream {
            replies,
            fifo: fifo.map(Arc::new),
            stream,
            bytes: first,
            sent: 0,
            is_last: false,
            has_waited: Arc::default(),
            waiting: None,
        };
        Driver::new(pool, Box::new(task)).begin();
    }

    /// Writes a provisional reply, if the pipe has room for all of it.
    fn provisional(&mut self, bytes: &[u8]) -> bool {
        if let Some(slot) = &self.slot {
            slot.begin_answer();
        }
        match &self.fifo {
            Some(fifo) if bytes.len() <= libc::PIPE_BUF => fifo.write(bytes).is_ok_and(|sent| sent == bytes.len()),
            _ => false,
        }
    }
}

/// A streamed reply. If there is no FIFO, the nodes are produced and dropped.
struct FifoStream {
    replies: Arc<FifoReplies>,
    fifo: Option<Arc<ReplyFifo>>,
    stream: Box<dyn StreamedReply>,
    bytes: Vec<u8>,
    sent: usize,
    is_last: bool,
    /// True if the reader took nothing until its timeout.
    has_waited: Arc<AtomicBool>,
    /// The memory reserved for bytes that the reader has not taken.
    waiting: Option<Reservation>,
}

impl Task for FifoStream {
    fn go(&mut self, waker: &Waker) -> bool {
        loop {
            if self.has_waited.load(Ordering::Relaxed) {
                self.replies.dispatcher.note_stalled(Some(self.stream.command()));
                return true;
            }
            match self.write() {
                Ok(true) if self.is_last => {
                    self.stream.note_sent();
                    return true;
                }
                Ok(true) => self.waiting = None,
                Ok(false) => {
                    if self.waiting.is_none() {
                        self.waiting = self.replies.dispatcher.reserve_unsent(self.bytes.len());
                    }
                    if self.waiting.is_none() {
                        return true;
                    }
                    self.await_room(waker);
                    return false;
                }
                Err(error) => {
                    self.replies.dispatcher.counters.dropped.add(1);
                    log::debug!("the reader of a reply FIFO left: {error}");
                    return true;
                }
            }
            match self.stream.advance(waker) {
                Advance::Wait => return false,
                Advance::Part(bytes) => (self.bytes, self.sent) = (bytes, 0),
                Advance::Last(bytes) | Advance::Whole(bytes) => {
                    (self.bytes, self.sent, self.is_last) = (bytes, 0, true);
                }
                Advance::Answer(_) | Advance::Short => return true,
            }
        }
    }
}

impl FifoStream {
    /// Writes the available bytes; false if the pipe is full.
    fn write(&mut self) -> io::Result<bool> {
        let Some(fifo) = &self.fifo else { return Ok(true) };
        while self.sent < self.bytes.len() {
            match fifo.write(&self.bytes[self.sent..])? {
                0 => return Ok(false),
                more => self.sent += more,
            }
        }
        Ok(true)
    }

    fn await_room(&self, waker: &Waker) {
        let Some(fifo) = &self.fifo else { return };
        let (waker, has_waited) = (waker.clone(), self.has_waited.clone());
        self.replies.context.deferred_writer.take(PendingWrite::Room {
            fifo: fifo.clone(),
            deadline: clock::deadline(self.replies.write_timeout),
            then: Box::new(move |has_room| {
                has_waited.store(!has_room, Ordering::Relaxed);
                waker.wake();
            }),
        });
    }
}
