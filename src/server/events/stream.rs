//! Events over TCP, JSON objects back to back (`event_stream`), with a reply to each where delivery has to be reliable.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage};

use crate::codec::event::{self, Form};
use crate::command::event::{DeliveryStats, Raised, SubscriberSink};
use crate::item::{Item, Str};
use crate::server::events::sender::{EventSender, Line, Wait};

/// The limits on queued events and bytes for one subscriber: a minute of a busy server, little of its memory.
const MOST_WAITING: usize = 8192;
const MOST_BYTES: usize = 4 << 20;
/// An event older than this is of no use to a subscriber.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a subscriber may take nothing, or leave an event without its reply, before its connection is made anew.
const STALL: Duration = Duration::from_secs(3);
/// The first wait before a connection is tried again, which doubles each time, and the longest.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(5);
/// A connection that held for so long was a good one: the next is tried soon again.
const GOOD: Duration = Duration::from_secs(1);
/// How many events go out in one system call.
const SLICES: usize = 64;
/// How often a subscriber that talks much is read before others have their turn.
const READS: usize = 16;

/// The way to a method of a TCP subscriber.
pub(super) struct StreamOutlet {
    stream: Arc<Stream>,
    method: Option<Str>,
}

impl StreamOutlet {
    pub(super) fn new(stream: Arc<Stream>, method: Option<&str>) -> Self {
        StreamOutlet { stream, method: method.map(Str::from) }
    }
}

impl SubscriberSink for StreamOutlet {
    fn send(&self, raised: &Raised, _form: Form, tally: &Arc<DeliveryStats>) {
        let event = raised.event();
        self.stream.put(tally, |id| match (&self.method, id) {
            (None, None) => raised.bytes(Form::Json).to_vec(),
            (method, id) => {
                let mut bytes = Vec::with_capacity(256);
                event::encode_json(&mut bytes, method.as_ref().unwrap_or(&event.name), &event.params, id);
                bytes
            }
        });
    }
}

/// A connection to one address, or the attempt at one, and what waits for it.
pub(super) struct Stream {
    me: Weak<Stream>,
    addresses: Vec<SocketAddr>,
    /// True if each event needs a reply.
    reliable: bool,
    queue: Mutex<Queue>,
    /// Touched by the messenger, and taken before the queue.
    route: Mutex<ReplySink>,
    sender: Arc<EventSender>,
}

/// In order: what was written and waits for its reply, then what is still to be written.
#[derive(Default)]
struct Queue {
    entries: VecDeque<Entry>,
    /// How many of them were written.
    written: usize,
    /// How much of the one after those was.
    offset: usize,
    bytes: usize,
    last_id: i32,
}

struct Entry {
    bytes: Vec<u8>,
    id: Option<i64>,
    tally: Arc<DeliveryStats>,
    since: Instant,
    written: Option<Instant>,
}

/// The connection as it is now, and what is tried when there is none.
struct ReplySink {
    link: Link,
    /// Which of the addresses is next.
    next: usize,
    /// The sender does not connect before this time.
    retry_at: Option<Instant>,
    /// How long the wait after the next failure is.
    retry: Duration,
}

enum Link {
    Down,
    Connecting { socket: Arc<TcpStream>, deadline: Instant },
    Up(Connection),
}

struct Connection {
    socket: Arc<TcpStream>,
    replies: event::Stream,
    since: Instant,
    /// Since when the subscriber takes nothing.
    blocked: Option<Instant>,
}

