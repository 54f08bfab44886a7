//! The in-flight requests of a server's workers, kept where the supervising process sees them when a worker dies.
//!
//! A datagram is received into this memory and answered from it, so the kernel keeps the account (`Envelope`). Of a
//! FIFO's request the name of its reply FIFO and its bytes are put here before the bytes are taken off the stream.

use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use zerocopy::FromZeros;

use crate::codec::fifo_frame::Frame;
use crate::command::processes::MOST_PROCESSES;
use crate::sys::envelope::{Envelope, ROOM};
use crate::sys::peer_address::PeerAddress;
use crate::sys::shared_memory::SharedTable;
use crate::transport::datagram::{Received, Socket};
use crate::transport::fifo::ReplyIdentity;

/// More requests than this a worker has not in hand; those beyond it are served all the same.
const PLACES: usize = 1024;
/// The longest name of a reply FIFO.
const LONGEST_NAME: usize = 255;

// The content of a place.
const NOTHING: u32 = 0;
const DATAGRAM: u32 = 1;
const TEXT: u32 = 2;
const JSON: u32 = 3;
/// The client may have seen its reply end, or a part of it: only this process may write there.
const ANSWERED: u32 = 4;
/// A JSON request whose client may have seen its reply end without a byte. After that, JSON clients go on waiting,
/// since the replies of asynchronous commands come so (`mi_fifo` of 3.x and 4.x).
const OPENED_JSON: u32 = 5;

#[derive(FromZeros)]
#[repr(C, align(4096))]
struct SlotMemory {
    content: AtomicU32,
    /// Which endpoint it came through.
    endpoint: AtomicU32,
    /// How far the stream of a FIFO had been read when this was taken off it.
    upto: AtomicU64,
    /// Which FIFO was opened for the reply of an `OPENED_JSON`; `UNKNOWN` until it is.
    opened: [AtomicU64; 3],
    request: UnsafeCell<KeptRequest>,
}

/// A request as its worker keeps it. Other processes read it when the worker has ended.
#[derive(FromZeros)]
#[repr(C)]
struct KeptRequest {
    name_len: usize,
    name: [u8; LONGEST_NAME],
    /// How many bytes the method or the JSON text has. They are kept where a datagram's would be.
    size: usize,
    envelope: Envelope,
}

// SAFETY: all but the request is atomic. In a worker the request is used by the owner of its `Hand` alone, which is
// not `Sync`; in the process that recovers it, by the thread that does.
unsafe impl Sync for SlotMemory {}

impl SlotMemory {
    fn note_opened(&self, identity: ReplyIdentity) {
        let words = [identity.file.0, identity.file.1, identity.born.cast_unsigned()];
        for (word, place) in words.into_iter().zip(&self.opened) {
            place.store(word, Ordering::Relaxed);
        }
    }

    fn opened(&self) -> ReplyIdentity {
        let [device, inode, born] = [0, 1, 2].map(|number: usize| self.opened[number].load(Ordering::Relaxed));
        ReplyIdentity { file: (device, inode), born: born.cast_signed() }
    }

    fn endpoint(&self) -> usize {
        self.endpoint.load(Ordering::Relaxed) as usize
    }
}

/// Is no FIFO's: no device has such a number.
const UNKNOWN: ReplyIdentity = ReplyIdentity { file: (u64::MAX, u64::MAX), born: 0 };

/// The places of all workers.
pub(crate) struct InFlightTable {
    /// At the head, how many places of each worker were ever taken. Looking at others would make the kernel find
    /// memory for them.
    table: SharedTable<[AtomicU32; MOST_PROCESSES], SlotMemory>,
}

/// The places of one worker, as it takes them.
pub(crate) struct WorkerSlots {
    all: Arc<InFlightTable>,
    rank: usize,
    free: Mutex<Free>,
}

#[derive(Default)]
struct Free {
    given_back: Vec<usize>,
    /// Those from here on were never taken.
    fresh: usize,
}

