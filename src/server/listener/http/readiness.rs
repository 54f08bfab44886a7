//! Readiness of a socket for reading, so that a read that would find nothing is left out.

use std::sync::atomic::{AtomicU8, Ordering};

use nix::sys::epoll::EpollFlags;

/// Tracks whether a socket may have bytes to read, by the reports of an edge-triggered epoll and by short reads.
///
/// A short read has drained the socket, and epoll reports all that comes afterwards (epoll(7), question 9). The
/// end of a stream is reported once, perhaps together with its last bytes, so it stays known.
pub(super) struct Readiness(AtomicU8);

const DRAINED: u8 = 0;
const READABLE: u8 = 1;
const ENDED: u8 = 2;

impl Default for Readiness {
    fn default() -> Self {
        Readiness(AtomicU8::new(READABLE))
    }
}

impl Readiness {
    /// Notes a report of epoll.
    pub(super) fn note(&self, events: EpollFlags) {
        if events.intersects(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            self.0.store(ENDED, Ordering::Release);
        } else if events.contains(EpollFlags::EPOLLIN) {
            self.note_more();
        }
    }

    /// Notes that the last read may have left something.
    pub(super) fn note_more(&self) {
        self.0.fetch_max(READABLE, Ordering::Release);
    }

    /// Returns true if a read may find something. The socket counts as drained from now on, so a report that comes
    /// during the read is not lost.
    pub(super) fn claim(&self) -> bool {
        match self.0.compare_exchange(READABLE, DRAINED, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => true,
            Err(state) => state == ENDED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drained_socket_is_read_again_after_a_report() {
        let readiness = Readiness::default();
        assert!(readiness.claim(), "nothing is known of a new connection");
        assert!(!readiness.claim());
        readiness.note(EpollFlags::EPOLLOUT);
        assert!(!readiness.claim(), "room to write is nothing to read");
        readiness.note(EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT);
        assert!(readiness.claim());
        assert!(!readiness.claim());
    }

    #[test]
    fn an_end_that_came_with_the_last_bytes_is_still_read() {
        let readiness = Readiness::default();
        readiness.note(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP);
        assert!(readiness.claim(), "the bytes");
        assert!(readiness.claim(), "the end");
        readiness.note(EpollFlags::EPOLLIN);
        assert!(readiness.claim());
    }
}