impl Queue {
    fn next_id(&mut self) -> i64 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id.into()
    }

    fn remove(&mut self, place: usize) -> Option<Entry> {
        let entry = self.entries.remove(place)?;
        self.bytes -= entry.bytes.len();
        if place < self.written {
            self.written -= 1;
        }
        Some(entry)
    }

    /// The bytes to write next.
    fn slices(&self) -> Vec<IoSlice<'_>> {
        let unwritten = self.entries.range(self.written..).take(SLICES);
        let from = |place: usize| if place == 0 { self.offset } else { 0 };
        unwritten.enumerate().map(|(place, entry)| IoSlice::new(&entry.bytes[from(place)..])).collect()
    }

    /// Marks `size` bytes as written. Events that need no reply are then done.
    fn wrote(&mut self, mut size: usize, now: Instant) {
        while let Some(entry) = self.entries.get_mut(self.written) {
            let left = entry.bytes.len() - self.offset;
            if size < left {
                self.offset += size;
                return;
            }
            size -= left;
            self.offset = 0;
            entry.written = Some(now);
            self.written += 1;
            if entry.id.is_none()
                && let Some(entry) = self.remove(self.written - 1)
            {
                entry.tally.count_sent();
            }
        }
    }

    /// The connection is gone: what was not confirmed goes out again on the next.
    fn begin_again(&mut self) {
        (self.written, self.offset) = (0, 0);
        self.entries.iter_mut().for_each(|entry| entry.written = None);
    }

    /// When the oldest gets too old.
    fn late_at(&self) -> Option<Instant> {
        self.entries.front().map(|entry| entry.since + LONGEST_WAIT)
    }

    /// When the first of those that were written has waited too long for its reply.
    fn reply_due(&self) -> Option<Instant> {
        self.entries.front().and_then(|entry| entry.written).map(|written| written + STALL)
    }

    /// Drops what is too old. True when a part of it was written: then the connection is of no more use.
    fn drop_late(&mut self, now: Instant) -> bool {
        let mut torn = false;
        while self.late_at().is_some_and(|late| now >= late) {
            if self.written == 0 && self.offset > 0 {
                (torn, self.offset) = (true, 0);
            }
            if let Some(entry) = self.remove(0) {
                entry.tally.count_dropped();
            }
        }
        torn
    }
}

impl Stream {
    pub(super) fn new(addresses: Vec<SocketAddr>, reliable: bool, sender: Arc<EventSender>) -> Arc<Self> {
        let route = ReplySink { link: Link::Down, next: 0, retry_at: None, retry: FIRST_RETRY };
        Arc::new_cyclic(|me| Stream {
            me: me.clone(),
            addresses,
            reliable,
            queue: Mutex::default(),
            route: Mutex::new(route),
            sender,
        })
    }

    /// Puts an event at the end of the queue, or drops it when that is full.
    fn put(&self, tally: &Arc<DeliveryStats>, write: impl FnOnce(Option<i64>) -> Vec<u8>) {
        let mut queue = self.queue();
        if queue.entries.len() >= MOST_WAITING || queue.bytes >= MOST_BYTES {
            return tally.count_dropped();
        }
        let id = self.reliable.then(|| queue.next_id());
        let bytes = write(id);
        queue.bytes += bytes.len();
        queue.entries.push_back(Entry { bytes, id, tally: tally.clone(), since: Instant::now(), written: None });
        let is_first = queue.entries.len() == queue.written + 1;
        drop(queue);
        if is_first && let Some(me) = self.me.upgrade() {
            self.sender.wake(&(me as Arc<dyn Line>));
        }
    }

    /// Begins to connect to the next address.
    fn connect(&self, route: &mut ReplySink, now: Instant) {
        let address = self.addresses[route.next];
        match begin_to_connect(address) {
            Ok(socket) => route.link = Link::Connecting { socket: Arc::new(socket), deadline: now + CONNECT },
            Err(error) => self.lost(route, now, &error),
        }
    }

