//! Requests and replies in datagrams: a pool of sockets, each with one request at a time.
//!
//! Text replies say nothing of the request that they answer. So a socket whose request was not answered in time is
//! thrown away, and with it whatever may still come; and one that was answered rests for a while, or while many others
//! are used, since a network may deliver an answer twice.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use super::call::{CallError, CallFailure};
use super::patience::{Patience, Stop, WAKE};
use super::resolve::Known;
use crate::codec::CodecError;
use crate::transport::connected::Connected;

/// Larger than any UDP datagram.
const BUFFER: usize = 65_536;

/// So many buffers are kept for later: each takes longer to make than a reply takes to come.
const BUFFERS: usize = 16;

/// More sockets than this are not kept for later.
const IDLE: usize = 64;

/// How long a socket rests after a text reply, unless so many rest already that it is the first of them.
const REST: Duration = Duration::from_millis(100);

/// Where a server listens.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Udp { host: String, port: u16 },
    Unix(PathBuf),
}

/// Sockets to one server.
#[derive(Debug)]
pub(super) struct Pool {
    place: Place,
    /// Those that were used last are at the end.
    idle: Mutex<VecDeque<Idle>>,
    /// Room for replies.
    buffers: Mutex<Vec<Box<[u8]>>>,
    known: Known,
}

#[derive(Debug)]
struct Idle {
    socket: Connected,
    since: Instant,
}

/// A socket and room for a reply.
#[derive(Debug)]
struct Line {
    socket: Connected,
    buffer: Box<[u8]>,
}

/// A reply, as it was read and as it came.
pub(super) struct Heard<T> {
    pub(super) reply: T,
    pub(super) raw: Vec<u8>,
}

/// Reads a datagram; gives nothing for one that belongs to another request.
type Read<'a, T> = &'a mut (dyn FnMut(&[u8]) -> Option<Result<T, CodecError>> + Send);

/// Where a socket is connected to: nothing to choose for a path.
type Peer = Option<SocketAddr>;

impl Pool {
    pub(super) fn new(place: Place) -> Self {
        Pool { place, idle: Mutex::default(), buffers: Mutex::default(), known: Known::default() }
    }

    pub(super) fn renewed(&self) -> Self {
        Pool::new(self.place.clone())
    }

    /// Closes the sockets that nobody uses.
    pub(super) fn close(&self) {
        lock(&self.idle).clear();
    }

    /// Sends a request and waits for its reply. What waits at a socket from before is only told from it by an id.
    pub(super) async fn exchange<T>(
        &self,
        request: &[u8],
        has_id: bool,
        patience: &mut Patience<'_>,
        read: Read<'_, T>,
    ) -> Result<Heard<T>, CallFailure> {
        if let Some(line) = self.take(has_id) {
            match line.send(request, patience).await {
                Ok(()) => return self.hear(line, request, patience, read).await,
                // The server was restarted since. Nothing was sent, so another socket may try.
                Err(Stop::Io(_)) => {}
                Err(stop) => return Err(stop.into()),
            }
        }
        let mut peers = self.peers(patience).await?;
        while let Some(peer) = peers.pop() {
            let answered = self.try_peer(peer, request, patience, read).await;
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
        Err(CallError::Transport { what: "the host name means no address".into(), errno: libc::EADDRNOTAVAIL }.into())
    }

    async fn try_peer<T>(
        &self,
        peer: Peer,
        request: &[u8],
        patience: &mut Patience<'_>,
        read: Read<'_, T>,
    ) -> Result<Heard<T>, CallFailure> {
        let line = self.connect(peer).map_err(|error| self.transport_error(&error))?;
        match line.send(request, patience).await {
            Ok(()) => self.hear(line, request, patience, read).await,
            Err(Stop::Io(error)) => Err(self.transport_error(&error).into()),
            Err(stop) => Err(stop.into()),
        }
    }

    async fn hear<T>(
        &self,
        mut line: Line,
        request: &[u8],
        patience: &mut Patience<'_>,
        read: Read<'_, T>,
    ) -> Result<Heard<T>, CallFailure> {
        loop {
            let size = match line.receive(patience).await {
                Ok(size) => size,
                Err(Stop::Io(error)) => return Err(self.transport_error(&error).after(request, b"")),
                Err(stop) => return Err(CallError::from(stop).after(request, b"")),
            };
            let Some(datagram) = line.buffer.get(..size) else {
                let cut = CodecError::Truncated { what: "the datagram", size: line.buffer.len() };
                return Err(CallError::from(cut).after(request, &line.buffer));
            };
            match read(datagram) {
                None => {}
                Some(Ok(reply)) => {
                    let raw = datagram.to_vec();
                    self.keep(line);
                    return Ok(Heard { reply, raw });
                }
                Some(Err(error)) => return Err(CallError::from(error).after(request, datagram)),
            }
        }
    }

    /// A socket that is used again: the last one where replies have ids, and else the one that rested longest.
    fn take(&self, has_id: bool) -> Option<Line> {
        let socket = {
            let mut idle = lock(&self.idle);
            if has_id {
                idle.pop_back()?.socket
            } else {
                let is_full = idle.len() >= IDLE;
                // Of a UNIX socket nothing comes twice.
                let has_rested = |first: &Idle| is_full || self.is_local() || first.since.elapsed() >= REST;
                idle.front().is_some_and(has_rested).then(|| idle.pop_front())??.socket
            }
        };
        let line = self.line(socket);
        (has_id || line.is_silent()).then_some(line)
    }

    fn is_local(&self) -> bool {
        matches!(self.place, Place::Unix(_))
    }

    fn line(&self, socket: Connected) -> Line {
        let buffer = lock(&self.buffers).pop();
        Line { socket, buffer: buffer.unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice()) }
    }

