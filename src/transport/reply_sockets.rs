//! Unnamed UNIX sockets that a server answers from, as OpenSIPS does.
//!
//! The kernel charges a datagram to its sender until the receiver reads it. With one socket for all, a few clients that
//! do not read fill the send buffer, and no other client gets an answer. So a socket whose buffer is full is left to
//! its readers, and another one takes its place. The number of sockets bounds the bytes that wait in the kernel.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::socket::{getsockopt, setsockopt, sockopt};

use crate::sys::descriptor;

/// With their buffers, 64 MiB wait in the kernel at most.
const SOCKETS: usize = 64;
/// The buffer that is asked for; the kernel doubles it for its own bookkeeping, and may give less (`wmem_max`).
const BUFFER: usize = 512 << 10;
/// A socket takes over when at least this part of its buffer is free.
const FREE_SHARE: usize = 2;

/// The sockets; they are opened when they are needed.
pub struct ReplySockets {
    first: OwnedFd,
    /// Number 0 stays empty, and means the first.
    others: [OnceLock<OwnedFd>; SOCKETS],
    current: AtomicUsize,
    buffer: usize,
}

impl ReplySockets {
    /// One socket, and places for others.
    pub fn new() -> io::Result<Self> {
        let first = open()?;
        let buffer = enlarge_buffer(first.as_fd(), BUFFER)?;
        let others = [const { OnceLock::new() }; SOCKETS];
        Ok(ReplySockets { first, others, current: AtomicUsize::new(0), buffer })
    }

    /// The socket that replies are sent from.
    pub fn current(&self) -> BorrowedFd<'_> {
        self.socket(self.current.load(Ordering::Relaxed))
    }

    /// After a send that would have had to wait: puts another socket in the place of one whose buffer is full. False
    /// when it is the receiver that is full, or no socket has room.
    pub fn make_room(&self) -> bool {
        let full = self.current.load(Ordering::Relaxed);
        if unread(self.socket(full)) < self.buffer {
            return false;
        }
        let others = (1..SOCKETS).map(|step| (full + step) % SOCKETS);
        let Some(next) = others.into_iter().find(|number| self.has_room(*number)) else { return false };
        // Another thread may have changed it meanwhile, to one with room.
        let _ = self.current.compare_exchange(full, next, Ordering::Relaxed, Ordering::Relaxed);
        true
    }

    /// Whether a socket is open, or can be, and much of its buffer is free.
    fn has_room(&self, number: usize) -> bool {
        let place = &self.others[number];
        if number > 0 && place.get().is_none() {
            let Ok(socket) = open() else { return false };
            if enlarge_buffer(socket.as_fd(), BUFFER).is_err() {
                return false;
            }
            // Another thread may have opened it meanwhile.
            let _ = place.set(socket);
        }
        unread(self.socket(number)) <= self.buffer / FREE_SHARE
    }

    fn socket(&self, number: usize) -> BorrowedFd<'_> {
        self.others[number].get().unwrap_or(&self.first).as_fd()
    }
}

fn open() -> io::Result<OwnedFd> {
    Ok(UnixDatagram::unbound()?.into())
}

/// Bytes that were sent from a socket and are not read yet, as the kernel charges them.
pub fn unread(socket: BorrowedFd<'_>) -> usize {
    descriptor::unsent_bytes(socket.as_raw_fd()).unwrap_or(0)
}

/// Makes the send buffer this large, or as large as the system allows, and says how large it is.
pub fn enlarge_buffer(socket: BorrowedFd<'_>, bytes: usize) -> io::Result<usize> {
    // Root may exceed wmem_max; everybody else gets as much as that allows.
    if setsockopt(&socket, sockopt::SndBufForce, &bytes).is_err() {
        let _ = setsockopt(&socket, sockopt::SndBuf, &bytes);
    }
    Ok(getsockopt(&socket, sockopt::SndBuf)?)
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    use super::*;
    use crate::sys::peer_address::PeerAddress;
    use crate::transport::datagram::send_from;

    /// A bound socket that never reads, and its address.
    fn stalled(number: usize) -> (UnixDatagram, PeerAddress) {
        let name = format!("sipmi-stalled-{}-{number}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("a free name");
        (socket, PeerAddress::unix(format!("@{name}").as_bytes()).expect("a name"))
    }

    #[test]
    fn a_full_socket_is_replaced_and_a_full_receiver_is_not_a_reason_for_it() {
        let sockets = ReplySockets::new().expect("a socket");
        let bytes = vec![0; 60_000];
        let mut readers = Vec::new();
        for number in 0..8 {
            let (reader, peer) = stalled(number);
            readers.push(reader);
            let mut sent = 0;
            while send_from(sockets.current(), &bytes, &peer).is_ok() || sockets.make_room() {
                sent += 1;
                assert!(sent < 100, "the queue of a receiver has an end");
            }
            assert!(sent > 1);
        }
        assert!(sockets.current.load(Ordering::Relaxed) > 0, "the first is full");
        let (reader, peer) = stalled(8);
        send_from(sockets.current(), b"honest", &peer).expect("it has room");
        assert_eq!(reader.recv(&mut [0; 100]).expect("it was sent"), 6);
    }
}
