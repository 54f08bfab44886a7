//! Prevents datagram listeners from answering each other, or themselves, endlessly after one spoofed datagram.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::address::Address;
use crate::codec::answer::looks_like_answer;
use crate::codec::jsonrpc::Incoming;
use crate::command::Peer;
use crate::command::rate::Rate;
use crate::server::dispatch::asked::Asked;

/// The addresses and rates by which a listener detects loops.
pub(crate) struct LoopGuard {
    own: OwnAddress,
    errors: Arc<Rate>,
}

enum OwnAddress {
    Udp(SocketAddr),
    Unix(Vec<u8>),
    Unknown,
}

impl LoopGuard {
    /// Creates the guard of a listener at an address, as it is bound.
    pub(crate) fn new(address: &Address, errors: Arc<Rate>) -> Self {
        let own = match address {
            Address::Udp { host, port } => {
                host.parse().map_or(OwnAddress::Unknown, |ip: IpAddr| OwnAddress::Udp((ip, *port).into()))
            }
            Address::Unix { path } => OwnAddress::Unix(kernel_name(path)),
            _ => OwnAddress::Unknown,
        };
        LoopGuard { own, errors }
    }

    /// Returns true if a datagram must not be answered. A valid request is always answered, unless it bears the
    /// listener's own address.
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

/// Returns true if this machine has an address: a socket can be bound to no other one. If the process has no
/// descriptors left to find out, the address counts as one of this machine.
fn is_local(ip: IpAddr) -> bool {
    !UdpSocket::bind((ip, 0)).is_err_and(|error| error.kind() == ErrorKind::AddrNotAvailable)
}

/// The name of a UNIX socket in the form in which the kernel reports it to receivers.
fn kernel_name(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = path.as_os_str().as_bytes();
    bytes.strip_prefix(b"@").map_or_else(|| bytes.to_vec(), |name| [b"\0", name].concat())
}

/// Returns true if a datagram contains no request.
fn is_unreadable(asked: &Asked) -> bool {
    match asked {
        Asked::Text(asked) => asked.is_err(),
        Asked::Json(Incoming::One(call)) => call.is_err(),
        Asked::Json(Incoming::Batch(calls)) => calls.iter().all(Result::is_err),
        _ => false,
    }
}
