//! The text of 1.x and 2.x: requests of one parameter a line, replies of one node a line, for both sides.
//!
//! Nothing in a reply is escaped, so some lines can be read in more than one way. [`decode_response`] says which
//! it chooses; what it reads is written again byte for byte.

mod attributes;
mod check;
mod params;
mod read;
mod records;
#[cfg(test)]
mod tests;
mod write;

pub use self::check::check_expressible;
pub(super) use self::params::as_strings;
pub use self::params::{decode_params, decode_request, encode_params, encode_request};
pub use self::read::decode_response;
pub(super) use self::read::{read_elements, read_string};
pub use self::write::encode_response;
pub(super) use self::write::{ending, needs_separator, push_nodes, push_value, write_line};
pub use super::RequestError;
use crate::dialect::Dialect;
use crate::response::{Failure, Response};

/// Between a node's name and its value.
const SEPARATOR: &[u8] = b":: ";

/// How many blanks a level is in the strings of 2.4's XML-RPC.
pub(super) const BLANKS_IN_STRINGS: usize = 3;

/// The transport of the text: errors and the ends of replies differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carrier {
    /// A command FIFO and a reply FIFO.
    Fifo,
    /// A UDP or UNIX datagram each way.
    Datagram,
    /// As [`Carrier::Datagram`], of 1.x and 2.0 to 2.4.4, where no empty line ends a reply.
    OldDatagram,
}

/// The indentation of one level.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Indent {
    /// One TAB, the default of every version.
    #[default]
    Tab,
    /// This many blanks (`reply_indent`).
    Blanks(u8),
}

/// How replies are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TextStyle {
    /// The transport of the replies.
    pub carrier: Carrier,
    /// The dialect of the answering server.
    pub dialect: Dialect,
    /// The indentation that puts a node below another.
    pub indent: Indent,
}

impl TextStyle {
    /// The style of a version with its default indentation.
    pub fn new(carrier: Carrier, dialect: Dialect) -> Self {
        TextStyle { carrier, dialect, indent: Indent::Tab }
    }
}

/// Which failure of the transport these words of a reply are; `None` when a command answered.
pub fn failure_of(response: &Response) -> Option<Failure> {
    let reason = response.reason.to_text().to_ascii_lowercase();
    let about_command = reason == "command" || reason.starts_with("command ");
    match response.code {
        500 if about_command && reason.ends_with("not available") => Some(Failure::UnknownCommand),
        500 if about_command && reason.ends_with(" failed") => Some(Failure::handler()),
        400 if reason == "parse_error" || reason.starts_with("parse error in command") => Some(Failure::Parse),
        _ => None,
    }
}
