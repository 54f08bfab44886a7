//! The questions of a datagram listener whose answers differ where a version of OpenSIPS is emulated.

use crate::codec::jsonrpc;
use crate::server::dispatch::policy::Native;

/// The largest reply of `mi_datagram`: its buffer, less what IP and UDP want.
pub(crate) const REPLY_LIMIT: usize = 65_457;

/// How a datagram listener reads requests and sends replies. The defaults are sipmi's own.
pub(crate) trait DatagramPolicy: Send + Sync {
    /// The largest reply in bytes.
    fn reply_limit(&self) -> usize {
        REPLY_LIMIT
    }

    /// Whether the listener leaves datagrams unanswered that may be replies of another server.
    fn guards_against_loops(&self) -> bool {
        true
    }

    /// Whether a client that is connected to a UNIX socket gets its reply.
    fn answers_connected(&self) -> bool {
        true
    }

    /// Whether a datagram is a JSON-RPC request.
    fn is_json(&self, datagram: &[u8]) -> bool {
        jsonrpc::looks_like_json(datagram)
    }

    /// Whether the server dies of a datagram.
    fn dies_of(&self, datagram: &[u8]) -> bool {
        let _ = datagram;
        false
    }
}

impl DatagramPolicy for Native {}
