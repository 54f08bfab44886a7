//! The replies of a datagram listener: the sockets that send them, and the queues in which they wait for clients.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::connected_peers::{Buffer, ConnectedPeers};
use super::recipient::Recipient;
use super::reply_queues::{Full, ReplyQueues, Sent, WaitingReply};
use crate::net::peer::peer_of;
use crate::server::delivery::deferred_writer::{DeferredWriter, PendingWrite};
use crate::server::dispatch::dispatcher::Dispatcher;
use crate::server::multiprocess::in_flight::Slot;
use crate::server::options::ListenOptions;
use crate::transport::datagram::{Socket, send_from};
use crate::transport::reply_sockets::ReplySockets;
use crate::transport::unnamed_socket::{self, Client};

/// The requested send buffer of the named socket. All clients that are connected to it share the buffer.
const NAMED_BUFFER: usize = 2 << 20;

/// The way replies leave a listener.
pub(crate) struct Replies {
    dispatcher: Arc<Dispatcher>,
    deferred_writer: Arc<DeferredWriter>,
    socket: Arc<Socket>,
    /// `None` over UDP.
    unix: Option<UnixReplies>,
    queues: ReplyQueues,
    /// Set once the kernel was asked for the users of senders; true if it reports them.
    tells_users: OnceLock<bool>,
    /// The time for which a client may read nothing while replies wait for it.
    timeout: Duration,
}

/// The sockets for replies to UNIX clients: unnamed ones for clients that are not connected, the named one for those
/// that are.
struct UnixReplies {
    unnamed: ReplySockets,
    /// The size of the named socket's send buffer.
    named_buffer: usize,
    /// False for a real server, which does not answer connected clients.
    answers_connected: bool,
    connected: Mutex<ConnectedPeers>,
    has_connected: AtomicBool,
}

impl Replies {
    /// `unix` is `None` over UDP. Over UNIX it is true if connected clients get replies.
    pub(crate) fn new(
        (dispatcher, deferred_writer): (Arc<Dispatcher>, Arc<DeferredWriter>),
        socket: Arc<Socket>,
        unix: Option<bool>,
        options: &ListenOptions,
    ) -> io::Result<Self> {
        let unix = unix.map(|answers_connected| UnixReplies::new(&socket, answers_connected)).transpose()?;
        let (queues, timeout) = (ReplyQueues::new(options.unsent_limit), options.write_timeout);
        Ok(Replies { dispatcher, deferred_writer, socket, unix, queues, tells_users: OnceLock::new(), timeout })
    }

    /// Returns true if there are clients that do not read, so that users have to be told apart.
    #[inline]
    pub(crate) fn must_know_users(&self) -> bool {
        self.unix.as_ref().is_some_and(|unix| unix.unnamed.is_crowded() || self.queues.are_in_use())
            && self.ask_for_users()
    }

    /// Sends a reply now, or queues it until its client has read earlier ones.
    pub(crate) fn deliver(self: &Arc<Self>, bytes: &[u8], (to, slot): (&Recipient, Option<Slot>)) {
        if bytes.is_empty() || matches!(self.try_send(bytes, (to, slot.as_ref())), Sent::Done) {
            return;
        }
        let Some(reservation) = self.dispatcher.reserve_unsent(WaitingReply::cost_of(bytes)) else { return };
        let reply = WaitingReply { bytes: bytes.into(), to: *to, slot, _reservation: reservation };
        match self.queues.push(reply, Instant::now()) {
            Ok(true) => self.have_queues_served(),
            Ok(false) => {}
            Err(Full::Client(waiting)) => self.dispatcher.note_full_peer(&peer_of(&to.peer), waiting),
            Err(Full::User(waiting)) => self.dispatcher.note_full_user(to.user, waiting),
        }
    }

