//! Replies that wait for clients which do not read: a queue for each client, in order and bounded.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::server::dispatch::byte_budget::Reservation;
use crate::server::multiprocess::in_flight::Slot;
use crate::sys::peer_address::PeerAddress;

/// Bytes that may wait for one client: eight of the largest replies.
const PEER_LIMIT: usize = 512 << 10;
/// What a waiting reply takes beside its bytes, about.
const OVERHEAD: usize = 256;
/// Nothing tells when a client has room, so it is tried again: first so soon, and less often the longer it reads
/// nothing.
const RETRY: Duration = Duration::from_micros(250);
const RETRY_LATE: Duration = Duration::from_millis(25);
/// A client is tried again after this part of the time since it read something.
const BACK_OFF: u32 = 8;

/// A reply that could not be sent yet.
pub(crate) struct WaitingReply {
    pub(crate) bytes: Box<[u8]>,
    pub(crate) peer: PeerAddress,
    /// The request as it is kept until it is answered.
    pub(crate) slot: Option<Slot>,
    pub(crate) _reservation: Reservation,
}

impl WaitingReply {
    /// What it takes to keep a reply.
    pub(crate) fn cost_of(bytes: &[u8]) -> usize {
        bytes.len() + OVERHEAD
    }
}

/// The outcome of an attempt to send a reply.
pub(crate) enum Sent {
    /// It was sent, or it never will be, which is counted.
    Done,
    /// Its client has no room for it yet.
    Full,
}

/// The queues of a listener.
#[derive(Default)]
pub(crate) struct ReplyQueues {
    queues: Mutex<Queues>,
    /// How many clients have one.
    clients: AtomicUsize,
}

#[derive(Default)]
struct Queues {
    by_client: HashMap<Box<[u8]>, Queue>,
    /// Whether the queues are served now and then until they are empty.
    are_served: bool,
}

struct Queue {
    replies: VecDeque<WaitingReply>,
    size: usize,
    /// When the client had room last.
    moved: Instant,
    due: Instant,
}

impl ReplyQueues {
    /// Whether replies wait for a client.
    pub(crate) fn has_waiting(&self, peer: &PeerAddress) -> bool {
        self.clients.load(Ordering::Relaxed) > 0 && self.lock().by_client.contains_key(peer.as_bytes())
    }

    /// Has a reply wait; true when the queues must be served from now on. The error is how many bytes wait already for
    /// a client for which too many do.
    pub(crate) fn push(&self, reply: WaitingReply, now: Instant) -> Result<bool, usize> {
        let mut queues = self.lock();
        let new = || Queue { replies: VecDeque::new(), size: 0, moved: now, due: now + RETRY };
        let queue = queues.by_client.entry(reply.peer.as_bytes().into()).or_insert_with(new);
        let size = queue.size + WaitingReply::cost_of(&reply.bytes);
        if size > PEER_LIMIT {
            return Err(queue.size);
        }
        queue.size = size;
        queue.replies.push_back(reply);
        self.clients.store(queues.by_client.len(), Ordering::Relaxed);
        Ok(!std::mem::replace(&mut queues.are_served, true))
    }

    /// Sends what clients have room for, and drops what waits for a client that has read nothing for as long as it
    /// may. Says when to serve the queues again; nothing when they are empty.
    pub(crate) fn serve(
        &self,
        now: Instant,
        timeout: Duration,
        send: impl Fn(&WaitingReply) -> Sent,
        note_stalled: impl Fn(usize),
    ) -> Option<Instant> {
        let mut queues = self.lock();
        queues.by_client.retain(|_, queue| {
            if queue.due > now {
                return true;
            }
            while let Some(reply) = queue.replies.front() {
                if matches!(send(reply), Sent::Full) {
                    break;
                }
                queue.size -= WaitingReply::cost_of(&reply.bytes);
                queue.moved = now;
                queue.replies.pop_front();
            }
            let quiet = now.saturating_duration_since(queue.moved);
            queue.due = now + (quiet / BACK_OFF).clamp(RETRY, RETRY_LATE);
            let is_stalled = !queue.replies.is_empty() && quiet >= timeout;
            if is_stalled {
                note_stalled(queue.replies.len());
            }
            !queue.replies.is_empty() && !is_stalled
        });
        self.clients.store(queues.by_client.len(), Ordering::Relaxed);
        let next = queues.by_client.values().map(|queue| queue.due).min();
        queues.are_served = next.is_some();
        next
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
