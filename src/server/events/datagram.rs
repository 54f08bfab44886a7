//! Events as datagrams, over UDP and UNIX sockets (`event_datagram`).

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::net::{self, UnixDatagram};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use crate::codec::event::Form;
use crate::command::event::{DeliveryStats, Raised, SubscriberSink};
use crate::dialect::Dialect;
use crate::server::events::sender::{EventSender, Line, Wait};

/// The largest event of `event_datagram`.
const LIMIT: usize = 65_457;
/// The largest while events were text.
const TEXT_LIMIT: usize = 16_384;
/// A UNIX socket takes few datagrams at once, by default eleven; this many more wait.
const MOST_WAITING: usize = 1024;
/// A subscriber that takes nothing for so long is not waited for (`timeout` of `event_stream`).
const STALL: Duration = Duration::from_secs(1);

fn limit(dialect: Dialect, form: Form) -> usize {
    if dialect.is_emulated() && form == Form::Text { TEXT_LIMIT } else { LIMIT }
}

/// The sockets that UDP events are sent from, one a family, made when they are needed.
pub(super) struct Udp {
    dialect: Dialect,
    v4: Mutex<Option<Arc<UdpSocket>>>,
    v6: Mutex<Option<Arc<UdpSocket>>>,
}

impl Udp {
    pub(super) fn new(dialect: Dialect) -> Self {
        Udp { dialect, v4: Mutex::default(), v6: Mutex::default() }
    }

    pub(super) fn outlet(&self, to: SocketAddr) -> io::Result<UdpOutlet> {
        let (made, any): (_, SocketAddr) = match to {
            SocketAddr::V4(_) => (&self.v4, (Ipv4Addr::UNSPECIFIED, 0).into()),
            SocketAddr::V6(_) => (&self.v6, (Ipv6Addr::UNSPECIFIED, 0).into()),
        };
        let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.is_none() {
            let socket = UdpSocket::bind(any)?;
            socket.set_nonblocking(true)?;
            *made = Some(Arc::new(socket));
        }
        made.clone().map(|from| UdpOutlet { from, to, dialect: self.dialect }).ok_or(io::ErrorKind::NotFound.into())
    }
}

/// The way to a UDP port. Its socket is shared and not connected, so that a refused connection, which the
/// network may report, disturbs no other subscriber.
pub(super) struct UdpOutlet {
    from: Arc<UdpSocket>,
    to: SocketAddr,
    dialect: Dialect,
}

impl SubscriberSink for UdpOutlet {
    fn send(&self, raised: &Raised, form: Form, tally: &Arc<DeliveryStats>) {
        let bytes = raised.bytes(form);
        if bytes.len() > limit(self.dialect, form) {
            return give_up(tally, self.to, "it is too large for a datagram");
        }
        match self.from.send_to(bytes, self.to) {
            Ok(_) => tally.count_sent(),
            Err(error) => give_up(tally, self.to, error),
        }
    }
}

/// The ways to UNIX sockets: one a socket, for all its subscriptions.
pub(super) struct Unix {
    dialect: Dialect,
    /// Not connected, and shared by all: made when the first needs it.
    from: OnceLock<Arc<UnixDatagram>>,
    outlets: Mutex<HashMap<String, Weak<UnixOutlet>>>,
    sender: Arc<EventSender>,
}

impl Unix {
    pub(super) fn new(dialect: Dialect, sender: Arc<EventSender>) -> Self {
        Unix { dialect, from: OnceLock::new(), outlets: Mutex::default(), sender }
    }

    pub(super) fn outlet(&self, path: &str) -> io::Result<Arc<UnixOutlet>> {
        let to = unix_address(path)?;
        let mut outlets = self.outlets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = outlets.get(path).and_then(Weak::upgrade) {
            return Ok(known);
        }
        outlets.retain(|_, outlet| outlet.strong_count() > 0);
        if self.from.get().is_none() {
            // No other thread makes one meanwhile: the outlets are locked.
            let _ = self.from.set(Arc::new(nonblocking_unix()?));
        }
        let from = self.from.get().cloned().ok_or(io::ErrorKind::NotFound)?;
        let outlet = Arc::new_cyclic(|me: &Weak<UnixOutlet>| UnixOutlet {
            me: me.clone(),
            from,
            to,
            dialect: self.dialect,
            queue: Mutex::default(),
            sender: self.sender.clone(),
        });
        outlets.insert(path.to_owned(), Arc::downgrade(&outlet));
        Ok(outlet)
    }
}

