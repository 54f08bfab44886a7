//! TCP connections on the client's side. No call blocks: an operation that cannot proceed returns the events to wait
//! for.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};

use crate::sys::descriptor;

/// The outcome of an attempt to move bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// This many bytes were moved; 0 received bytes mark the end of the stream.
    Bytes(usize),
    /// No bytes now: wait for these events on the socket.
    Not(PollFlags),
}

/// A connection to a server.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
}

impl Stream {
    /// Starts to connect. The connection is ready when the socket is writable; [`Stream::outcome`] returns the result.
    pub fn begin(server: SocketAddr) -> io::Result<Self> {
        let family = if server.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd: OwnedFd = socket(family, SockType::Stream, flags, None)?;
        match connect(fd.as_raw_fd(), &SockaddrStorage::from(server)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        let socket = TcpStream::from(fd);
        // A request is written at once, so delaying its last segment gains nothing.
        socket.set_nodelay(true)?;
        Ok(Stream { socket })
    }

    /// The result of the connection attempt.
    pub fn outcome(&self) -> io::Result<()> {
        self.socket.take_error()?.map_or(Ok(()), Err)
    }

    /// Appends at most `most` available bytes.
    pub fn read(&self, bytes: &mut Vec<u8>, most: usize) -> io::Result<Moved> {
        moved(descriptor::append_from(&self.socket, bytes, most), PollFlags::POLLIN)
    }

    /// Writes as many bytes as fit.
    pub fn write(&self, bytes: &[u8]) -> io::Result<Moved> {
        moved((&self.socket).write(bytes), PollFlags::POLLOUT)
    }

    /// Returns true if the connection is open and has nothing to read.
    pub fn is_quiet(&self) -> bool {
        let peeked = moved(self.socket.peek(&mut [0]), PollFlags::POLLIN);
        matches!(peeked, Ok(Moved::Not(_)))
    }

    /// The descriptor to poll.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The socket itself, for layers with their own reading and writing.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }
}

/// The number of bytes moved, or the events to wait for if there were none.
pub(crate) fn moved(result: io::Result<usize>, otherwise: PollFlags) -> io::Result<Moved> {
    match result {
        Ok(count) => Ok(Moved::Bytes(count)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Ok(Moved::Not(otherwise))
        }
        Err(error) => Err(error),
    }
}
