//! Queues of replies for clients that do not read: one for each client, in order and bounded.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::recipient::Recipient;
use crate::server::dispatch::byte_budget::Reservation;
use crate::server::multiprocess::in_flight::Slot;
use crate::sys::peer_address::PeerAddress;

/// The most bytes that may wait for one client: eight of the largest replies.
const PEER_LIMIT: usize = 512 << 10;
/// The approximate memory of a waiting reply in addition to its bytes.
const OVERHEAD: usize = 256;
/// The first interval between two attempts. No event tells when a client has room, so sending is retried, and less
/// often the longer the client reads nothing.
const RETRY: Duration = Duration::from_micros(250);
const RETRY_LATE: Duration = Duration::from_millis(25);
/// The number of clients that are tried before other threads may use the queues.
const CLIENTS_AT_ONCE: usize = 32;
/// The interval between attempts is the time since the client last read something, divided by this number.
const BACK_OFF: u32 = 8;

/// A reply that could not be sent yet.
pub(crate) struct WaitingReply {
    pub(crate) bytes: Box<[u8]>,
    pub(crate) to: Recipient,
    /// The slot that keeps the request until it is answered.
    pub(crate) slot: Option<Slot>,
    pub(crate) _reservation: Reservation,
}

impl WaitingReply {
    /// The memory that a waiting reply takes.
    pub(crate) fn cost_of(bytes: &[u8]) -> usize {
        bytes.len() + OVERHEAD
    }
}

/// The outcome of an attempt to send a reply.
pub(crate) enum Sent {
    /// It was sent, or it was dropped and counted.
    Done,
    /// Its client has no room for it yet.
    Full,
}

/// The reason why a reply cannot be queued, with the number of bytes that wait already.
pub(crate) enum Full {
    /// The limit of its client.
    Client(usize),
    /// The limit of all clients of its user.
    User(usize),
}

/// The queues of a listener.
pub(crate) struct ReplyQueues {
    /// The most bytes that may wait for all clients.
    limit: usize,
    queues: Mutex<Queues>,
    /// The number of clients with a queue.
    clients: AtomicUsize,
}

#[derive(Default)]
struct Queues {
    by_client: HashMap<Box<[u8]>, Queue>,
    /// The number of waiting bytes, for all clients and for those of each user.
    size: usize,
    by_user: HashMap<Option<u32>, usize>,
    /// True while the queues are being served.
    are_served: bool,
}

struct Queue {
    replies: VecDeque<WaitingReply>,
    size: usize,
    /// The last time at which the client had room.
    moved: Instant,
    due: Instant,
}

impl ReplyQueues {
    pub(crate) fn new(limit: usize) -> Self {
        ReplyQueues { limit, queues: Mutex::default(), clients: AtomicUsize::new(0) }
    }

    /// Returns true if replies wait for any client.
    pub(crate) fn are_in_use(&self) -> bool {
        self.clients.load(Ordering::Relaxed) > 0
    }

    /// Returns true if replies wait for a client.
    pub(crate) fn has_waiting(&self, peer: &PeerAddress) -> bool {
        self.are_in_use() && self.lock().by_client.contains_key(peer.as_bytes())
    }

    /// Queues a reply; true if the caller has to have the queues served.
    pub(crate) fn push(&self, reply: WaitingReply, now: Instant) -> Result<bool, Full> {
        let mut queues = self.lock();
        let cost = WaitingReply::cost_of(&reply.bytes);
        let theirs = queues.by_user.get(&reply.to.user).copied().unwrap_or_default();
        // A user may use no more memory than is left for other users.
        if theirs + cost > self.limit.saturating_sub(queues.size + cost) {
            return Err(Full::User(theirs));
        }
        let new = || Queue { replies: VecDeque::new(), size: 0, moved: now, due: now + RETRY };
        let queue = queues.by_client.entry(reply.to.peer.as_bytes().into()).or_insert_with(new);
        if queue.size + cost > PEER_LIMIT {
            return Err(Full::Client(queue.size));
        }
        queue.size += cost;
        let user = reply.to.user;
        queue.replies.push_back(reply);
        queues.size += cost;
        *queues.by_user.entry(user).or_default() += cost;
        self.clients.store(queues.by_client.len(), Ordering::Relaxed);
        Ok(!std::mem::replace(&mut queues.are_served, true))
    }

    /// Sends the replies for which clients have room, and drops those of clients that have read nothing for longer than
    /// the timeout. Returns the time at which to serve the queues again; `None` if they are empty.
    pub(crate) fn serve(
        &self,
        now: Instant,
        timeout: Duration,
        send: impl Fn(&WaitingReply) -> Sent,
        note_stalled: impl Fn(usize),
    ) -> Option<Instant> {
        let mut queues = self.lock();
        let Queues { by_client, size, by_user, are_served } = &mut *queues;
        let mut forget = |reply: &WaitingReply| {
            let cost = WaitingReply::cost_of(&reply.bytes);
            *size -= cost;
            if let Entry::Occupied(mut theirs) = by_user.entry(reply.to.user) {
                *theirs.get_mut() -= cost;
                if *theirs.get() == 0 {
                    theirs.remove();
                }
            }
        };
        let mut tried = 0;
        by_client.retain(|_, queue| {
            if queue.due > now || tried >= CLIENTS_AT_ONCE {
                return true;
            }
            tried += 1;
            queue.send(now, &send, &mut forget);
            let is_stalled = !queue.replies.is_empty() && now.saturating_duration_since(queue.moved) >= timeout;
            if is_stalled {
                note_stalled(queue.replies.len());
                queue.replies.iter().for_each(&mut forget);
            }
            !queue.replies.is_empty() && !is_stalled
        });
        self.clients.store(by_client.len(), Ordering::Relaxed);
        let next = by_client.values().map(|queue| queue.due).min();
        *are_served = next.is_some();
        next
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Sends the replies for which the client has room, and sets the time of the next attempt.
    fn send(&mut self, now: Instant, send: impl Fn(&WaitingReply) -> Sent, mut forget: impl FnMut(&WaitingReply)) {
        while let Some(reply) = self.replies.front() {
            if matches!(send(reply), Sent::Full) {
                break;
            }
            forget(reply);
            self.size -= WaitingReply::cost_of(&reply.bytes);
            self.moved = now;
            self.replies.pop_front();
        }
        let quiet = now.saturating_duration_since(self.moved);
        self.due = now + (quiet / BACK_OFF).clamp(RETRY, RETRY_LATE);
    }
}