fn nonblocking_unix() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A path; one that begins with `@` is abstract.
fn unix_address(path: &str) -> io::Result<net::SocketAddr> {
    if path.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is empty"));
    }
    #[cfg(target_os = "linux")]
    if let Some(name) = path.strip_prefix('@') {
        use std::os::linux::net::SocketAddrExt;
        return net::SocketAddr::from_abstract_name(name);
    }
    net::SocketAddr::from_pathname(path)
}

/// The way to a UNIX socket, and what waits for room in it.
pub(super) struct UnixOutlet {
    me: Weak<UnixOutlet>,
    /// Not connected: the current owner of the name gets the event.
    from: Arc<UnixDatagram>,
    to: net::SocketAddr,
    dialect: Dialect,
    queue: Mutex<Queue>,
    sender: Arc<EventSender>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Vec<u8>, Arc<DeliveryStats>)>,
    /// Connected, so that the system tells when the receiver has room.
    to: Option<Arc<UnixDatagram>>,
    /// When the receiver took something last.
    moved: Option<Instant>,
}

impl UnixOutlet {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_up_all(&self, queue: &mut Queue, why: impl std::fmt::Display + Copy) {
        for (_, tally) in queue.waiting.drain(..) {
            give_up(&tally, &self.to, why);
        }
        *queue = Queue::default();
    }

    /// Sends what has room. An error means that the receiver is not there any more.
    fn send_waiting(&self, queue: &mut Queue, now: Instant) -> io::Result<()> {
        if queue.to.is_none() {
            let socket = nonblocking_unix()?;
            socket.connect_addr(&self.to)?;
            queue.to = Some(Arc::new(socket));
        }
        let to = queue.to.clone().ok_or(io::ErrorKind::NotConnected)?;
        while let Some((bytes, tally)) = queue.waiting.front() {
            match to.send(bytes) {
                Ok(_) => tally.count_sent(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => give_up(tally, &self.to, error),
                Err(error) => return Err(error),
            }
            queue.waiting.pop_front();
            queue.moved = Some(now);
        }
        Ok(())
    }
}

impl SubscriberSink for UnixOutlet {
    fn send(&self, raised: &Raised, form: Form, tally: &Arc<DeliveryStats>) {
        let bytes = raised.bytes(form);
        if bytes.len() > limit(self.dialect, form) {
            return give_up(tally, &self.to, "it is too large for a datagram");
        }
        let mut queue = self.lock();
        if queue.waiting.is_empty() {
            match self.from.send_to_addr(bytes, &self.to) {
                Ok(_) => return tally.count_sent(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return give_up(tally, &self.to, error),
            }
            queue.moved = Some(Instant::now());
        }
        if queue.waiting.len() >= MOST_WAITING {
            return give_up(tally, &self.to, "its queue is full");
        }
        queue.waiting.push_back((bytes.to_vec(), tally.clone()));
        let is_first = queue.waiting.len() == 1;
        drop(queue);
        if is_first && let Some(me) = self.me.upgrade() {
            self.sender.wake(&(me as Arc<dyn Line>));
        }
    }
}

impl Line for UnixOutlet {
    fn work(&self, now: Instant) -> Wait {
        let mut queue = self.lock();
        if queue.waiting.is_empty() {
            return Wait::default();
        }
        let had_one = queue.to.is_some();
        let mut sent = self.send_waiting(&mut queue, now);
        if sent.is_err() && had_one {
            // Its receiver is gone; another one may be there under the same name.
            queue.to = None;
            sent = self.send_waiting(&mut queue, now);
        }
        if let Err(error) = sent {
            self.give_up_all(&mut queue, &error);
            return Wait::default();
        }
        if queue.waiting.is_empty() {
            *queue = Queue::default();
            return Wait::default();
        }
        let patient_until = queue.moved.unwrap_or(now) + STALL;
        if now >= patient_until {
            self.give_up_all(&mut queue, "it takes nothing");
            return Wait::default();
        }
        let ready = queue.to.clone().map(|to| (to as Arc<dyn std::os::fd::AsFd + Send + Sync>, PollFlags::POLLOUT));
        Wait { ready, until: Some(patient_until) }
    }

    fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    fn give_up(&self) {
        self.give_up_all(&mut self.lock(), "the server stops");
    }
}

impl Drop for UnixOutlet {
    fn drop(&mut self) {
        Line::give_up(self);
    }
}

fn give_up(tally: &DeliveryStats, to: impl std::fmt::Debug, why: impl std::fmt::Display) {
    tally.count_dropped();
    log::debug!("an event to {to:?} is dropped: {why}");
}
