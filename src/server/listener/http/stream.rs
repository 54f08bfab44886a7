//! A connection's bytes for hyper: a non-blocking socket, with TLS on top if the listener uses it.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};

use super::connection::{Progress, Stage};
use super::policy::Quirks;
use super::reactor::Reactor;
use super::readiness::Readiness;
use super::reply::TOO_SLOW;
use crate::sys::message;

/// A socket whose readiness the reactor reports, so that waiting for it only means to return `Pending`.
pub(super) struct Stream {
    socket: Socket,
    quirks: Quirks,
    progress: Arc<Progress>,
    reactor: Arc<Reactor>,
}

/// The interim response that hyper writes when a body is expected.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// The size of one read of discarded bytes.
const DISCARDED: usize = 16 << 10;
/// The number of such reads after which other connections get a turn.
const DISCARDED_AT_ONCE: u32 = 16;

enum Socket {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<super::tls::TlsStream>),
}

impl Stream {
    pub(super) fn new(socket: TcpStream, reactor: Arc<Reactor>, progress: Arc<Progress>) -> Self {
        Stream { socket: Socket::Plain(socket), quirks: Quirks::default(), progress, reactor }
    }

    #[cfg(feature = "tls")]
    pub(super) fn with_tls(socket: super::tls::TlsStream, reactor: Arc<Reactor>, progress: Arc<Progress>) -> Self {
        progress.reach(Stage::Handshake, reactor.round());
        Stream { socket: Socket::Tls(Box::new(socket)), quirks: Quirks::default(), progress, reactor }
    }

    /// Adds the quirks of another server.
    pub(super) fn with(self, quirks: Quirks) -> Self {
        Stream { quirks, ..self }
    }

    /// Reads and discards the remaining bytes, until the client closes or the timeout passes.
    pub(super) fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.progress.stage() != Stage::Head {
            self.progress.reach(Stage::Head, self.reactor.round());
        }
        #[cfg_attr(not(feature = "tls"), allow(clippy::infallible_destructuring_match))]
        let socket = match &mut self.socket {
            Socket::Plain(socket) => socket,
            #[cfg(feature = "tls")]
            Socket::Tls(tls) => tls.socket(),
        };
        let mut rest = [0; DISCARDED];
        for _ in 0..DISCARDED_AT_ONCE {
            if self.progress.is_overdue() {
                return Poll::Ready(());
            }
            match io::Read::read(socket, &mut rest) {
                Ok(0) => return Poll::Ready(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(_) => return Poll::Ready(()),
            }
        }
        // A client that sends endlessly waits behind other connections, and has the same timeout.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes as much of the reply as fits at once: hyper does not answer a head that does not end.
    fn say_too_slow(&mut self) {
        let _ = match &mut self.socket {
            Socket::Plain(socket) => io::Write::write(socket, TOO_SLOW),
            #[cfg(feature = "tls")]
            Socket::Tls(tls) => tls.write(TOO_SLOW),
        };
    }

    /// Records that bytes arrived: they belong to the next request, unless one is in progress.
    fn note_read(&self) {
        match self.progress.stage() {
            Stage::Idle | Stage::Reply => self.progress.reach(Stage::Head, self.reactor.round()),
            _ => {}
        }
    }

    fn note_write<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        // A handshake writes, too.
        match (self.progress.stage(), written.is_pending()) {
            (Stage::Running | Stage::Reply, true) => self.progress.block(self.reactor.round()),
            (Stage::Running | Stage::Reply | Stage::Blocked, false) => {
                self.progress.reach(Stage::Reply, self.reactor.round());
            }
            _ => {}
        }
        written
    }
}

