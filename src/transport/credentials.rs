//! The user who sent a UNIX datagram, as the kernel tells (`SO_PASSCRED` and `SCM_CREDENTIALS` in unix(7)).

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::AsRawFd;
use std::ptr;

use super::datagram::{RawPeer, Received, Socket, check};

// SAFETY: it computes a size.
const ROOM: usize = unsafe { libc::CMSG_SPACE(size_of::<libc::ucred>() as u32) as usize };

/// Room for the sender's credentials and nothing else, aligned as control messages are. Descriptors that a stranger
/// sends along find no room.
#[derive(Default)]
#[repr(C, align(8))]
pub(super) struct Control([u8; ROOM]);

/// Has the kernel tell who sends to a socket, from now on.
pub(super) fn pass_credentials(socket: &impl AsRawFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is an int that lives across the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PASSCRED,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Who sent a message, as the kernel says.
///
/// # Safety
/// The kernel has filled the message, whose control buffer lives.
pub(super) unsafe fn credentials(message: *const libc::msghdr) -> Option<libc::ucred> {
    // SAFETY: the caller has them; a control message of this kind holds credentials.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(message);
        let is_theirs = !header.is_null()
            && (*header).cmsg_level == libc::SOL_SOCKET
            && (*header).cmsg_type == libc::SCM_CREDENTIALS;
        is_theirs.then(|| ptr::read_unaligned(libc::CMSG_DATA(header).cast()))
    }
}

impl Socket {
    /// Has the kernel tell the user who sends, from now on.
    pub fn ask_for_users(&self) -> io::Result<()> {
        pass_credentials(&self.raw())
    }

    /// As [`Socket::receive_with`], and with the sender's user after [`Socket::ask_for_users`].
    pub fn receive_with_user(&self, buffer: &mut [u8], flags: libc::c_int) -> io::Result<Received> {
        let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
        let mut control = Control::default();
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: any bytes are a msghdr.
        let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        message.msg_name = storage.as_mut_ptr().cast();
        message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = size_of::<Control>() as _;
        // SAFETY: the message's parts live across the call and have the sizes it is told.
        let size = check(unsafe { libc::recvmsg(self.raw(), &raw mut message, flags | libc::MSG_CMSG_CLOEXEC) })?;
        // SAFETY: the kernel has filled the message; the storage was zeroed before, and any bytes are an address.
        let (sender, storage) = unsafe { (credentials(&raw const message), storage.assume_init()) };
        let peer = RawPeer { storage, len: message.msg_namelen };
        Ok(Received { size, peer, user: sender.map(|sender| sender.uid) })
    }
}