/// One request in hand, until this is dropped.
pub(crate) struct Slot {
    owner: Arc<WorkerSlots>,
    number: usize,
    /// The content of the place before anything is answered.
    content: u32,
    /// One thread at a time uses its request.
    not_sync: PhantomData<Cell<()>>,
}

/// A request that a dead worker had in hand.
pub(crate) enum AbandonedRequest<'a> {
    Datagram {
        bytes: &'a [u8],
        peer: PeerAddress,
    },
    /// `opened`: the reply FIFO, whose reader may have seen an end of file.
    Fifo {
        reply: &'a [u8],
        json: bool,
        bytes: &'a [u8],
        opened: Option<ReplyIdentity>,
    },
}

impl InFlightTable {
    /// Places for `workers` workers, whose ranks count from 1. Shared with processes that are forked afterwards.
    pub(crate) fn new(workers: usize) -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(InFlightTable { table: SharedTable::new_shared(workers * PLACES)? }))
    }

    fn place(&self, rank: usize, number: usize) -> &SlotMemory {
        &self.table.items()[(rank - 1) * PLACES + number]
    }

    fn used(&self, rank: usize) -> &AtomicU32 {
        &self.table.head()[rank]
    }

    /// In a worker: its own.
    pub(crate) fn of(self: &Arc<Self>, rank: usize) -> Arc<WorkerSlots> {
        Arc::new(WorkerSlots { all: self.clone(), rank, free: Mutex::default() })
    }

    /// Takes the in-flight requests of a dead worker, by endpoint, and frees its places. `stream` gets how far it had
    /// taken requests off a FIFO's stream.
    pub(crate) fn recover(
        &self,
        rank: usize,
        mut stream: impl FnMut(usize, u64),
        mut answer: impl FnMut(usize, AbandonedRequest<'_>),
    ) {
        for number in 0..PLACES.min(self.used(rank).load(Ordering::Acquire) as usize) {
            let place = self.place(rank, number);
            let (taken, endpoint) = (place.content.load(Ordering::Acquire), place.endpoint());
            // SAFETY: the worker that used it has ended, and one thread recovers its requests.
            let request = unsafe { &mut *place.request.get() };
            match taken {
                DATAGRAM => {
                    if let Some((bytes, peer)) = request.envelope.unanswered() {
                        answer(endpoint, AbandonedRequest::Datagram { bytes, peer });
                    }
                }
                TEXT | JSON | ANSWERED | OPENED_JSON => {
                    stream(endpoint, place.upto.load(Ordering::Acquire));
                    let reply = &request.name[..request.name_len.min(LONGEST_NAME)];
                    let opened = (taken == OPENED_JSON).then(|| place.opened());
                    if taken != ANSWERED && !reply.is_empty() {
                        let bytes = &request.envelope.room()[..request.size.min(ROOM)];
                        answer(endpoint, AbandonedRequest::Fifo { reply, json: taken != TEXT, bytes, opened });
                    }
                }
                _ => {}
            }
            place.content.store(NOTHING, Ordering::Release);
        }
    }
}

