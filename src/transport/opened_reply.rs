//! The server's end of a reply FIFO.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use super::inode::Inode;
use super::spare::Lent;

/// A reply FIFO that has a reader. Closing it ends the reply.
#[derive(Debug)]
pub struct ReplyFifo {
    pub(super) file: File,
    /// Set when the file has the reserved descriptor. It is dropped after the file.
    pub(super) lent: Option<Lent>,
    pub(super) identity: ReplyIdentity,
}

/// Tells a reply FIFO from another one that has its name later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyIdentity {
    /// The device and the inode.
    pub file: (u64, u64),
    /// When it was made, in nanoseconds; 0 where the file system does not know.
    pub born: i64,
}

impl ReplyIdentity {
    pub(super) fn of(inode: &Inode) -> Self {
        ReplyIdentity { file: (inode.id.device, inode.id.inode), born: inode.born }
    }
}

impl ReplyFifo {
    /// Whether the process had no other descriptor left than the reserved one.
    pub fn has_last_descriptor(&self) -> bool {
        self.lent.is_some()
    }

    /// Which FIFO it is.
    pub fn identity(&self) -> ReplyIdentity {
        self.identity
    }

    /// Writes as much as fits without waiting; 0 when the reader is slow.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match (&self.file).write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            other => other,
        }
    }

    /// Whether a write would do something now: there is room, or the reader has left.
    pub fn is_ready(&self) -> bool {
        let mut fd = [nix::poll::PollFd::new(self.file.as_fd(), nix::poll::PollFlags::POLLOUT)];
        !matches!(nix::poll::poll(&mut fd, nix::poll::PollTimeout::ZERO), Ok(0))
    }

    /// For poll.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
