//! What a listener waits for: its connections, new ones, and a bell; each ready thing is handed to one thread.
//!
//! Whoever leads the listener waits here. What the kernel reports goes into one queue, so that a leader who is
//! held up by a slow handler leaves nothing behind that the next one would not find.

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

/// How many things the kernel reports at once.
const BATCH: usize = 64;
/// After so many turns from the queue the kernel is asked again: a connection that always has more requests would
/// else keep those waiting that the kernel has not reported yet.
const TURNS_BETWEEN_LOOKS: u32 = 16;

const DOOR: u64 = 0;
const BELL: u64 = 1;
const FIRST_CONNECTION: u64 = 2;

/// Something to do.
pub(super) enum Ready {
    /// Somebody wants to connect.
    Listener,
    /// A connection has something to read, room to write, or its answer.
    Connection(Arc<Connection>),
}

pub(super) struct Reactor {
    epoll: Epoll,
    bell: EventFd,
    ready: Mutex<VecDeque<Ready>>,
    /// How many turns were taken from the queue since the kernel was asked. Nothing is lost if one is not counted.
    turns: AtomicU32,
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    next: AtomicU64,
    /// Counts the rounds of looking after connections: time, as coarse as timeouts need it.
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

    /// The next thing to do; `None` when there was none for a while, or the bell rang for another reason.
    pub(super) fn next(&self, patience: Duration) -> Option<Ready> {
        self.take_turn().or_else(|| self.wait(patience))
    }

    /// As [`Reactor::next`], for who has just served somebody and may well be asked again at once.
    pub(super) fn next_after_one(&self, habit: &mut Habit, patience: Duration) -> Option<Ready> {
        let ready = self.take_turn().or_else(|| habit.try_eagerly(|| self.wait(Duration::ZERO)));
        ready.or_else(|| self.next(patience))
    }

    /// The first in line. When it is time, those that the kernel reports get in line as well.
    fn take_turn(&self) -> Option<Ready> {
        let first = self.waiting()?;
        let turns = self.turns.load(Ordering::Relaxed) + 1;
        self.turns.store(turns, Ordering::Relaxed);
        if turns >= TURNS_BETWEEN_LOOKS {
            drop(self.poll_once(Duration::ZERO));
        }
        Some(first)
    }

    /// The first in line.
    pub(super) fn waiting(&self) -> Option<Ready> {
        self.queue().pop_front()
    }

    fn wait(&self, patience: Duration) -> Option<Ready> {
        self.poll_once(patience).pop_front()
    }

    /// Puts what the kernel reports in line.
    fn poll_once(&self, patience: Duration) -> MutexGuard<'_, VecDeque<Ready>> {
        self.turns.store(0, Ordering::Relaxed);
        let mut events = [EpollEvent::empty(); BATCH];
        let timeout = EpollTimeout::try_from(patience).unwrap_or(EpollTimeout::ZERO);
        // Interrupted or not: the caller looks at the world and comes back.
        let count = self.epoll.wait(&mut events, timeout).unwrap_or(0);
        let mut queue = self.queue();
        for event in &events[..count] {
            match event.data() {
                DOOR => queue.push_back(Ready::Listener),
                BELL => drop(self.bell.read()),
                id => {
                    let connection = self.connections().get(&id).filter(|connection| connection.claim()).cloned();
                    queue.extend(connection.map(Ready::Connection));
                }
            }
        }
        queue
    }

    /// A number for a connection that is about to be made.
    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes a connection in; its socket is reported whenever that becomes ready.
    pub(super) fn add(&self, connection: &Arc<Connection>, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        let events = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        self.connections().insert(connection.id, connection.clone());
        let added = self.epoll.add(socket, EpollEvent::new(events, connection.id));
        if added.is_err() {
            self.forget(connection.id);
        }
        added
    }

    /// Forgets all, and says which there were.
    pub(super) fn take_all(&self) -> Vec<Arc<Connection>> {
        self.connections().drain().map(|(_, connection)| connection).collect()
    }

    /// How many connections there are.
    pub(super) fn len(&self) -> usize {
        self.connections().len()
    }

    /// No longer reports new connections.
    pub(super) fn close_listener(&self, listener: BorrowedFd<'_>) {
        // It only fails when that was done before.
        let _ = self.epoll.delete(listener);
    }

    /// Puts a claimed connection in line, for a leader that comes back to it.
    pub(super) fn put_back(&self, connection: Arc<Connection>) {
        self.queue().push_back(Ready::Connection(connection));
    }

    pub(super) fn ring(&self) {
        // It only fails when it rings already.
        let _ = self.bell.write(1);
    }

    /// The current round.
    pub(super) fn round(&self) -> u32 {
        self.round.load(Ordering::Relaxed)
    }

    /// Begins a round and gives the connections that `is_overdue` in it.
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
