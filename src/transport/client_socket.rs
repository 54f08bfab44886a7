//! Datagram sockets of a client. A socket accepts datagrams of one server only.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{self, MsgFlags};

pub use super::client_unix::UnixClient;
use super::client_unix::count;

/// A socket for a client's calls to one server.
#[derive(Debug)]
pub enum ClientSocket {
    /// Connected to the server, so the kernel drops datagrams from other senders.
    Udp(OwnedFd),
    /// Not connected, since servers answer from a second socket.
    Unix(Box<UnixClient>),
}

impl ClientSocket {
    /// Opens a UDP socket on a free port. `wake` is how long [`ClientSocket::receive`] may block.
    pub fn udp(server: SocketAddr, wake: Duration) -> io::Result<Self> {
        let any: SocketAddr = match server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(wake))?;
        Ok(ClientSocket::Udp(socket.into()))
    }

    /// Opens a UNIX socket. A server's path that begins with `@` is abstract.
    pub fn unix(server: &Path, wake: Duration) -> io::Result<Self> {
        Ok(ClientSocket::Unix(Box::new(UnixClient::new(server, wake)?)))
    }

    /// Sends a datagram; false when there is no room for it now.
    pub fn try_send(&self, bytes: &[u8]) -> io::Result<bool> {
        match self {
            ClientSocket::Udp(fd) => {
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                let sent = socket::send(fd.as_raw_fd(), bytes, flags).map_err(io::Error::from);
                Ok(count(sent)?.is_some())
            }
            ClientSocket::Unix(socket) => socket.send(bytes, libc::MSG_DONTWAIT),
        }
    }

    /// Waits briefly for a datagram and returns its size, which is larger than the buffer if it was truncated.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        self.receive_with(buffer, libc::MSG_TRUNC)
    }

    /// Receives like [`ClientSocket::receive`], without waiting.
    pub fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        self.receive_with(buffer, libc::MSG_TRUNC | libc::MSG_DONTWAIT)
    }

    fn receive_with(&self, buffer: &mut [u8], flags: libc::c_int) -> io::Result<Option<usize>> {
        match self {
            ClientSocket::Udp(fd) => {
                let flags = MsgFlags::from_bits_retain(flags);
                count(socket::recv(fd.as_raw_fd(), buffer, flags).map_err(io::Error::from))
            }
            ClientSocket::Unix(socket) => socket.receive(buffer, flags),
        }
    }

    /// The descriptor to poll.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            ClientSocket::Udp(fd) => fd.as_fd(),
            ClientSocket::Unix(socket) => socket.as_fd(),
        }
    }
}
