//! Replies that wait for clients which do not read: a queue for each client, in order and bounded.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::recipient::Recipient;
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
/// So many clients are tried at once; other threads get to the queues in between.
const CLIENTS_AT_ONCE: usize = 32;
/// A client is tried again after this part of the time since it read something.
const BACK_OFF: u32 = 8;

/// A reply that could not be sent yet.
pub(crate) struct WaitingReply {
    pub(crate) bytes: Box<[u8]>,
    pub(crate) to: Recipient,
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

/// Why another reply cannot wait: so many bytes wait already.
pub(crate) enum Full {
    /// For the client.
    Client(usize),
    /// For all clients of its user.
    User(usize),
}

/// The queues of a listener.
pub(crate) struct ReplyQueues {
    /// Bytes that may wait for all clients.
    limit: usize,
    queues: Mutex<Queues>,
    /// How many clients have one.
    clients: AtomicUsize,
}

#[derive(Default)]
struct Queues {
    by_client: HashMap<Box<[u8]>, Queue>,
    /// Bytes that wait, for all clients and for those of each user.
    size: usize,
    by_user: HashMap<Option<u32>, usize>,
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
    pub(crate) fn new(limit: usize) -> Self {
        ReplyQueues { limit, queues: Mutex::default(), clients: AtomicUsize::new(0) }
    }

    /// Whether replies wait for any client.
    pub(crate) fn are_in_use(&self) -> bool {
        self.clients.load(Ordering::Relaxed) > 0
    }

    /// Whether replies wait for a client.
    pub(crate) fn has_waiting(&self, peer: &PeerAddress) -> bool {
        self.are_in_use() && self.lock().by_client.contains_key(peer.as_bytes())
    }

    /// Has a reply wait; true when the queues must be served from now on.
    pub(crate) fn push(&self, reply: WaitingReply, now: Instant) -> Result<bool, Full> {
        let mut queues = self.lock();
        let cost = WaitingReply::cost_of(&reply.bytes);
        let theirs = queues.by_user.get(&reply.to.user).copied().unwrap_or_default();
        // A user may take no more than is left for others.
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
    /// Sends what the client has room for, and sets when it is tried again.
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
