//! The client that a reply is for.

use crate::sys::peer_address::PeerAddress;
use crate::transport::unnamed_socket::Client;

/// The address and the user of a client.
#[derive(Clone, Copy)]
pub(crate) struct Recipient {
    pub(crate) peer: PeerAddress,
    /// The sender's user, if the kernel was asked for it.
    pub(crate) user: Option<u32>,
}

impl Recipient {
    pub(super) fn as_client(&self) -> Client<'_> {
        Client { address: self.peer.as_bytes(), user: self.user }
    }
}
