//! Keeps datagram listeners from answering each other, or themselves, for ever after one spoofed datagram.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Instant;

use crate::address::Address;
use crate::codec::answer::looks_like_answer;
use crate::codec::jsonrpc::Incoming;
use crate::command::Peer;
use crate::command::rate::Rate;
use crate::server::dispatch::asked::Asked;

/// Answers a second to what is no request, for each peer. Other services (chargen, RFC 864) answer everything.
const ERRORS_PER_SECOND: f64 = 200.0;

/// What a listener goes by.
pub(crate) struct LoopGuard {
    own: OwnAddress,
    errors: Rate,
}

enum OwnAddress {
    Udp(SocketAddr),
    Unix(Vec<u8>),
    Unknown,
}

impl LoopGuard {
    /// For a listener at an address, as it is bound.
    pub(crate) fn new(address: &Address) -> Self {
        let own = match address {
            Address::Udp { host, port } => {
                host.parse().map_or(OwnAddress::Unknown, |ip: IpAddr| OwnAddress::Udp((ip, *port).into()))
            }
            Address::Unix { path } => OwnAddress::Unix(kernel_name(path)),
            _ => OwnAddress::Unknown,
        };
        LoopGuard { own, errors: Rate::new(ERRORS_PER_SECOND) }
    }

    /// Whether a datagram is left without an answer. A good request never is, except one that bears the listener's own
    /// address.
    pub(crate) fn drops(&self, datagram: &[u8], asked: &Asked, peer: &Peer) -> bool {
        if self.own.is(peer) {
            return true;
        }
        if !is_unreadable(asked) {
            return false;
        }
        let can_be_spoofed = matches!(peer, Peer::Inet(_));
        looks_like_answer(datagram) || (can_be_spoofed && !self.errors.allows(peer, Instant::now()))
    }
}

impl OwnAddress {
    fn is(&self, peer: &Peer) -> bool {
        match (self, peer) {
            (OwnAddress::Udp(own), Peer::Inet(peer)) if own.port() == peer.port() => {
                own.ip() == peer.ip() || (own.ip().is_unspecified() && is_local(peer.ip()))
            }
            (OwnAddress::Unix(own), Peer::Unix(peer)) => own == peer.as_bytes(),
            _ => false,
        }
    }
}

/// Whether this machine has an address: a socket can be bound to no other. An address of which this cannot be told, for
/// want of descriptors, counts as one.
fn is_local(ip: IpAddr) -> bool {
    !UdpSocket::bind((ip, 0)).is_err_and(|error| error.kind() == ErrorKind::AddrNotAvailable)
}

/// The name of a UNIX socket as the kernel tells it to receivers.
fn kernel_name(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = path.as_os_str().as_bytes();
    bytes.strip_prefix(b"@").map_or_else(|| bytes.to_vec(), |name| [b"\0", name].concat())
}

/// Whether a datagram has no request in it.
fn is_unreadable(asked: &Asked) -> bool {
    match asked {
        Asked::Text(asked) => asked.is_err(),
        Asked::Json(Incoming::One(call)) => call.is_err(),
        Asked::Json(Incoming::Batch(calls)) => calls.iter().all(Result::is_err),
        _ => false,
    }
}
