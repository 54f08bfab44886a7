//! The event loop of a listener: its connections, new connections, and a wake-up descriptor. Each ready event is handed
//! to one thread.
//!
//! The leader of the listener waits here. Events that the kernel reports go into one queue. If a slow handler holds up
//! a leader, the next leader finds them there.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::connection::{Connection, Owner};
use crate::transport::eagerness::Habit;

/// The most events that the kernel reports at once.
const BATCH: usize = 64;
/// The number of turns from the queue after which the kernel is asked again. Otherwise a connection with many requests
/// would delay those that the kernel has not reported yet.
const TURNS_BETWEEN_LOOKS: u32 = 16;

const DOOR: u64 = 0;
const BELL: u64 = 1;
const FIRST_CONNECTION: u64 = 2;

/// An event to handle.
pub(super) enum Ready {
    /// A client wants to connect.
    Listener,
    /// A connection can be read or written, or has its reply.
    Connection(Arc<Connection>),
}

pub(super) struct Reactor {
    epoll: Epoll,
    bell: EventFd,
    ready: Mutex<VecDeque<Ready>>,
    /// The number of turns taken from the queue since the kernel was asked. A lost increment does no harm.
    turns: AtomicU32,
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    next: AtomicU64,
    /// The number of rounds of timeout checks: a clock as coarse as timeouts need it.
    round: AtomicU32,
}

impl Reactor {
    pub(super) fn new(listener: BorrowedFd<'_>) -> Result<Self, Errno> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, DOOR))?;
        epoll.add(&bell, EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
        Ok(Reactor {
            epoll,
            bell,
            ready: Mutex::default(),
            turns: AtomicU32::new(0),
            connections: Mutex::default(),
            next: AtomicU64::new(FIRST_CONNECTION),
            round: AtomicU32::new(0),
        })
    }

    /// The next event; `None` if there was none in time, or if the leader was woken for another reason.
    pub(super) fn next(&self, patience: Duration) -> Option<Ready> {
        self.take_turn().or_else(|| self.wait(patience))
    }

    /// Returns the same as [`Reactor::next`], but spins before it sleeps: after a request the next one often follows at
    /// once.
    pub(super) fn next_after_one(&self, habit: &mut Habit, patience: Duration) -> Option<Ready> {
        let ready = self.take_turn().or_else(|| habit.try_eagerly(|| self.wait(Duration::ZERO)));
        ready.or_else(|| self.next(patience))
    }

    /// Takes the first event from the queue. From time to time, it first queues the events that the kernel reports.
    fn take_turn(&self) -> Option<Ready> {
        let first = self.waiting()?;
        let turns = self.turns.load(Ordering::Relaxed) + 1;
        self.turns.store(turns, Ordering::Relaxed);
        if turns >= TURNS_BETWEEN_LOOKS {
            drop(self.poll_once(Duration::ZERO));
        }
        Some(first)
    }

    /// The first event of the queue.
    pub(super) fn waiting(&self) -> Option<Ready> {
        self.queue().pop_front()
    }

    fn wait(&self, patience: Duration) -> Option<Ready> {
        self.poll_once(patience).pop_front()
    }

    /// Queues the events that the kernel reports.
    fn poll_once(&self, patience: Duration) -> MutexGuard<'_, VecDeque<Ready>> {
        self.turns.store(0, Ordering::Relaxed);
        let mut events = [EpollEvent::empty(); BATCH];
        let timeout = EpollTimeout::try_from(patience).unwrap_or(EpollTimeout::ZERO);
        // After an interruption, the caller checks its state and calls again.
        let count = self.epoll.wait(&mut events, timeout).unwrap_or(0);
        let mut queue = self.queue();
        for event in &events[..count] {
            match event.data() {
                DOOR => queue.push_back(Ready::Listener),
                BELL => drop(self.bell.read()),
                id => {
                    let connection = self
                        .connections()
                        .get(&id)
                        .filter(|connection| {
                            // Before the claim: the thread that polls the connection has to see it.
                            connection.progress.readiness.note(event.events());
                            connection.claim()
                        })
                        .cloned();
                    queue.extend(connection.map(Ready::Connection));
                }
            }
        }
        queue
    }

    /// The number for a new connection.
    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds a connection; its socket is reported whenever it becomes ready.
    pub(super) fn add(&self, connection: &Arc<Connection>, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        let events = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        self.connections().insert(connection.id, connection.clone());
        let added = self.epoll.add(socket, EpollEvent::new(events, connection.id));
        if added.is_err() {
            self.forget(connection.id);
        }
        added
    }

    /// Removes all connections and returns them.
    pub(super) fn take_all(&self) -> Vec<Arc<Connection>> {
        self.connections().drain().map(|(_, connection)| connection).collect()
    }

    /// The number of connections.
    pub(super) fn len(&self) -> usize {
        self.connections().len()
    }

    /// Stops reporting new connections.
    pub(super) fn close_listener(&self, listener: BorrowedFd<'_>) {
        // It fails only if it was removed before.
        let _ = self.epoll.delete(listener);
    }

    /// Queues a claimed connection for the next leader.
    pub(super) fn put_back(&self, connection: Arc<Connection>) {
        self.queue().push_back(Ready::Connection(connection));
    }

    pub(super) fn ring(&self) {
        // It fails only if the wake-up is already pending.
        let _ = self.bell.write(1);
    }

    /// The current round.
    pub(super) fn round(&self) -> u32 {
        self.round.load(Ordering::Relaxed)
    }

    /// Starts a round and returns the connections that are overdue in it.
    pub(super) fn begin_round(&self, is_overdue: impl Fn(&Connection, u32) -> bool) -> Vec<Arc<Connection>> {
        let round = self.round.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        self.connections().values().filter(|connection| is_overdue(connection, round)).cloned().collect()
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Ready>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Reactor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Owner for Reactor {
    fn forget(&self, id: u64) {
        let removed = self.connections().remove(&id);
        drop(removed);
    }

    fn enqueue(&self, connection: Arc<Connection>) {
        self.put_back(connection);
        self.ring();
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::super::connection::Progress;
    use super::super::probe::Probe;
    use super::*;

    #[test]
    fn a_connection_that_always_has_more_does_not_keep_a_newcomer_waiting() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let reactor = Arc::new(Reactor::new(listener.as_fd()).expect("a reactor"));
        let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        let progress = Progress::new(0, Probe::new(&client, false));
        let owner: Arc<dyn Owner> = reactor.clone();
        let owner = Arc::downgrade(&owner);
        let busy = Connection::new(reactor.number(), owner, progress, Box::pin(std::future::pending()));
        assert!(busy.claim());
        reactor.put_back(busy);
        for turn in 0..=2 * TURNS_BETWEEN_LOOKS {
            match reactor.next(Duration::ZERO).expect("the busy one is always there") {
                Ready::Connection(busy) => reactor.put_back(busy),
                Ready::Listener => return assert!(turn > 0),
            }
        }
        panic!("the newcomer was not let in");
    }
}
