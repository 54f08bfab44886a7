//! Detects whether a client is still connected before its reply is complete.
//!
//! A client that closes its socket and one that only shuts down its sending side look the same: both send FIN. So the
//! server sends `100 Continue`, which every client of HTTP/1.1 skips. A closed socket answers with a reset.

use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::Version;
use nix::errno::Errno;
use nix::poll::{PollFlags, PollTimeout};
use nix::sys::socket::{self, MsgFlags};

use crate::sys::descriptor;

const QUESTION: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

pub(super) struct Probe {
    /// The connection's socket, which outlives this value.
    socket: RawFd,
    /// True if the probe would have to go through TLS. There, no client closes one direction alone.
    is_secure: bool,
    takes_questions: AtomicBool,
    has_asked: AtomicBool,
}

impl Probe {
    pub(super) fn new(socket: &TcpStream, is_secure: bool) -> Self {
        Probe {
            socket: socket.as_raw_fd(),
            is_secure,
            takes_questions: AtomicBool::new(false),
            has_asked: AtomicBool::new(false),
        }
    }

    pub(super) fn note_version(&self, version: Version) {
        self.takes_questions.store(version == Version::HTTP_11, Ordering::Relaxed);
        self.has_asked.store(false, Ordering::Relaxed);
    }

    /// Returns true if the client has left. To be called only within the connection's own future, before its reply
    /// starts.
    pub(super) fn client_has_left(&self) -> bool {
        let mut byte = [0u8; 1];
        match socket::recv(self.socket, &mut byte, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
            Ok(1..) => false,
            Ok(0) if self.is_secure => true,
            Ok(0) if self.has_asked.swap(true, Ordering::Relaxed) => self.was_reset(),
            Ok(0) => {
                self.ask();
                false
            }
            Err(errno) => !matches!(errno, Errno::EWOULDBLOCK | Errno::EINTR),
        }
    }

    fn ask(&self) {
        if self.takes_questions.load(Ordering::Relaxed) {
            // An error on a full or closed socket shows up later.
            let _ = socket::send(self.socket, QUESTION, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
        }
    }

    /// The number of bytes that the client has not acknowledged yet. To be called only while the connection's future
    /// cannot end.
    pub(super) fn unacknowledged(&self) -> usize {
        descriptor::unsent_bytes(self.socket).unwrap_or(0)
    }

    fn was_reset(&self) -> bool {
        let polled = descriptor::poll_number(self.socket, PollFlags::empty(), PollTimeout::ZERO);
        polled.is_ok_and(|found| found.intersects(PollFlags::POLLHUP | PollFlags::POLLERR))
    }
}
