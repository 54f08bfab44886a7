//! The questions of dispatch whose answers differ where a version of OpenSIPS is emulated.

use crate::codec::jsonrpc::Id;
use crate::response::{Failure, Response};

/// How a listener's requests are counted and answered. The defaults are sipmi's own.
pub(crate) trait ReplyPolicy: Send + Sync {
    /// Returns true if the statistics of a command count its answers.
    fn counts_commands(&self) -> bool {
        true
    }

    /// The plain words that stand for a JSON reply, if the server has no JSON to say.
    fn plain_reply(&self, id: &Id, result: &Result<Response, Failure>) -> Option<&'static [u8]> {
        let _ = (id, result);
        None
    }

    /// Returns true if the client is told that its reply was too large to send.
    fn explains_oversize(&self) -> bool {
        true
    }
}

/// sipmi's own answers.
pub(crate) struct Native;

impl ReplyPolicy for Native {}