    /// There is no connection any more, or none yet.
    fn lost(&self, route: &mut ReplySink, now: Instant, why: &dyn std::fmt::Display) {
        log::debug!("events to {}: {why}", self.addresses[route.next]);
        self.queue().begin_again();
        match std::mem::replace(&mut route.link, Link::Down) {
            Link::Up(connection) if now - connection.since >= GOOD => route.retry = FIRST_RETRY,
            Link::Up(_) => {}
            Link::Down | Link::Connecting { .. } => {
                route.next = (route.next + 1) % self.addresses.len();
                if route.next != 0 {
                    route.retry_at = None;
                    return;
                }
            }
        }
        route.retry_at = Some(now + route.retry);
        route.retry = (route.retry * 2).min(LAST_RETRY);
    }

    /// Reads replies and writes events until either would block.
    fn exchange(&self, connection: &mut Connection, now: Instant) -> Result<Wait, Box<dyn std::error::Error>> {
        self.read(connection)?;
        let mut flags = PollFlags::POLLIN;
        if self.write(connection, now)? {
            connection.blocked = None;
        } else {
            flags |= PollFlags::POLLOUT;
            connection.blocked.get_or_insert(now);
        }
        let stalled_at = connection.blocked.map(|since| since + STALL);
        let (reply_due, late_at) = {
            let queue = self.queue();
            (queue.reply_due(), queue.late_at())
        };
        if stalled_at.is_some_and(|at| now >= at) {
            return Err("the subscriber takes nothing".into());
        }
        if reply_due.is_some_and(|at| now >= at) {
            return Err("an event was not confirmed".into());
        }
        let ready = Some((connection.socket.clone() as Arc<dyn std::os::fd::AsFd + Send + Sync>, flags));
        Ok(Wait { ready, until: [stalled_at, reply_due, late_at].into_iter().flatten().min() })
    }

