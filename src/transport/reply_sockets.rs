//! Unnamed UNIX sockets that a server answers from, as OpenSIPS does.
//!
//! The kernel charges a datagram to its sender until the receiver reads it. With one socket for all clients, a few
//! clients that do not read fill the send buffer, and no other client gets a reply. While the buffer of the common
//! socket is full, clients are therefore answered from sockets of their own.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::own_sockets::OwnSockets;
use super::unnamed_socket::{Client, open, unread};

/// The common socket is used again once at least this fraction of its buffer is free.
const FREE_SHARE: usize = 2;
/// The number of replies from other sockets after which the common socket is checked.
const REPLIES_BETWEEN_LOOKS: usize = 64;

/// The sockets; those for single clients are opened on demand.
pub struct ReplySockets {
    common: OwnedFd,
    buffer: usize,
    is_crowded: AtomicBool,
    /// The number of replies since the common socket was full.
    replies: AtomicUsize,
    own: Mutex<OwnSockets>,
}

impl ReplySockets {
    /// Opens the common socket; the other sockets are opened on demand.
    pub fn new() -> io::Result<Self> {
        let (common, buffer) = open()?;
        let (is_crowded, replies) = (AtomicBool::new(false), AtomicUsize::new(0));
        Ok(ReplySockets { common, buffer, is_crowded, replies, own: Mutex::default() })
    }

    /// Returns true if the common socket is full, so that users get shares of the other sockets.
    pub fn is_crowded(&self) -> bool {
        self.is_crowded.load(Ordering::Relaxed)
    }

    /// Sends a reply from a socket that is not filled by the unread replies of other clients. `WouldBlock` if the
    /// client has no room, or has used up its share.
    pub fn send(&self, client: Client<'_>, send: impl Fn(BorrowedFd<'_>) -> io::Result<()>) -> io::Result<()> {
        if !self.is_crowded() {
            let result = send(self.common.as_fd());
            let is_full = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
            if !result.as_ref().is_err_and(is_full) || unread(self.common.as_fd()) < self.buffer {
                return result;
            }
            self.is_crowded.store(true, Ordering::Relaxed);
        }
        self.send_from_own(client, send)
    }

    #[cold]
    fn send_from_own(&self, client: Client<'_>, send: impl Fn(BorrowedFd<'_>) -> io::Result<()>) -> io::Result<()> {
        let replies = self.replies.fetch_add(1, Ordering::Relaxed);
        if replies % REPLIES_BETWEEN_LOOKS == REPLIES_BETWEEN_LOOKS - 1 {
            let has_room = unread(self.common.as_fd()) <= self.buffer / FREE_SHARE;
            self.is_crowded.store(!has_room, Ordering::Relaxed);
        }
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        send(own.socket_for(client).ok_or(io::ErrorKind::WouldBlock)?)
    }
}
