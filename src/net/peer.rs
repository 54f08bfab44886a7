//! Names of peers for people, from the addresses that the kernel gives.

use crate::peer::Peer;
use crate::sys::peer_address::PeerAddress;
use crate::transport::datagram::Received;

/// The name of a datagram's sender, with its user where the kernel tells.
pub fn sender_of(received: &Received) -> Peer {
    match peer_of(&received.peer) {
        Peer::Unix(name) => Peer::Unix(name.of_user(received.user)),
        other => other,
    }
}

/// The name of the peer that has an address.
pub fn peer_of(address: &PeerAddress) -> Peer {
    let inet = || address.inet().map(Peer::Inet);
    address.unix_path().map(|path| Peer::Unix(path.into())).or_else(inet).unwrap_or(Peer::Unknown)
}
