//! Whether a client is still there while its answer is being made.
//!
//! One that closes its socket and one that only has nothing more to say look the same: both send the end of their
//! stream. So it is told `100 Continue`, which every client of HTTP/1.1 skips: from a closed socket comes a reset.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::Version;

const QUESTION: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

pub(super) struct Probe {
    /// The connection's socket, which lives as long as whoever asks.
    socket: RawFd,
    /// What is sent must go through TLS, where nobody closes one side alone.
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

    /// Only from within the connection's own future, before its answer begins.
    pub(super) fn client_has_left(&self) -> bool {
        let mut byte = [0u8; 1];
        // SAFETY: the socket is open, since its owner is being polled; the buffer is a live local of that size.
        let peeked = unsafe {
            libc::recv(self.socket, byte.as_mut_ptr().cast(), byte.len(), libc::MSG_PEEK | libc::MSG_DONTWAIT)
        };
        match peeked {
            1.. => false,
            0 if self.is_secure => true,
            0 if self.has_asked.swap(true, Ordering::Relaxed) => self.was_reset(),
            0 => {
                self.ask();
                false
            }
            _ => !matches!(io::Error::last_os_error().kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        }
    }

    fn ask(&self) {
        if self.takes_questions.load(Ordering::Relaxed) {
            // SAFETY: the socket is open, and the bytes live for ever. One that is full or closed shows it later.
            unsafe {
                let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
                libc::send(self.socket, QUESTION.as_ptr().cast(), QUESTION.len(), flags);
            }
        }
    }

    /// How many bytes the client has not acknowledged yet. Only while the connection's future cannot end.
    pub(super) fn unacknowledged(&self) -> libc::c_int {
        let mut bytes: libc::c_int = 0;
        // SAFETY: the kernel writes one number to a live local (tcp(7), SIOCOUTQ, which Linux calls TIOCOUTQ as well).
        unsafe { libc::ioctl(self.socket, libc::TIOCOUTQ, &raw mut bytes) };
        bytes
    }

    fn was_reset(&self) -> bool {
        let mut fd = libc::pollfd { fd: self.socket, events: 0, revents: 0 };
        // SAFETY: one live local.
        unsafe { libc::poll(&raw mut fd, 1, 0) > 0 && fd.revents & (libc::POLLHUP | libc::POLLERR) != 0 }
    }
}