    fn keep(&self, line: Line) {
        let Line { socket, buffer } = line;
        let kept = Idle { socket, since: Instant::now() };
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE {
            idle.push_back(kept);
        }
        drop(idle);
        let mut buffers = lock(&self.buffers);
        if buffers.len() < BUFFERS {
            buffers.push(buffer);
        }
    }

    fn connect(&self, peer: Peer) -> io::Result<Line> {
        let socket = match (&self.place, peer) {
            (Place::Unix(path), _) => Connected::unix(path, WAKE)?,
            (Place::Udp { .. }, Some(peer)) => Connected::udp(peer, WAKE)?,
            (Place::Udp { .. }, None) => return Err(io::ErrorKind::AddrNotAvailable.into()),
        };
        Ok(self.line(socket))
    }

    /// Where the server may be; the likeliest last.
    async fn peers(&self, patience: &mut Patience<'_>) -> Result<Vec<Peer>, CallError> {
        let Place::Udp { host, port } = &self.place else { return Ok(vec![None]) };
        let known = self.known.addresses(host, *port, patience).await?;
        Ok(known.into_iter().rev().map(Some).collect())
    }

    fn transport_error(&self, error: &io::Error) -> CallError {
        let what = match (&self.place, error.raw_os_error()) {
            (Place::Udp { .. }, Some(libc::ECONNREFUSED)) => "nobody listens there",
            (Place::Unix(_), Some(libc::ENOENT)) => "there is no such socket",
            (Place::Unix(_), Some(libc::ECONNREFUSED)) => "the socket exists, but no server reads it",
            (Place::Unix(_), Some(libc::EPROTOTYPE)) => "expected a datagram socket, found one of another kind",
            _ => return CallError::io("the datagram cannot be sent or received", error),
        };
        CallError::Transport { what: what.into(), errno: error.raw_os_error().unwrap_or(libc::EIO) }
    }
}

impl Line {
    async fn send(&self, request: &[u8], patience: &mut Patience<'_>) -> Result<(), Stop> {
        while !self.socket.send(request).map_err(Stop::Io)? {
            patience.wait(self.socket.as_fd(), PollFlags::POLLOUT).await?;
        }
        Ok(())
    }

    /// The size of the next datagram, which may be more than the buffer has.
    async fn receive(&mut self, patience: &mut Patience<'_>) -> Result<usize, Stop> {
        let eagerness = patience.eagerness();
        while eagerness.give_way() {
            if let Some(size) = self.socket.try_receive(&mut self.buffer).map_err(Stop::Io)? {
                return Ok(size);
            }
        }
        loop {
            let received = if patience.is_driven() || patience.left()? < WAKE {
                patience.sleep(self.socket.as_fd(), PollFlags::POLLIN).await?;
                self.socket.try_receive(&mut self.buffer)
            } else {
                self.socket.receive(&mut self.buffer)
            };
            match received.map_err(Stop::Io)? {
                Some(size) => return Ok(size),
                None => patience.check()?,
            }
        }
    }

    /// Whether nothing waits to be read: a datagram that came twice must not answer the next request.
    fn is_silent(&self) -> bool {
        matches!(self.socket.try_receive(&mut [0]), Ok(None))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
