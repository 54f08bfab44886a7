//! The decisions of a datagram listener that differ where a version of OpenSIPS is emulated.

use crate::codec::jsonrpc;
use crate::server::dispatch::policy::Native;

/// The largest reply of `mi_datagram`: its buffer, less the headers of IP and UDP.
pub(crate) const REPLY_LIMIT: usize = 65_457;

/// The way a datagram listener reads requests and sends replies. The defaults are sipmi's own.
pub(crate) trait DatagramPolicy: Send + Sync {
    /// The largest reply in bytes.
    fn reply_limit(&self) -> usize {
        REPLY_LIMIT
    }

    /// Returns true if the listener does not answer datagrams that may be replies of another server.
    fn guards_against_loops(&self) -> bool {
        true
    }

    /// Returns true if a client that is connected to a UNIX socket gets its reply.
    fn answers_connected(&self) -> bool {
        true
    }

    /// Returns true if a datagram is a JSON-RPC request.
    fn is_json(&self, datagram: &[u8]) -> bool {
        jsonrpc::looks_like_json(datagram)
    }

    /// Returns true if the server crashes on a datagram.
    fn dies_of(&self, datagram: &[u8]) -> bool {
        let _ = datagram;
        false
    }
}

impl DatagramPolicy for Native {}
