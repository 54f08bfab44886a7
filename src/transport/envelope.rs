//! A datagram and its answer in one piece of memory, such as several processes share.
//!
//! The kernel itself notes there that it has handed out the one and taken the other, before the process that asked goes
//! on. So when that process is killed, whoever looks at the memory knows which of both has happened.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};

use super::credentials::{Control, credentials};
use super::datagram::{RawPeer, Received, Socket};

/// The largest datagram that is kept whole.
const ROOM: usize = 65_536;
/// The kernel has noted nothing yet.
const NOT_YET: u32 = u32::MAX;

/// A place for a datagram, its sender, and how far its answer is. Any bytes are one.
#[repr(C)]
pub struct Envelope {
    received: libc::mmsghdr,
    received_part: libc::iovec,
    answered: libc::mmsghdr,
    answered_part: libc::iovec,
    peer: libc::sockaddr_storage,
    control: Control,
    bytes: [u8; ROOM],
}

impl Envelope {
    /// Nothing is in it.
    ///
    /// # Safety
    /// `this` is valid, and nobody else uses it meanwhile.
    pub unsafe fn clear(this: NonNull<Self>) {
        // SAFETY: the caller has it.
        unsafe { (*this.as_ptr()).received.msg_len = NOT_YET };
    }

    /// Waits for a datagram, as [`Socket::receive`] does.
    ///
    /// # Safety
    /// `this` is valid, and nobody else uses it meanwhile.
    pub unsafe fn receive(this: NonNull<Self>, socket: &Socket, flags: libc::c_int) -> io::Result<Received> {
        let this = this.as_ptr();
        // SAFETY: the pointers are to parts of one envelope, which the caller has; all parts are plain numbers.
        unsafe {
            (*this).answered.msg_len = NOT_YET;
            (*this).received_part = libc::iovec { iov_base: (&raw mut (*this).bytes).cast(), iov_len: ROOM };
            let header = &raw mut (*this).received;
            (*header).msg_len = NOT_YET;
            (*header).msg_hdr.msg_name = (&raw mut (*this).peer).cast();
            (*header).msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            (*header).msg_hdr.msg_iov = &raw mut (*this).received_part;
            (*header).msg_hdr.msg_iovlen = 1;
            (*header).msg_hdr.msg_control = (&raw mut (*this).control).cast();
            (*header).msg_hdr.msg_controllen = size_of::<Control>() as _;
            let count = libc::recvmmsg(socket.raw(), header, 1, flags | libc::MSG_CMSG_CLOEXEC, ptr::null_mut());
            if count < 1 {
                return Err(io::Error::last_os_error());
            }
            let user = credentials(&raw const (*header).msg_hdr).map(|sender| sender.uid);
            Ok(Received { size: (*header).msg_len as usize, peer: Self::peer(this), user })
        }
    }

    /// Sends the answer to the sender of the datagram, as [`send_from`](super::datagram::send_from) does.
    ///
    /// # Safety
    /// `this` is valid and holds a datagram, and nobody else uses it meanwhile.
    pub unsafe fn answer(this: NonNull<Self>, from: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
        let this = this.as_ptr();
        // SAFETY: as above; the bytes live across the call, and the kernel only reads them.
        unsafe {
            (*this).answered_part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            let header = &raw mut (*this).answered;
            (*header).msg_hdr.msg_name = (&raw mut (*this).peer).cast();
            (*header).msg_hdr.msg_namelen = (*this).received.msg_hdr.msg_namelen;
            (*header).msg_hdr.msg_iov = &raw mut (*this).answered_part;
            (*header).msg_hdr.msg_iovlen = 1;
            (*header).msg_hdr.msg_control = ptr::null_mut();
            (*header).msg_hdr.msg_controllen = 0;
            match libc::sendmmsg(from.as_raw_fd(), header, 1, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) {
                1 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        }
    }

    /// What was received, as far as it was kept.
    ///
    /// # Safety
    /// `this` is valid, holds a datagram, and stays as it is for as long as the bytes are used.
    pub unsafe fn bytes<'a>(this: NonNull<Self>) -> &'a [u8] {
        // SAFETY: the bytes are within the envelope, and any byte is a byte.
        unsafe {
            let len = ((*this.as_ptr()).received.msg_len as usize).min(ROOM);
            std::slice::from_raw_parts((&raw const (*this.as_ptr()).bytes).cast(), len)
        }
    }

    /// The datagram and its sender, if one was received and its answer was not sent. Of a process that has ended.
    ///
    /// # Safety
    /// As for [`Envelope::bytes`].
    pub unsafe fn unanswered<'a>(this: NonNull<Self>) -> Option<(&'a [u8], RawPeer)> {
        let envelope = this.as_ptr();
        // SAFETY: all parts are plain numbers.
        let is_in_hand =
            unsafe { (*envelope).received.msg_len != NOT_YET && (*envelope).answered.msg_len == NOT_YET };
        // SAFETY: it holds a datagram; the caller says that it stays.
        is_in_hand.then(|| unsafe { (Self::bytes(this), Self::peer(envelope)) })
    }

    /// # Safety
    /// `this` is valid and holds a datagram.
    unsafe fn peer(this: *mut Self) -> RawPeer {
        // SAFETY: any bytes are an address, and the kernel says how many of them count.
        unsafe { RawPeer { storage: (*this).peer, len: (*this).received.msg_hdr.msg_namelen } }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::*;
    use crate::shared::Region;
    use crate::transport::Access;

    #[test]
    fn the_kernel_notes_what_it_has_handed_out_and_what_it_has_taken() {
        let name = format!("@sipmi-envelope-{}", std::process::id());
        let server = Socket::bind_unix(name.as_ref(), Access::default()).expect("a free name");
        let region = Region::new(size_of::<Envelope>());
        let envelope = region.at::<Envelope>(0);
        let address = |name: &str| SocketAddr::from_abstract_name(&name[1..]).expect("a name");
        let bound = UnixDatagram::bind_addr(&address(&format!("{name}-back"))).expect("a free name");
        let to = address(&name);
        bound.send_to_addr(b"hello", &to).expect("it is there");
        // SAFETY: the envelope is this test's own.
        unsafe {
            let received = Envelope::receive(envelope, &server, libc::MSG_TRUNC).expect("it was sent");
            assert_eq!(received.size, 5);
            assert_eq!(Envelope::unanswered(envelope).expect("it is in hand").0, b"hello");
            Envelope::answer(envelope, server.as_fd(), b"good day").expect("it listens");
            assert!(Envelope::unanswered(envelope).is_none());
            let mut buffer = [0; 100];
            assert_eq!(bound.recv(&mut buffer).expect("it was answered"), 8);
            let nothing = Envelope::receive(envelope, &server, libc::MSG_DONTWAIT);
            assert_eq!(nothing.err().map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
            assert!(Envelope::unanswered(envelope).is_none());
        }
    }
}