impl Read for Stream {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, mut cursor: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.progress.stage() {
            Stage::Head if this.progress.is_overdue() => {
                this.say_too_slow();
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            // The task that waits for the body reports the timeout.
            Stage::Body if this.progress.is_overdue() => return Poll::Pending,
            _ => {}
        }
        let begins = matches!(this.progress.stage(), Stage::Idle | Stage::Reply);
        let read = match &mut this.socket {
            Socket::Plain(socket) => match this.quirks.first_request.filter(|_| begins) {
                Some(first_request) => receive_one(socket, &mut cursor, (first_request, &this.progress)),
                None => receive_if_ready(socket, &mut cursor, &this.progress.readiness),
            },
            #[cfg(feature = "tls")]
            Socket::Tls(tls) => {
                let read = tls.read(&mut cursor);
                if !tls.is_handshaking() {
                    this.progress.end_handshake(this.reactor.round());
                }
                read
            }
        };
        match read {
            Ok(size) => {
                if size > 0 {
                    this.note_read();
                }
                Poll::Ready(Ok(()))
            }
            Err(error) => or_pending(error),
        }
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let said = if this.quirks.is_curt && bytes.starts_with(CONTINUE) { CONTINUE.len() } else { 0 };
        let bytes = &bytes[said..];
        let written = match &mut this.socket {
            _ if said > 0 && bytes.is_empty() => Poll::Ready(Ok(0)),
            Socket::Plain(socket) => ready(io::Write::write(socket, bytes)),
            #[cfg(feature = "tls")]
            Socket::Tls(tls) => ready(tls.write(bytes)),
        };
        this.note_write(written.map_ok(|size| said + size))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.quirks.is_curt {
            let first = parts.iter().find(|part| !part.is_empty());
            return self.poll_write(context, first.map_or(&[], |part| part));
        }
        let this = self.get_mut();
        let written = match &mut this.socket {
            Socket::Plain(socket) => ready(io::Write::write_vectored(socket, parts)),
            #[cfg(feature = "tls")]
            Socket::Tls(tls) => ready(tls.write_vectored(parts)),
        };
        this.note_write(written)
    }

    fn is_write_vectored(&self) -> bool {
        // Otherwise hyper copies each body, and a copy is not counted among the bytes that wait for clients.
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match &mut this.socket {
            Socket::Plain(_) => Poll::Ready(Ok(())),
            #[cfg(feature = "tls")]
            Socket::Tls(tls) => {
                let flushed = ready(tls.flush());
                this.note_write(flushed)
            }
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Plain(socket) => Poll::Ready(socket.shutdown(Shutdown::Write)),
            #[cfg(feature = "tls")]
            Socket::Tls(tls) => ready(tls.shutdown()),
        }
    }
}

fn ready<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    result.map_or_else(or_pending, |value| Poll::Ready(Ok(value)))
}

fn or_pending<T>(error: io::Error) -> Poll<io::Result<T>> {
    if error.kind() == io::ErrorKind::WouldBlock { Poll::Pending } else { Poll::Ready(Err(error)) }
}

/// Reads the start of a request, and drops the bytes behind it.
fn receive_one(
    mut socket: &TcpStream,
    cursor: &mut ReadBufCursor<'_>,
    (first_request, progress): (fn(&[u8]) -> usize, &Progress),
) -> io::Result<usize> {
    let mut read = vec![0; cursor.remaining()];
    let size = io::Read::read(&mut socket, &mut read)?;
    let kept = first_request(&read[..size]);
    if kept < size {
        progress.note_pipelined();
    }
    cursor.put_slice(&read[..kept]);
    Ok(kept)
}

/// Reads what has come since the socket was drained.
fn receive_if_ready(socket: &TcpStream, cursor: &mut ReadBufCursor<'_>, readiness: &Readiness) -> io::Result<usize> {
    if !readiness.claim() {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let room = cursor.remaining();
    let size = receive(socket, cursor)?;
    if size == room {
        readiness.note_more();
    }
    Ok(size)
}

/// Reads directly into the uninitialized part of the buffer.
fn receive(socket: &TcpStream, cursor: &mut ReadBufCursor<'_>) -> io::Result<usize> {
    loop {
        match message::receive_into(socket, cursor) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
