//! A datagram and its answer in one piece of memory, which several processes may share.
//!
//! The kernel itself notes there that it has delivered the one and sent the other, before the process continues. When
//! that process is killed, another one reads from the memory which of both has happened.

use std::cell::UnsafeCell;
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use zerocopy::FromZeros;

use super::message::{Control, Credentials};
use super::peer_address::PeerAddress;

/// The largest datagram that is kept whole.
pub const ROOM: usize = 65_536;
/// The kernel has noted nothing yet.
const NOT_YET: u32 = u32::MAX;

/// A datagram, its sender, and the state of its answer. The kernel's headers lie in it, since the kernel notes its
/// progress there.
#[derive(FromZeros)]
#[repr(C)]
pub struct Envelope {
    received: Header,
    answered: UnsafeCell<Header>,
    peer: PeerAddress,
    control: Control,
    bytes: [u8; ROOM],
}

/// The bytes of an `mmsghdr`.
#[derive(FromZeros)]
#[repr(C, align(8))]
struct Header([u8; size_of::<libc::mmsghdr>()]);

const _: () = assert!(align_of::<Header>() >= align_of::<libc::mmsghdr>(), "the kernel's header is aligned");

impl Header {
    const LEN: usize = offset_of!(libc::mmsghdr, msg_len);
    const NAME_LEN: usize = offset_of!(libc::mmsghdr, msg_hdr) + offset_of!(libc::msghdr, msg_namelen);
    const CONTROL_LEN: usize = offset_of!(libc::mmsghdr, msg_hdr) + offset_of!(libc::msghdr, msg_controllen);

    fn clear(&mut self) {
        self.0[Self::LEN..Self::LEN + size_of::<u32>()].copy_from_slice(&NOT_YET.to_ne_bytes());
    }

    /// The size that the kernel noted.
    fn len(&self) -> Option<usize> {
        let len = u32::from_ne_bytes(self.field(Self::LEN));
        (len != NOT_YET).then_some(len as usize)
    }

    fn name_len(&self) -> libc::socklen_t {
        libc::socklen_t::from_ne_bytes(self.field(Self::NAME_LEN))
    }

    fn control_len(&self) -> usize {
        usize::from_ne_bytes(self.field(Self::CONTROL_LEN))
    }

    fn field<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.0[offset..offset + N]);
        field
    }
}

/// A datagram that was received into an [`Envelope`].
pub struct Delivery {
    /// Its own size, which may be larger than the part that was kept.
    pub size: usize,
    /// Its sender.
    pub peer: PeerAddress,
    /// The sender's process and user, where the socket asks for them.
    pub credentials: Option<Credentials>,
}

impl Envelope {
    /// Empties it.
    pub fn clear(&mut self) {
        self.received.clear();
    }

    /// Waits for a datagram (`recvmmsg(2)` of one message).
    pub fn receive(&mut self, socket: impl AsFd, flags: libc::c_int) -> io::Result<Delivery> {
        self.answered.get_mut().clear();
        let mut part = libc::iovec { iov_base: self.bytes.as_mut_ptr().cast(), iov_len: ROOM };
        let header = (&raw mut self.received).cast::<libc::mmsghdr>();
        // SAFETY: any bytes are an mmsghdr, and the header is aligned as one. Its parts live across the call and have
        // the sizes that it is told.
        let count = unsafe {
            (*header).msg_len = NOT_YET;
            let message = &raw mut (*header).msg_hdr;
            (*message).msg_name = self.peer.as_mut_ptr().cast();
            (*message).msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            (*message).msg_iov = &raw mut part;
            (*message).msg_iovlen = 1;
            (*message).msg_control = (&raw mut self.control).cast();
            (*message).msg_controllen = Control::LEN as _;
            let flags = flags | libc::MSG_CMSG_CLOEXEC;
            libc::recvmmsg(socket.as_fd().as_raw_fd(), header, 1, flags, ptr::null_mut())
        };
        let Some(size) = self.received.len().filter(|_| count == 1) else { return Err(io::Error::last_os_error()) };
        let credentials = self.control.credentials(self.received.control_len());
        Ok(Delivery { size, peer: self.peer(), credentials })
    }

    /// Sends the answer to the sender of the datagram (`sendmmsg(2)` of one message), without waiting.
    pub fn answer(&self, socket: impl AsFd, bytes: &[u8]) -> io::Result<()> {
        let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let header = self.answered.get().cast::<libc::mmsghdr>();
        // SAFETY: as above. The envelope is not shared between threads, so no other call uses the header. The kernel
        // only reads the address and the bytes.
        let count = unsafe {
            let message = &raw mut (*header).msg_hdr;
            (*message).msg_name = self.peer.as_ptr().cast_mut().cast();
            (*message).msg_namelen = self.received.name_len();
            (*message).msg_iov = &raw mut part;
            (*message).msg_iovlen = 1;
            (*message).msg_control = ptr::null_mut();
            (*message).msg_controllen = 0;
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            libc::sendmmsg(socket.as_fd().as_raw_fd(), header, 1, flags)
        };
        if count == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// The part of the datagram that was kept.
    pub fn datagram(&self) -> &[u8] {
        &self.bytes[..self.received.len().unwrap_or(0).min(ROOM)]
    }

    /// The datagram and its sender, if one was received and its answer was not sent.
    pub fn unanswered(&mut self) -> Option<(&[u8], PeerAddress)> {
        let is_in_flight = self.received.len().is_some() && self.answered.get_mut().len().is_none();
        is_in_flight.then(|| (self.datagram(), self.peer()))
    }

    /// The memory of the datagram, for other uses of an envelope without one.
    pub fn room(&mut self) -> &mut [u8; ROOM] {
        &mut self.bytes
    }

    fn peer(&self) -> PeerAddress {
        let mut peer = self.peer;
        peer.set_len(self.received.name_len());
        peer
    }
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::*;
    use crate::transport::Access;
    use crate::transport::datagram::Socket;

    #[test]
    fn the_kernel_notes_which_datagram_it_delivered_and_which_answer_it_sent() {
        let name = format!("@sipmi-envelope-{}", std::process::id());
        let server = Socket::bind_unix(name.as_ref(), Access::default()).expect("a free name");
        let mut envelope = Box::new(Envelope::new_zeroed());
        let address = |name: &str| SocketAddr::from_abstract_name(&name[1..]).expect("a name");
        let bound = UnixDatagram::bind_addr(&address(&format!("{name}-back"))).expect("a free name");
        let to = address(&name);
        bound.send_to_addr(b"hello", &to).expect("it is there");
        let received = envelope.receive(&server, libc::MSG_TRUNC).expect("it was sent");
        assert_eq!(received.size, 5);
        assert_eq!(envelope.unanswered().expect("it is in flight").0, b"hello");
        envelope.answer(&server, b"good day").expect("it listens");
        assert!(envelope.unanswered().is_none());
        let mut buffer = [0; 100];
        assert_eq!(bound.recv(&mut buffer).expect("it was answered"), 8);
        let nothing = envelope.receive(&server, libc::MSG_DONTWAIT);
        assert_eq!(nothing.err().map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
        assert!(envelope.unanswered().is_none());
    }
}
