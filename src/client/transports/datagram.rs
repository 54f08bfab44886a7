//! Requests and replies in datagrams: a pool of sockets, each with one request at a time.
//!
//! Text replies say nothing of the request that they answer. So a socket whose request was not answered in time is
//! thrown away, and with it whatever may still come; and one that was answered rests for a while, or while many others
//! are used, since a network may deliver an answer twice.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use crate::client::deadline::{Deadline, WAKE, WaitError};
use crate::client::error::{CallError, CallFailure};
use crate::client::transports::resolve::Known;
use crate::codec::CodecError;
use crate::sys::process::forks;
use crate::transport::client_socket::{ClientSocket, UnixClient};
use crate::transport::eagerness::Eagerness;

/// Larger than any UDP datagram.
const BUFFER: usize = 65_536;

/// The number of buffers kept for later calls: allocating one takes longer than a reply takes to arrive.
const BUFFERS: usize = 16;

/// More sockets than this are not kept for later.
const IDLE: usize = 64;

/// How long a socket rests after a text reply, unless enough sockets rest already; then the oldest is used.
const REST: Duration = Duration::from_millis(100);

/// Where a server listens.
#[derive(Clone, Debug)]
pub(in crate::client) enum Place {
    Udp { host: String, port: u16 },
    Unix(PathBuf),
}

/// Sockets to one server.
#[derive(Debug)]
pub(in crate::client) struct Pool {
    place: Place,
    /// Those that were used last are at the end.
    idle: Mutex<VecDeque<Idle>>,
    /// Room for replies.
    buffers: Mutex<Vec<Box<[u8]>>>,
    /// Modparam `socket_buf_size` of the server's `mi_datagram`, in bytes; `None`: its default.
    socket_buf_size: Option<NonZeroUsize>,
    known: Known,
}

#[derive(Debug)]
struct Idle {
    socket: ClientSocket,
    since: Instant,
    /// A child of this process has its sockets, too, and must not speak on them.
    forks: u32,
}

/// A reply, as it was read and as it came.
pub(in crate::client) struct Heard<T> {
    pub(in crate::client) reply: T,
    pub(in crate::client) raw: Vec<u8>,
}

/// Reads a datagram; gives nothing for one that belongs to another request.
type Read<'a, T> = &'a mut (dyn FnMut(&[u8]) -> Option<Result<T, CodecError>> + Send);

/// Where a socket is connected to: nothing to choose for a path.
type Peer = Option<SocketAddr>;

impl Pool {
    pub(in crate::client) fn new(place: Place) -> Self {
        Pool {
            place,
            idle: Mutex::default(),
            buffers: Mutex::default(),
            socket_buf_size: None,
            known: Known::default(),
        }
    }

    pub(in crate::client) fn after_fork(&self) -> Self {
        Pool::new(self.place.clone()).with_socket_buf_size(self.socket_buf_size)
    }

    pub(in crate::client) fn with_socket_buf_size(self, socket_buf_size: Option<NonZeroUsize>) -> Self {
        Pool { socket_buf_size, ..self }
    }

    pub(in crate::client) fn socket_buf_size(&self) -> Option<usize> {
        self.socket_buf_size.map(NonZeroUsize::get)
    }

    /// The largest reply that a buffer has room for.
    fn buffer_size(&self) -> usize {
        BUFFER.max(self.socket_buf_size().unwrap_or(0))
    }

    /// Closes the idle sockets.
    pub(in crate::client) fn close_idle(&self) {
        lock(&self.idle).clear();
    }