    /// Sends a reply unless an earlier one waits for the same client.
    #[inline]
    pub(crate) fn try_send(&self, bytes: &[u8], to: (&Recipient, Option<&Slot>)) -> Sent {
        if self.queues.has_waiting(&to.0.peer) { Sent::Full } else { self.send(bytes, to) }
    }

    #[inline]
    fn send(&self, bytes: &[u8], (to, slot): (&Recipient, Option<&Slot>)) -> Sent {
        let peer = &to.peer;
        let send = |from: BorrowedFd<'_>| match slot {
            Some(slot) => slot.answer(from, bytes),
            None => send_from(from, bytes, peer),
        };
        let result = match &self.unix {
            _ if !peer.can_be_answered() => Err(io::ErrorKind::NotConnected.into()),
            Some(unix) => unix.send(send, (to.as_client(), bytes.len()), &self.socket),
            None => send(self.socket.as_fd()),
        };
        match result {
            Ok(()) => Sent::Done,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Sent::Full,
            Err(error) => {
                self.dispatcher.counters.dropped.add(1);
                log::debug!("a reply of {} bytes to {} was not delivered: {error}", bytes.len(), peer_of(peer));
                Sent::Done
            }
        }
    }

    /// Makes the deferred writer serve the queues until they are empty.
    fn have_queues_served(self: &Arc<Self>) {
        let replies = self.clone();
        let serve = move |now| {
            let send = |reply: &WaitingReply| replies.send(&reply.bytes, (&reply.to, reply.slot.as_ref()));
            replies.queues.serve(now, replies.timeout, send, |dropped| replies.note_stalled(dropped))
        };
        self.deferred_writer.take(PendingWrite::Queues { serve: Box::new(serve) });
    }

    /// Asks the kernel for the users of senders, so that no user can use up the room of other users.
    #[cold]
    fn ask_for_users(&self) -> bool {
        *self.tells_users.get_or_init(|| match self.socket.ask_for_users() {
            Ok(()) => true,
            Err(error) => {
                log::debug!("clients that do not read cannot be told apart by user: {error}");
                false
            }
        })
    }

    /// Counts and logs replies that were dropped because their client has read nothing for too long.
    fn note_stalled(&self, dropped: usize) {
        self.dispatcher.note_stalled(None);
        self.dispatcher.counters.dropped.add(dropped as i64);
    }
}

impl UnixReplies {
    fn new(named: &Socket, answers_connected: bool) -> io::Result<Self> {
        Ok(UnixReplies {
            unnamed: ReplySockets::new()?,
            named_buffer: unnamed_socket::enlarge_buffer(named.as_fd(), NAMED_BUFFER)?,
            answers_connected,
            connected: Mutex::default(),
            has_connected: AtomicBool::new(false),
        })
    }

    fn send(
        &self,
        send: impl Fn(BorrowedFd<'_>) -> io::Result<()>,
        (client, size): (Client<'_>, usize),
        named: &Socket,
    ) -> io::Result<()> {
        let peer = client.address;
        if self.has_connected.load(Ordering::Relaxed) && self.connected().contains(peer) {
            return self.send_from_named(send, (client, size), named);
        }
        match self.unnamed.send(client, &send) {
            // The kernel refuses a datagram to a socket that is connected to another one.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) && self.answers_connected => {
                self.connected().insert(peer);
                self.has_connected.store(true, Ordering::Relaxed);
                self.send_from_named(send, (client, size), named)
            }
            result => result,
        }
    }

    fn send_from_named(
        &self,
        send: impl Fn(BorrowedFd<'_>) -> io::Result<()>,
        (client, size): (Client<'_>, usize),
        named: &Socket,
    ) -> io::Result<()> {
        let buffer = Buffer { size: self.named_buffer, unread: || unnamed_socket::unread(named.as_fd()) };
        if self.connected().admits(client, size, &buffer) {
            send(named.as_fd())
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    fn connected(&self) -> MutexGuard<'_, ConnectedPeers> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
