//! An unnamed UNIX socket to send replies from, with a send buffer of a known size.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

use nix::sys::socket::{getsockopt, setsockopt, sockopt};

use crate::sys::descriptor;

/// The requested buffer size. The kernel doubles it for its own bookkeeping, and may give less (`wmem_max`).
const BUFFER: usize = 512 << 10;

/// The client that a reply is for: its address, and its user if the kernel tells.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    /// The address as the kernel gave it.
    pub address: &'a [u8],
    /// The user who sent the request.
    pub user: Option<u32>,
}

/// An unnamed socket, and the size of its send buffer.
pub(super) fn open() -> io::Result<(OwnedFd, usize)> {
    let socket = OwnedFd::from(UnixDatagram::unbound()?);
    let buffer = enlarge_buffer(socket.as_fd(), BUFFER)?;
    Ok((socket, buffer))
}

/// The number of bytes sent from a socket and not read yet, as the kernel charges them.
pub fn unread(socket: BorrowedFd<'_>) -> usize {
    descriptor::unsent_bytes(socket.as_raw_fd()).unwrap_or(0)
}

/// Enlarges the send buffer to this size, or to the system's limit, and returns its size.
pub fn enlarge_buffer(socket: BorrowedFd<'_>, bytes: usize) -> io::Result<usize> {
    // Root may exceed wmem_max; other users get no more than that.
    if setsockopt(&socket, sockopt::SndBufForce, &bytes).is_err() {
        let _ = setsockopt(&socket, sockopt::SndBuf, &bytes);
    }
    Ok(getsockopt(&socket, sockopt::SndBuf)?)
}
