//! The output of a framer: a request, or bytes that form no request.

use crate::response::Failure;

/// A request, or a malformed one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A text request of 1.x and 2.x.
    Text {
        /// The command.
        method: Vec<u8>,
        /// The name of the reply FIFO; empty when there is none.
        reply: Vec<u8>,
        /// The parameter lines, without the empty line after them.
        params: Vec<u8>,
    },
    /// A JSON-RPC request of 3.x and 4.x.
    Json {
        /// The name of the reply FIFO; empty when there is none.
        reply: Vec<u8>,
        /// One JSON value.
        body: Vec<u8>,
    },
    /// Not a request.
    Malformed {
        /// The name of the reply FIFO; empty when it is not known or there is none.
        reply: Vec<u8>,
        /// The command of a text request, if it was read.
        method: Vec<u8>,
        /// True if the bytes were an attempt at JSON.
        json: bool,
        /// [`Failure::Parse`] or [`Failure::RequestTooLarge`].
        failure: Failure,
    },
}