    /// Sends a request and waits for its reply. Only an id tells the reply from datagrams that waited at the socket
    /// before.
    pub(in crate::client) async fn exchange<T>(
        &self,
        request: &[u8],
        has_id: bool,
        deadline: &mut Deadline<'_>,
        read: Read<'_, T>,
    ) -> Result<Heard<T>, CallFailure> {
        if let Some(socket) = self.take(has_id) {
            match send(&socket, request, deadline).await {
                Ok(()) => return self.hear(socket, request, deadline, read).await,
                // The server was restarted since. Nothing was sent, so another socket may try.
                Err(WaitError::Io(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut peers = self.peers(deadline).await?;
        while let Some(peer) = peers.pop() {
            let answered = self.try_peer(peer, request, deadline, read).await;
            match answered {
                Err(CallFailure { error: CallError::Transport { errno: libc::ECONNREFUSED, .. }, .. })
                    if !peers.is_empty() => {}
                Err(failure) => {
                    self.known.forget();
                    return Err(failure);
                }
                Ok(heard) => {
                    if let Some(peer) = peer {
                        self.known.prefer(peer);
                    }
                    return Ok(heard);
                }
            }
        }
        Err(CallError::Transport { what: "the host name has no address".into(), errno: libc::EADDRNOTAVAIL }.into())
    }

    async fn try_peer<T>(
        &self,
        peer: Peer,
        request: &[u8],
        deadline: &mut Deadline<'_>,
        read: Read<'_, T>,
    ) -> Result<Heard<T>, CallFailure> {
        let socket = self.connect(peer).map_err(|error| self.transport_error(&error))?;
        match send(&socket, request, deadline).await {
            Ok(()) => self.hear(socket, request, deadline, read).await,
            Err(WaitError::Io(error)) => Err(self.transport_error(&error).into()),
            Err(error) => Err(error.into()),
        }
    }

    async fn hear<T>(
        &self,
        socket: ClientSocket,
        request: &[u8],
        deadline: &mut Deadline<'_>,
        read: Read<'_, T>,
    ) -> Result<Heard<T>, CallFailure> {
        let mut last = 0;
        loop {
            let Received { bytes, size } = match self.receive(&socket, last, deadline).await {
                Ok(received) => received,
                Err(WaitError::Io(error)) => return Err(self.transport_error(&error).after(request, b"")),
                Err(error) => return Err(CallError::from(error).after(request, b"")),
            };
            if size > bytes.len() {
                let cut = CodecError::Truncated { what: "the datagram", size: bytes.len() };
                return Err(CallError::from(cut).after(request, &bytes));
            }
            match read(&bytes) {
                None => last = size,
                Some(Ok(reply)) => {
                    self.keep(socket);
                    return Ok(Heard { reply, raw: bytes });
                }
                Some(Err(error)) => return Err(CallError::from(error).after(request, &bytes)),
            }
        }
    }

    /// A socket that is used again: the last one where replies have ids, and else the one that rested longest.
    fn take(&self, has_id: bool) -> Option<ClientSocket> {
        let socket = {
            let mut idle = lock(&self.idle);
            if idle.front().is_some_and(|first| first.forks != forks()) {
                idle.clear();
            }
            if has_id {
                idle.pop_back()?.socket
            } else {
                let is_full = idle.len() >= IDLE;
                // Of a UNIX socket nothing comes twice.
                let has_rested = |first: &Idle| is_full || self.is_local() || first.since.elapsed() >= REST;
                idle.front().is_some_and(has_rested).then(|| idle.pop_front())??.socket
            }
        };
        (has_id || is_silent(&socket)).then_some(socket)
    }

    fn is_local(&self) -> bool {
        matches!(self.place, Place::Unix(_))
    }

    fn keep(&self, socket: ClientSocket) {
        let kept = Idle { socket, since: Instant::now(), forks: forks() };
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE {
            idle.push_back(kept);
        }
    }

    /// The next datagram, after one of `last` bytes that was no answer. A driven call has no buffer while it waits:
    /// there may be thousands.
    async fn receive(
        &self,
        socket: &ClientSocket,
        last: usize,
        deadline: &mut Deadline<'_>,
    ) -> Result<Received, WaitError> {
        deadline.checkpoint_after(last).await?;
        if deadline.is_driven() {
            loop {
                deadline.block(socket.as_fd(), PollFlags::POLLIN).await?;
                let received = self.with_buffer(|buffer| socket.try_receive(buffer).map_err(WaitError::Io))?;
                if let Some(received) = received {
                    return Ok(received);
                }
            }
        }
        let eager = deadline.eagerness();
        self.with_buffer(|buffer| receive_here(socket, buffer, &eager, deadline).map(Some))?
            .ok_or(WaitError::TimedOut)
    }

    /// Receives a datagram into a buffer, and returns its bytes.
    fn with_buffer(
        &self,
        read: impl FnOnce(&mut [u8]) -> Result<Option<usize>, WaitError>,
    ) -> Result<Option<Received>, WaitError> {
        let kept = lock(&self.buffers).pop();
        let mut buffer = kept.unwrap_or_else(|| vec![0; self.buffer_size()].into_boxed_slice());
        let outcome = read(&mut buffer);
        let received =
            outcome.map(|size| size.map(|size| Received { bytes: buffer[..size.min(buffer.len())].to_vec(), size }));
        let mut buffers = lock(&self.buffers);
        if buffers.len() < BUFFERS {
            buffers.push(buffer);
        }
        received
    }

    fn connect(&self, peer: Peer) -> io::Result<ClientSocket> {
        match (&self.place, peer) {
            (Place::Unix(path), _) => ClientSocket::unix(path, WAKE),
            (Place::Udp { .. }, Some(peer)) => ClientSocket::udp(peer, WAKE),
            (Place::Udp { .. }, None) => Err(io::ErrorKind::AddrNotAvailable.into()),
        }
    }

    /// Where the server may be; the likeliest last.
    async fn peers(&self, deadline: &mut Deadline<'_>) -> Result<Vec<Peer>, CallError> {
        let Place::Udp { host, port } = &self.place else { return Ok(vec![None]) };
        let known = self.known.addresses(host, *port, deadline).await?;
        Ok(known.into_iter().rev().map(Some).collect())
    }

    fn transport_error(&self, error: &io::Error) -> CallError {
        let what = match (&self.place, error.raw_os_error()) {
            (Place::Udp { .. }, Some(libc::ECONNREFUSED)) => "connection refused",
            (Place::Unix(_), Some(libc::ENOENT)) => "there is no such socket",
            (Place::Unix(_), Some(libc::ECONNREFUSED)) => "the socket exists, but no server reads it",
            (Place::Unix(_), Some(libc::EPROTOTYPE)) => "expected a datagram socket, found one of another kind",
            _ => return CallError::io("the datagram cannot be sent or received", error),
        };
        CallError::Transport { what: what.into(), errno: error.raw_os_error().unwrap_or(libc::EIO) }
    }
}

/// A datagram, cut where the buffer ends, and how long it was.
struct Received {
    bytes: Vec<u8>,
    size: usize,
}

async fn send(socket: &ClientSocket, request: &[u8], deadline: &mut Deadline<'_>) -> Result<(), WaitError> {
    while !socket.try_send(request).map_err(WaitError::Io)? {
        match socket {
            ClientSocket::Udp(_) => drop(deadline.wait(socket.as_fd(), PollFlags::POLLOUT).await?),
            ClientSocket::Unix(socket) => return send_to_full_queue(socket, request, deadline).await,
        }
    }
    Ok(())
}

/// Waits for room in a server's queue. poll(2) does not announce it to a socket that is not connected; a send that
/// blocks is woken by it.
async fn send_to_full_queue(
    socket: &UnixClient,
    request: &[u8],
    deadline: &mut Deadline<'_>,
) -> Result<(), WaitError> {
    while !deadline.is_driven() && deadline.left()? >= WAKE {
        if socket.send(request, 0).map_err(WaitError::Io)? {
            return Ok(());
        }
        deadline.check()?;
    }
    let try_again =
        || socket.send(request, libc::MSG_DONTWAIT).map(|is_sent| is_sent.then_some(())).map_err(WaitError::Io);
    deadline.retry(try_again).await
}

/// Waits on this thread for the next datagram, whose size may be more than the buffer has.
fn receive_here(
    socket: &ClientSocket,
    buffer: &mut [u8],
    eagerness: &Eagerness,
    deadline: &mut Deadline<'_>,
) -> Result<usize, WaitError> {
    while eagerness.give_way() {
        if let Some(size) = socket.try_receive(buffer).map_err(WaitError::Io)? {
            return Ok(size);
        }
    }
    loop {
        let received = if deadline.left()? < WAKE {
            deadline.block_here(socket.as_fd(), PollFlags::POLLIN)?;
            socket.try_receive(buffer)
        } else {
            socket.receive(buffer)
        };
        match received.map_err(WaitError::Io)? {
            Some(size) => return Ok(size),
            None => deadline.check()?,
        }
    }
}

/// Returns true if no datagram waits to be read: a duplicate must not answer the next request.
fn is_silent(socket: &ClientSocket) -> bool {
    matches!(socket.try_receive(&mut [0]), Ok(None))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
