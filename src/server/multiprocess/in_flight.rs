//! What the workers of a server have in hand, kept where the process that looks after them sees it when one dies.
//!
//! A datagram is received into this memory and answered from it, so the kernel keeps the account (`Envelope`). Of a
//! FIFO's request the name of its reply FIFO and its bytes are put here before the bytes are taken off the stream.

use std::mem::offset_of;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::codec::fifo_frame::Frame;
use crate::shared::Region;
use crate::transport::datagram::{RawPeer, Received, Socket};
use crate::transport::envelope::Envelope;
use crate::transport::fifo::ReplyIdentity;

/// More requests than this a worker has not in hand; those beyond it are served all the same.
const PLACES: usize = 1024;
const FIRST: usize = 4096;
/// A place begins at a page.
const STRIDE: usize = size_of::<Place>().next_multiple_of(4096);
/// The longest name of a reply FIFO.
const LONGEST_NAME: usize = 255;

// What is in a place.
const NOTHING: u32 = 0;
const DATAGRAM: u32 = 1;
const TEXT: u32 = 2;
const JSON: u32 = 3;
/// The client may have seen its reply end, or a part of it: only this process may write there.
const ANSWERED: u32 = 4;
/// A JSON request whose client may have seen its reply end without a byte. After that, JSON clients go on waiting,
/// since the replies of asynchronous commands come so (`mi_fifo` of 3.x and 4.x).
const OPENED_JSON: u32 = 5;

#[repr(C)]
struct Place {
    content: AtomicU32,
    /// Which endpoint it came through.
    endpoint: u32,
    /// How far the stream of a FIFO had been read when this was taken off it.
    upto: AtomicU64,
    name_len: usize,
    name: [u8; LONGEST_NAME],
    /// Which FIFO was opened for the reply of an `OPENED_JSON`; `UNKNOWN` until it is.
    opened: ReplyIdentity,
    /// How many bytes the method or the JSON text has.
    size: usize,
    envelope: Envelope,
}

/// Is no FIFO's: no device has such a number.
const UNKNOWN: ReplyIdentity = ReplyIdentity { file: (u64::MAX, u64::MAX), born: 0 };

/// A request to a FIFO, kept beside where a datagram's bytes would be.
const ROOM: usize = 65_536;

/// The places of all workers.
pub(crate) struct Hands {
    region: Region,
}

/// The places of one worker, as it takes them.
pub(crate) struct OwnHands {
    all: Arc<Hands>,
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
pub(crate) struct Hand {
    owner: Arc<OwnHands>,
    number: usize,
    place: NonNull<Place>,
    /// What the place holds before anything is answered.
    content: u32,
}

// SAFETY: a place is used by whoever has its hand, and by nobody else in this process.
unsafe impl Send for Hand {}
// SAFETY: what is changed through a shared reference is atomic.
unsafe impl Sync for Hand {}

/// A request that a dead worker had in hand.
pub(crate) enum Orphan<'a> {
    Datagram {
        bytes: &'a [u8],
        peer: RawPeer,
    },
    /// `opened`: the reply FIFO, whose reader may have seen an end of file.
    Fifo {
        reply: &'a [u8],
        json: bool,
        bytes: &'a [u8],
        opened: Option<ReplyIdentity>,
    },
}

impl Hands {
    /// Places for so many workers, whose ranks count from 1. Shared with processes that are forked afterwards.
    pub(crate) fn new(workers: usize) -> std::io::Result<Arc<Self>> {
        let region = Region::new(FIRST + workers * PLACES * STRIDE);
        // SAFETY: nothing points into it yet.
        unsafe { region.share(0)? };
        Ok(Arc::new(Hands { region }))
    }

    fn place(&self, rank: usize, number: usize) -> NonNull<Place> {
        self.region.at(FIRST + ((rank - 1) * PLACES + number) * STRIDE)
    }

    /// How many places of a worker were ever taken. Looking at others would make the kernel find memory for them.
    fn used(&self, rank: usize) -> &AtomicU32 {
        // SAFETY: the region lives as long as `self`, and has room for it before the first place.
        unsafe { self.region.at::<AtomicU32>(rank * size_of::<AtomicU32>()).as_ref() }
    }

    /// In a worker: its own.
    pub(crate) fn of(self: &Arc<Self>, rank: usize) -> Arc<OwnHands> {
        Arc::new(OwnHands { all: self.clone(), rank, free: Mutex::default() })
    }

    /// What a worker that has ended had in hand, by endpoint; its places are free then. `stream` gets how far it had
    /// taken requests off a FIFO's stream.
    pub(crate) fn bury(
        &self,
        rank: usize,
        mut stream: impl FnMut(usize, u64),
        mut answer: impl FnMut(usize, Orphan<'_>),
    ) {
        for number in 0..PLACES.min(self.used(rank).load(Ordering::Acquire) as usize) {
            let place = self.place(rank, number);
            // SAFETY: whoever used it has ended; any bytes are a place.
            let (content, endpoint) = unsafe { (&(*place.as_ptr()).content, (*place.as_ptr()).endpoint as usize) };
            let taken = content.load(Ordering::Acquire);
            // SAFETY: as above.
            unsafe {
                match taken {
                    DATAGRAM => {
                        if let Some((bytes, peer)) = Envelope::unanswered(envelope_of(place)) {
                            answer(endpoint, Orphan::Datagram { bytes, peer });
                        }
                    }
                    TEXT | JSON | ANSWERED | OPENED_JSON => {
                        let at = &*place.as_ptr();
                        stream(endpoint, at.upto.load(Ordering::Acquire));
                        let reply = &at.name[..at.name_len.min(LONGEST_NAME)];
                        let opened = (taken == OPENED_JSON).then_some(at.opened);
                        if taken != ANSWERED && !reply.is_empty() {
                            let bytes = std::slice::from_raw_parts(fifo_bytes(place), at.size.min(ROOM));
                            answer(endpoint, Orphan::Fifo { reply, json: taken != TEXT, bytes, opened });
                        }
                    }
                    _ => {}
                }
            }
            content.store(NOTHING, Ordering::Release);
        }
    }
}

fn envelope_of(place: NonNull<Place>) -> NonNull<Envelope> {
    // SAFETY: the envelope is a part of the place.
    unsafe { place.byte_add(offset_of!(Place, envelope)) }.cast()
}

fn fifo_bytes(place: NonNull<Place>) -> *mut u8 {
    envelope_of(place).as_ptr().cast()
}

impl OwnHands {
    /// A free place; none when all are taken.
    fn take(self: &Arc<Self>) -> Option<Hand> {
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
        Some(Hand { owner: self.clone(), number, place: self.all.place(self.rank, number), content: DATAGRAM })
    }

