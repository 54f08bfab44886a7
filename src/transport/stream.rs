//! TCP connections from the client's side. Nothing here waits: what cannot be done now says what to wait for.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};

/// What became of a try to move bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// So many went or came; of what came, 0 is the end.
    Bytes(usize),
    /// None now: wait until the socket is ready for this.
    Not(PollFlags),
}

/// A connection to a server.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
}

impl Stream {
    /// Begins to connect. It is done when the socket can be written; [`Stream::outcome`] tells how it ended.
    pub fn begin(server: SocketAddr) -> io::Result<Self> {
        let family = if server.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd: OwnedFd = socket(family, SockType::Stream, flags, None)?;
        match connect(fd.as_raw_fd(), &SockaddrStorage::from(server)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        let socket = TcpStream::from(fd);
        // A request is one write, and nothing is gained by holding back its last segment.
        socket.set_nodelay(true)?;
        Ok(Stream { socket })
    }

    /// What became of the connection, or the error that ended it.
    pub fn outcome(&self) -> io::Result<()> {
        self.socket.take_error()?.map_or(Ok(()), Err)
    }

    /// Reads what is there.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Moved> {
        moved((&self.socket).read(buffer), PollFlags::POLLIN)
    }

    /// Writes what there is room for.
    pub fn write(&self, bytes: &[u8]) -> io::Result<Moved> {
        moved((&self.socket).write(bytes), PollFlags::POLLOUT)
    }

    /// Whether the connection is open and nothing waits to be read.
    pub fn is_quiet(&self) -> bool {
        let peeked = moved(self.socket.peek(&mut [0]), PollFlags::POLLIN);
        matches!(peeked, Ok(Moved::Not(_)))
    }

    /// For poll.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The socket itself, for what reads and writes it in its own way.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }
}

/// The count of bytes; what to wait for when there were none.
pub(crate) fn moved(result: io::Result<usize>, otherwise: PollFlags) -> io::Result<Moved> {
    match result {
        Ok(count) => Ok(Moved::Bytes(count)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Ok(Moved::Not(otherwise))
        }
        Err(error) => Err(error),
    }
}