    /// Reads what there is; what does not want replies ignores them.
    fn read(&self, connection: &mut Connection) -> Result<(), Box<dyn std::error::Error>> {
        let mut buffer = [0; 4096];
        for _ in 0..READS {
            match (&*connection.socket).read(&mut buffer) {
                Ok(0) => return Err("the subscriber closed the connection".into()),
                Ok(size) if self.reliable => connection.replies.push(&buffer[..size]),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        while let Some(reply) = connection.replies.next_value()? {
            let (id, taken) = event::decode_reply(&reply)?;
            self.confirm(&id, taken);
        }
        Ok(())
    }

    fn confirm(&self, id: &Item, taken: bool) {
        let Item::Int(id) = id else { return };
        let mut queue = self.queue();
        let written = queue.written;
        let place = queue.entries.iter().take(written).position(|entry| entry.id == Some(*id));
        match place.and_then(|place| queue.remove(place)) {
            Some(entry) if taken => entry.tally.count_sent(),
            Some(entry) => entry.tally.count_dropped(),
            None => {}
        }
    }

    /// Writes all, or says that the subscriber has no room for it.
    fn write(&self, connection: &mut Connection, now: Instant) -> io::Result<bool> {
        loop {
            let mut queue = self.queue();
            let slices = queue.slices();
            if slices.is_empty() {
                return Ok(true);
            }
            let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
            match socket::sendmsg::<SockaddrStorage>(connection.socket.as_raw_fd(), &slices, &[], flags, None) {
                Ok(size) => {
                    connection.blocked = None;
                    queue.wrote(size, now);
                }
                Err(Errno::EAGAIN) => return Ok(false),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line for Stream {
    fn work(&self, now: Instant) -> Wait {
        let mut route = self.route.lock().unwrap_or_else(PoisonError::into_inner);
        if self.queue().drop_late(now) {
            self.lost(&mut route, now, &"an event was taken in part only");
        }
        loop {
            match &mut route.link {
                Link::Down => {
                    let Some(late_at) = self.queue().late_at() else { return Wait::default() };
                    match route.retry_at {
                        Some(at) if now < at => return Wait { ready: None, until: Some(at.min(late_at)) },
                        _ => self.connect(&mut route, now),
                    }
                }
                Link::Connecting { socket, deadline } => {
                    let (socket, deadline) = (socket.clone(), *deadline);
                    match is_connected(&socket) {
                        Ok(true) => {
                            let replies = event::Stream::default();
                            route.link = Link::Up(Connection { socket, replies, since: now, blocked: None });
                        }
                        Ok(false) if now < deadline => {
                            return Wait { ready: Some((socket, PollFlags::POLLOUT)), until: Some(deadline) };
                        }
                        Ok(false) => self.lost(&mut route, now, &"no connection in time"),
                        Err(error) => self.lost(&mut route, now, &error),
                    }
                }
                Link::Up(connection) => match self.exchange(connection, now) {
                    Ok(wait) => return wait,
                    Err(why) => self.lost(&mut route, now, &why),
                },
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.queue().entries.is_empty()
    }

    fn give_up(&self) {
        let mut route = self.route.lock().unwrap_or_else(PoisonError::into_inner);
        route.link = Link::Down;
        let mut queue = self.queue();
        queue.entries.drain(..).for_each(|entry| entry.tally.count_dropped());
        (queue.written, queue.offset, queue.bytes) = (0, 0, 0);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        Line::give_up(self);
    }
}

fn begin_to_connect(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd: OwnedFd = socket::socket(family, SockType::Stream, flags, None)?;
    match socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(address)) {
        Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let socket = TcpStream::from(fd);
    // Events are small and wait for nothing; without this they would wait for each other.
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Returns true if the connection is made; an error when it failed.
fn is_connected(socket: &TcpStream) -> io::Result<bool> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(ids: bool, sizes: &[usize]) -> Queue {
        let mut queue = Queue::default();
        for size in sizes {
            let id = ids.then(|| queue.next_id());
            let (bytes, tally) = (vec![b'x'; *size], Arc::default());
            queue.bytes += size;
            queue.entries.push_back(Entry { bytes, id, tally, since: Instant::now(), written: None });
        }
        queue
    }

    fn unwritten(queue: &Queue) -> Vec<usize> {
        queue.slices().iter().map(|slice| slice.len()).collect()
    }

    #[test]
    fn events_without_a_reply_are_done_once_written() {
        let mut queue = queue(false, &[3, 4, 5]);
        queue.wrote(5, Instant::now());
        assert_eq!((unwritten(&queue), queue.bytes), (vec![2, 5], 9));
        queue.begin_again();
        assert_eq!(unwritten(&queue), [4, 5], "whole again on the next connection");
        queue.wrote(9, Instant::now());
        assert!(queue.entries.is_empty());
    }

    #[test]
    fn events_that_need_a_reply_are_kept_and_sent_again_without_one() {
        let mut queue = queue(true, &[3, 4, 5]);
        queue.wrote(8, Instant::now());
        assert_eq!((unwritten(&queue), queue.written), (vec![4], 2));
        assert_eq!(queue.remove(1).and_then(|entry| entry.id), Some(2), "replies may come in any order");
        assert_eq!((unwritten(&queue), queue.written), (vec![4], 1));
        queue.begin_again();
        assert_eq!(unwritten(&queue), [3, 5]);
    }

    #[test]
    fn expired_events_are_dropped_and_a_partial_event_ends_its_connection() {
        let now = Instant::now();
        let mut whole = queue(false, &[3, 4]);
        assert!(!whole.drop_late(now) && whole.entries.len() == 2);
        let late = now + LONGEST_WAIT + Duration::from_secs(1);
        assert!(!whole.drop_late(late) && whole.entries.is_empty() && whole.bytes == 0);
        let mut torn = queue(false, &[3, 4]);
        torn.wrote(1, now);
        assert!(torn.drop_late(late) && torn.offset == 0);
    }

    #[test]
    fn ids_are_positive_and_begin_again_after_the_largest() {
        let mut queue = Queue { last_id: i32::MAX, ..Queue::default() };
        assert_eq!((queue.next_id(), queue.next_id()), (1, 2));
    }
}
