//! The datagram modules of real servers.

use super::hazards;
use crate::codec::jsonrpc;
use crate::dialect::Dialect;
use crate::server::listener::datagram::policy::{DatagramPolicy, REPLY_LIMIT};

/// The largest reply up to 2.4.4, whose buffer was half of the later one.
const OLD_REPLY_LIMIT: usize = 32_728;

/// The datagrams of a version, with its faults where the listener has hazards.
pub(super) struct EmulatedDatagrams {
    pub(super) dialect: Dialect,
    pub(super) has_hazards: bool,
}

impl DatagramPolicy for EmulatedDatagrams {
    fn reply_limit(&self) -> usize {
        if self.dialect.is_1x() { OLD_REPLY_LIMIT } else { REPLY_LIMIT }
    }

    /// Real servers answer everything.
    fn guards_against_loops(&self) -> bool {
        !self.has_hazards
    }

    fn answers_connected(&self) -> bool {
        false
    }

    fn is_json(&self, datagram: &[u8]) -> bool {
        self.dialect.reads_json() && (jsonrpc::looks_like_json(datagram) || !self.dialect.reads_text())
    }

    fn dies_of(&self, datagram: &[u8]) -> bool {
        self.has_hazards && hazards::dies_of_json(self.dialect, datagram, false)
    }
}