    /// A place to receive a datagram in.
    pub(crate) fn for_datagram(self: &Arc<Self>, endpoint: usize) -> Option<Hand> {
        let hand = self.take()?;
        // SAFETY: the place is this hand's alone.
        unsafe { (*hand.place.as_ptr()).endpoint = endpoint as u32 };
        Some(hand)
    }

    /// Puts a FIFO's request down, before the stream is said to be read up to a place.
    pub(crate) fn with_frame(self: &Arc<Self>, endpoint: usize, frame: &Frame, upto: u64) -> Option<Hand> {
        let (content, reply, bytes) = match frame {
            Frame::Text { method, reply, .. } => (TEXT, reply, method),
            Frame::Json { reply, body } => (JSON, reply, body),
            Frame::Malformed { reply, method, json, .. } => (if *json { JSON } else { TEXT }, reply, method),
        };
        let mut hand = self.take()?;
        hand.content = content;
        let place = hand.place.as_ptr();
        // What is too long is answered without its id.
        let bytes = if bytes.len() <= ROOM { &bytes[..] } else { &[] };
        let reply = if reply.len() <= LONGEST_NAME { &reply[..] } else { &[] };
        // SAFETY: the place is this hand's alone, and has room for as much.
        unsafe {
            (*place).endpoint = endpoint as u32;
            (*place).name_len = reply.len();
            (&raw mut (*place).name).cast::<u8>().copy_from_nonoverlapping(reply.as_ptr(), reply.len());
            (*place).size = bytes.len();
            fifo_bytes(hand.place).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            (*place).upto.store(upto, Ordering::Relaxed);
        }
        hand.content().store(content, Ordering::Release);
        Some(hand)
    }
}

impl Hand {
    fn content(&self) -> &AtomicU32 {
        // SAFETY: the region lives as long as the owner, and the content is atomic.
        unsafe { &(*self.place.as_ptr()).content }
    }

    /// Waits for a datagram, as [`Socket::receive_with`] does.
    pub(crate) fn receive(&self, socket: &Socket, flags: libc::c_int) -> std::io::Result<Received> {
        // SAFETY: the place is this hand's alone, and its owner receives before it hands it on.
        unsafe { Envelope::receive(self.envelope(), socket, flags) }
    }

    /// What was received.
    ///
    /// # Safety
    /// A datagram was received, and no other is, nor is the place given back, as long as the bytes are used.
    pub(crate) unsafe fn datagram<'a>(&self) -> &'a [u8] {
        // SAFETY: it was received, as the caller says, and the region stays as long as the server serves.
        unsafe { Envelope::bytes(envelope_of(self.place)) }
    }

    /// Sends the answer to a datagram.
    pub(crate) fn answer(&self, from: BorrowedFd<'_>, bytes: &[u8]) -> std::io::Result<()> {
        // SAFETY: it holds a datagram, and whoever has the hand is the only one to answer.
        unsafe { Envelope::answer(envelope_of(self.place), from, bytes) }
    }

    fn envelope(&self) -> NonNull<Envelope> {
        if self.content().load(Ordering::Relaxed) != DATAGRAM {
            // SAFETY: the place is this hand's alone.
            unsafe { Envelope::clear(envelope_of(self.place)) };
            self.content().store(DATAGRAM, Ordering::Release);
        }
        envelope_of(self.place)
    }

    /// The client's FIFO is about to be opened. Closing it, as the end of this process does, ends the reply, and then
    /// the client may use the name for another request, whose reply must not be taken for this one's.
    pub(crate) fn begin_open(&self) {
        // SAFETY: the place is this hand's alone.
        unsafe { (&raw mut (*self.place.as_ptr()).opened).write(UNKNOWN) };
        let content = if self.content == JSON { OPENED_JSON } else { ANSWERED };
        self.content().store(content, Ordering::Release);
    }

    /// The client's FIFO was opened.
    pub(crate) fn note_opened(&self, identity: ReplyIdentity) {
        // SAFETY: the place is this hand's alone, and looked at by another process only after this one's end.
        unsafe { (&raw mut (*self.place.as_ptr()).opened).write(identity) };
    }

    /// The client's FIFO has no reader, so nothing was opened.
    pub(crate) fn note_unopened(&self) {
        self.content().store(self.content, Ordering::Release);
    }

    /// The answer is about to be written into the client's FIFO: nobody else may write there any more.
    pub(crate) fn begin_answer(&self) {
        self.content().store(ANSWERED, Ordering::Release);
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.content().store(NOTHING, Ordering::Release);
        self.owner.free.lock().unwrap_or_else(PoisonError::into_inner).given_back.push(self.number);
    }
}
