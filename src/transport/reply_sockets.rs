//! Unnamed UNIX sockets that a server answers from, as OpenSIPS does.
//!
//! The kernel charges a datagram to its sender until the receiver reads it. With one socket for all, a few clients that
//! do not read fill the send buffer, and no other client gets an answer. So while the buffer of the common socket is
//! full, clients are answered from sockets of their own.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::own_sockets::OwnSockets;
use super::unnamed_socket::{Client, open, unread};

/// The common socket is used again when at least this part of its buffer is free.
const FREE_SHARE: usize = 2;
/// After so many replies from other sockets, the common one is looked at.
const REPLIES_BETWEEN_LOOKS: usize = 64;

/// The sockets; those of clients are opened when they are needed.
pub struct ReplySockets {
    common: OwnedFd,
    buffer: usize,
    is_crowded: AtomicBool,
    /// Replies since the common socket was full.
    replies: AtomicUsize,
    own: Mutex<OwnSockets>,
}

impl ReplySockets {
    /// The common socket, and places for others.
    pub fn new() -> io::Result<Self> {
        let (common, buffer) = open()?;
        let (is_crowded, replies) = (AtomicBool::new(false), AtomicUsize::new(0));
        Ok(ReplySockets { common, buffer, is_crowded, replies, own: Mutex::default() })
    }

    /// Whether the common socket is full, and users get shares of the other ones.
    pub fn is_crowded(&self) -> bool {
        self.is_crowded.load(Ordering::Relaxed)
    }

    /// Has a reply sent from a socket that is not full of what other clients have not read. `WouldBlock` when the client
    /// has no room, or has used up what it may leave unread.
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
