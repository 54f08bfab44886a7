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
    /// Set if the file uses the reserved descriptor. It is dropped after the file.
    pub(super) lent: Option<Lent>,
    pub(super) identity: ReplyIdentity,
}

/// Tells a reply FIFO from a later one of the same name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyIdentity {
    /// The device and the inode.
    pub file: (u64, u64),
    /// The time of its creation in nanoseconds; 0 if the file system does not store it.
    pub born: i64,
}

impl ReplyIdentity {
    pub(super) fn of(inode: &Inode) -> Self {
        ReplyIdentity { file: (inode.id.device, inode.id.inode), born: inode.born }
    }
}

impl ReplyFifo {
    /// Returns true if the file uses the reserved descriptor, since the process had no other left.
    pub fn has_last_descriptor(&self) -> bool {
        self.lent.is_some()
    }

    /// The identity of this FIFO.
    pub fn identity(&self) -> ReplyIdentity {
        self.identity
    }

    /// Writes as many bytes as fit without waiting; 0 if the reader is slow.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match (&self.file).write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            other => other,
        }
    }

    /// Returns true if a write would not block: there is room, or the reader has left.
    pub fn is_ready(&self) -> bool {
        let mut fd = [nix::poll::PollFd::new(self.file.as_fd(), nix::poll::PollFlags::POLLOUT)];
        !matches!(nix::poll::poll(&mut fd, nix::poll::PollTimeout::ZERO), Ok(0))
    }

    /// The descriptor to poll.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