impl WorkerSlots {
    /// A free place; none when all are taken.
    fn take(self: &Arc<Self>) -> Option<Slot> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let number = match free.given_back.pop() {
            Some(number) => number,
            None if free.fresh < PLACES => {
                free.fresh += 1;
                self.all.used(self.rank).fetch_max(free.fresh as u32, Ordering::Release);
                free.fresh - 1
            }
            None => return None,
        };
        Some(Slot { owner: self.clone(), number, content: DATAGRAM, not_sync: PhantomData })
    }

    /// A place to receive a datagram in.
    pub(crate) fn for_datagram(self: &Arc<Self>, endpoint: usize) -> Option<Slot> {
        let slot = self.take()?;
        slot.place().endpoint.store(endpoint as u32, Ordering::Relaxed);
        Some(slot)
    }

    /// Puts a FIFO's request down, before the stream is said to be read up to a place.
    pub(crate) fn with_frame(self: &Arc<Self>, endpoint: usize, frame: &Frame, upto: u64) -> Option<Slot> {
        let (content, reply, bytes) = match frame {
            Frame::Text { method, reply, .. } => (TEXT, reply, method),
            Frame::Json { reply, body } => (JSON, reply, body),
            Frame::Malformed { reply, method, json, .. } => (if *json { JSON } else { TEXT }, reply, method),
        };
        let mut slot = self.take()?;
        slot.content = content;
        // A request that is too long is answered without its id.
        let bytes = if bytes.len() <= ROOM { &bytes[..] } else { &[] };
        let reply = if reply.len() <= LONGEST_NAME { &reply[..] } else { &[] };
        let request = slot.request_mut();
        request.name_len = reply.len();
        request.name[..reply.len()].copy_from_slice(reply);
        request.size = bytes.len();
        request.envelope.room()[..bytes.len()].copy_from_slice(bytes);
        let place = slot.place();
        place.endpoint.store(endpoint as u32, Ordering::Relaxed);
        place.upto.store(upto, Ordering::Relaxed);
        slot.content().store(content, Ordering::Release);
        Some(slot)
    }
}

impl Slot {
    fn place(&self) -> &SlotMemory {
        self.owner.all.place(self.owner.rank, self.number)
    }

    fn content(&self) -> &AtomicU32 {
        &self.place().content
    }

    fn request(&self) -> &KeptRequest {
        // SAFETY: the place is this slot's alone, and no other thread has the hand.
        unsafe { &*self.place().request.get() }
    }

    fn request_mut(&mut self) -> &mut KeptRequest {
        // SAFETY: as above, and the hand is borrowed mutably for as long.
        unsafe { &mut *self.place().request.get() }
    }

    /// Waits for a datagram, as [`Socket::receive_with`] does.
    pub(crate) fn receive(&mut self, socket: &Socket, flags: libc::c_int) -> std::io::Result<Received> {
        if self.content().load(Ordering::Relaxed) != DATAGRAM {
            self.request_mut().envelope.clear();
            self.content().store(DATAGRAM, Ordering::Release);
        }
        let delivery = self.request_mut().envelope.receive(socket, flags)?;
        let user = delivery.credentials.map(|sender| sender.uid);
        Ok(Received { size: delivery.size, peer: delivery.peer, user })
    }

    /// The kept part of the datagram that was received.
    pub(crate) fn datagram(&self) -> &[u8] {
        self.request().envelope.datagram()
    }

    /// Sends the answer to a datagram.
    pub(crate) fn answer(&self, from: BorrowedFd<'_>, bytes: &[u8]) -> std::io::Result<()> {
        self.request().envelope.answer(from, bytes)
    }

    /// The client's FIFO is about to be opened. Closing it, as the end of this process does, ends the reply, and then
    /// the client may use the name for another request, whose reply must not be taken for this one's.
    pub(crate) fn begin_open(&self) {
        self.place().note_opened(UNKNOWN);
        let content = if self.content == JSON { OPENED_JSON } else { ANSWERED };
        self.content().store(content, Ordering::Release);
    }

    /// The client's FIFO was opened.
    pub(crate) fn note_opened(&self, identity: ReplyIdentity) {
        self.place().note_opened(identity);
    }

    /// The client's FIFO has no reader, so nothing was opened.
    pub(crate) fn note_unopened(&self) {
        self.content().store(self.content, Ordering::Release);
    }

    /// The answer is about to be written into the client's FIFO: no other process may write there any more.
    pub(crate) fn begin_answer(&self) {
        self.content().store(ANSWERED, Ordering::Release);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.content().store(NOTHING, Ordering::Release);
        self.owner.free.lock().unwrap_or_else(PoisonError::into_inner).given_back.push(self.number);
    }
}
