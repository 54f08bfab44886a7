//! JSON-RPC 2.0 as 3.x and 4.x speak it: requests, batches and answers, for both sides.

mod error;
mod member;
mod request;
mod response;

use super::is_blank;
pub use error::failure_response;
pub use request::{Call, Incoming, Refused, RequestId, decode_request, decode_request_of, encode_request};
pub use response::{decode_response, encode_batch, encode_response, skim_response};

/// The answer of a 3.x or 4.x server to a datagram without JSON. The answer itself is not JSON either.
pub const DATAGRAM_PARSE_ERROR: &[u8] = b"400 Parse_error";

/// The datagram that a 3.x or 4.x server sends when it cannot write a reply ([`Id::Broken`], or too large).
pub const DATAGRAM_INTERNAL_ERROR: &[u8] = b"500 Internal error";

/// The text that a 3.x or 4.x server writes to a reply FIFO in place of (the rest of) a reply that it cannot write.
pub const FIFO_PRINT_ERROR: &[u8] = b"failed to print response";

/// Which request an answer belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Id {
    /// There was none: a notification, which is not answered.
    Absent,
    /// JSON null.
    Null,
    /// The JSON text of a string or number, echoed as it came.
    Raw(Box<[u8]>),
    /// A boolean, array or object given to a 3.x or 4.x server, which runs the command and then
    /// fails to print the reply: [`FIFO_PRINT_ERROR`], [`DATAGRAM_INTERNAL_ERROR`].
    Broken,
}

/// Returns true if these bytes, after blanks, begin as a JSON object or array does.
pub fn looks_like_json(bytes: &[u8]) -> bool {
    bytes.iter().find(|byte| !is_blank(**byte)).is_some_and(|byte| matches!(byte, b'{' | b'['))
}

#[cfg(test)]
mod tests;
