//! How real servers count and refuse, whatever the transport.

use crate::codec::jsonrpc::Id;
use crate::codec::text::Carrier;
use crate::dialect::Dialect;
use crate::response::{Failure, Response};
use crate::server::dispatch::policy::ReplyPolicy;

/// The replies of a version. `carrier` is None for HTTP, whose module prints its replies itself.
pub(super) struct EmulatedReplies {
    pub(super) carrier: Option<Carrier>,
    pub(super) loses_oversize: bool,
}

impl EmulatedReplies {
    pub(super) fn new(dialect: Dialect, has_hazards: bool, carrier: Option<Carrier>) -> Self {
        let is_datagram = carrier == Some(Carrier::Datagram);
        EmulatedReplies { carrier, loses_oversize: has_hazards && is_datagram && dialect.reads_text() }
    }
}

impl ReplyPolicy for EmulatedReplies {
    fn counts_commands(&self) -> bool {
        false
    }

    /// 3.x and 4.x say some things in plain words instead of JSON, and nothing at all to bad JSON on a FIFO.
    fn plain_reply(&self, id: &Id, result: &Result<Response, Failure>) -> Option<&'static [u8]> {
        let is_fifo = self.carrier? == Carrier::Fifo;
        match (id, result) {
            (Id::Broken, _) => Some(if is_fifo { b"failed to print response" } else { b"500 Internal error" }),
            (_, Err(Failure::Parse)) => Some(if is_fifo { b"" } else { b"400 Parse_error" }),
            (_, Err(Failure::ReplyTooLarge { .. })) if !is_fifo => Some(b"500 Internal error"),
            _ => None,
        }
    }

    fn explains_oversize(&self) -> bool {
        !self.loses_oversize
    }
}
