//! Datagram sockets from the client's side: each is connected to one server, and hears nobody else.

use std::io;
use std::mem::size_of;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

/// A socket that is connected to a server.
#[derive(Debug)]
pub struct Connected {
    fd: OwnedFd,
}

impl Connected {
    /// A UDP socket on a free port. `wake` is how long [`Connected::receive`] may block.
    pub fn udp(server: SocketAddr, wake: Duration) -> io::Result<Self> {
        let any: SocketAddr = match server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(wake))?;
        Ok(Connected { fd: socket.into() })
    }

    /// A UNIX socket with a name of the kernel's choosing, without which a server could not answer. A server's path
    /// that begins with `@` is abstract.
    pub fn unix(server: &Path, wake: Duration) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        bind_to_free_name(&socket)?;
        match server.as_os_str().as_bytes().strip_prefix(b"@") {
            Some(name) => {
                use std::os::linux::net::SocketAddrExt;
                socket.connect_addr(&std::os::unix::net::SocketAddr::from_abstract_name(name)?)?;
            }
            None => socket.connect(server)?,
        }
        socket.set_read_timeout(Some(wake))?;
        Ok(Connected { fd: socket.into() })
    }

    /// Sends a datagram; false when there is no room for it now.
    pub fn send(&self, bytes: &[u8]) -> io::Result<bool> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the bytes live across the call and have the size it is told.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
        Ok(count(sent)?.is_some())
    }

    /// Waits a moment for a datagram and gives its size, which is larger than the buffer when it was cut.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        self.receive_with(buffer, libc::MSG_TRUNC)
    }

    /// As [`Connected::receive`], without waiting.
    pub fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        self.receive_with(buffer, libc::MSG_TRUNC | libc::MSG_DONTWAIT)
    }

    fn receive_with(&self, buffer: &mut [u8], flags: libc::c_int) -> io::Result<Option<usize>> {
        // SAFETY: the buffer lives across the call and has the size it is told.
        count(unsafe { libc::recv(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), flags) })
    }

    /// For poll.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The count that a call gave; `None` when it would have had to wait, or a signal came.
fn count(result: isize) -> io::Result<Option<usize>> {
    match usize::try_from(result) {
        Ok(count) => Ok(Some(count)),
        Err(_) => match io::Error::last_os_error() {
            error if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
            error => Err(error),
        },
    }
}

fn bind_to_free_name(socket: &UnixDatagram) -> io::Result<()> {
    let family = libc::AF_UNIX as libc::sa_family_t;
    // SAFETY: of the address only the family is given, and its size; the kernel reads no more than that.
    let result = unsafe {
        libc::bind(socket.as_raw_fd(), (&raw const family).cast(), size_of::<libc::sa_family_t>() as libc::socklen_t)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
