//! Datagrams with their sender's address and user, and reads into hyper's buffers.

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd};

use hyper::rt::ReadBufCursor;
use zerocopy::FromZeros;

use super::peer_address::PeerAddress;

/// The process and the user of a sender, as the kernel tells (`SCM_CREDENTIALS` in unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its process.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
}

/// The data of a control message begins at a multiple of its header's alignment.
const DATA: usize = size_of::<libc::cmsghdr>().next_multiple_of(size_of::<usize>());
const ROOM: usize = DATA + size_of::<libc::ucred>().next_multiple_of(size_of::<usize>());

/// Room for the sender's credentials and nothing else, aligned as control messages are. The kernel drops descriptors
/// that a peer sends along.
#[derive(FromZeros)]
#[repr(C, align(8))]
pub(super) struct Control([u8; ROOM]);

impl Control {
    pub(super) const LEN: usize = ROOM;

    pub(super) const fn empty() -> Self {
        Control([0; ROOM])
    }

    /// The credentials in the first `len` bytes, which the kernel has filled.
    pub(super) fn credentials(&self, len: usize) -> Option<Credentials> {
        let level = i32::from_ne_bytes(self.field(offset_of!(libc::cmsghdr, cmsg_level)));
        let kind = i32::from_ne_bytes(self.field(offset_of!(libc::cmsghdr, cmsg_type)));
        let is_theirs = level == libc::SOL_SOCKET && kind == libc::SCM_CREDENTIALS;
        (is_theirs && len >= DATA + size_of::<libc::ucred>()).then(|| Credentials {
            pid: i32::from_ne_bytes(self.field(DATA + offset_of!(libc::ucred, pid))),
            uid: u32::from_ne_bytes(self.field(DATA + offset_of!(libc::ucred, uid))),
        })
    }

    fn field<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.0[offset..offset + N]);
        field
    }
}

/// Receives a datagram and its sender's address (`recvfrom(2)`). With `MSG_TRUNC` the size is the datagram's own, which
/// may be larger than the buffer.
#[inline]
pub fn receive_from(socket: impl AsFd, buffer: &mut [u8], flags: libc::c_int) -> io::Result<(usize, PeerAddress)> {
    let mut peer = PeerAddress::empty();
    let mut len = peer.len();
    let (fd, place, room) = (socket.as_fd().as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: buffer, address and length live across the call and have the sizes that it is told.
    let size = count(unsafe { libc::recvfrom(fd, place, room, flags, peer.as_mut_ptr(), &raw mut len) })?;
    peer.set_len(len);
    Ok((size, peer))
}

/// As [`receive_from`], with the sender's credentials, where the socket asks for them (`SO_PASSCRED`).
pub fn receive_with_credentials(
    socket: impl AsFd,
    buffer: &mut [u8],
    flags: libc::c_int,
) -> io::Result<(usize, PeerAddress, Option<Credentials>)> {
    let (mut peer, mut control) = (PeerAddress::empty(), Control::empty());
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: any bytes are a msghdr. Its parts live across the call and have the sizes that it is told.
    let (size, message) = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_name = peer.as_mut_ptr().cast();
        message.msg_namelen = peer.len();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = Control::LEN as _;
        let flags = flags | libc::MSG_CMSG_CLOEXEC;
        (libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, flags), message)
    };
    let size = count(size)?;
    peer.set_len(message.msg_namelen);
    Ok((size, peer, control.credentials(message.msg_controllen)))
}

/// Sends a datagram to an address (`sendto(2)`).
#[inline]
pub fn send_to(socket: impl AsFd, bytes: &[u8], flags: libc::c_int, peer: &PeerAddress) -> io::Result<()> {
    let (fd, place) = (socket.as_fd().as_raw_fd(), bytes.as_ptr().cast());
    // SAFETY: bytes and address live across the call and have the sizes that it is told.
    count(unsafe { libc::sendto(fd, place, bytes.len(), flags, peer.as_ptr(), peer.len()) }).map(drop)
}

/// Reads from a stream straight into the unfilled part of hyper's buffer, without zeroing it first (`recv(2)`).
pub fn receive_into(socket: impl AsFd, cursor: &mut ReadBufCursor<'_>) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `free.len()` bytes to the buffer, out of which nothing is taken, and the
    // cursor is advanced over those that it wrote.
    unsafe {
        let free = cursor.as_mut();
        let size = count(libc::recv(socket.as_fd().as_raw_fd(), free.as_mut_ptr().cast(), free.len(), 0))?;
        cursor.advance(size);
        Ok(size)
    }
}

/// The count that a call gave, or the error of the system.
#[inline]
fn count(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
