//! How requests and replies look on a wire: functions of bytes, which know neither sockets nor commands.

pub mod answer;
pub mod event;
pub mod fifo_frame;
mod hex;
pub mod html;
pub mod json;
pub mod jsonrpc;
pub mod mi_json;
mod percent;
pub mod pieces;
mod siblings;
pub mod text;
pub mod xmlrpc;

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::item::Str;
use crate::response::Failure;

/// The number of found bytes that an error shows: enough to recognise them, too few to flood a log.
const SHOWN_BYTES: usize = 24;

/// Bytes that do not have the expected format, or a request that a wire cannot carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes do not have the expected format at this place.
    #[error("expected {expected}, found {found} at byte {offset}")]
    Unexpected {
        /// The token that the format has at this place.
        expected: &'static str,
        /// The first bytes at this place, quoted, or `the end`.
        found: String,
        /// How many bytes precede it.
        offset: usize,
    },
    /// The reply ends too early: its sender gave up, or could not send all of it.
    #[error("{what} was cut off after {size} bytes")]
    Truncated {
        /// The value that was cut off.
        what: &'static str,
        /// How many bytes came.
        size: usize,
    },
    /// The wire has no way to write this.
    #[error("{what} cannot be sent: {why}")]
    Unsayable {
        /// The value's place: a parameter's position or the method, never its content.
        what: String,
        /// The reason why the wire cannot carry it.
        why: &'static str,
    },
    /// A value nests deeper than values may.
    #[error("values may nest {limit} levels deep, found more at byte {offset}")]
    TooDeep {
        /// How deep they may.
        limit: usize,
        /// Where the level after that begins.
        offset: usize,
    },
}

impl CodecError {
    /// An [`CodecError::Unexpected`] that shows the bytes at `offset`.
    pub(crate) fn unexpected(expected: &'static str, bytes: &[u8], offset: usize) -> Self {
        let rest = bytes.get(offset..).unwrap_or_default();
        let shown = &rest[..rest.len().min(SHOWN_BYTES)];
        let mut found = String::new();
        if shown.is_empty() {
            found.push_str("the end");
        } else {
            // Writing to a string does not fail.
            let _ = write!(found, "\"{}\"", shown.escape_ascii());
        }
        CodecError::Unexpected { expected, found, offset }
    }

    /// A parameter, counted from 1, that cannot be sent.
    pub(crate) fn unsayable_param(position: usize, why: &'static str) -> Self {
        CodecError::Unsayable { what: format!("parameter {position}"), why }
    }
}

/// Bytes that are no request, and the answer to them: the encoders of replies take both parts.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{failure}")]
pub struct RequestError {
    /// Why it cannot be run.
    pub failure: Failure,
    /// The command, if it was read.
    pub method: Str,
}

/// Code and reason of a failure that the wires of 1.x and 2.x tell as a command's own.
pub(crate) fn answer_of(failure: &Failure) -> (i32, Cow<'static, str>) {
    match failure {
        Failure::ParamCount => (400, "Too few or too many arguments".into()),
        Failure::Timeout => (408, "Request timeout".into()),
        Failure::Busy => (503, "Server busy".into()),
        Failure::Forbidden => (403, "Command not allowed".into()),
        Failure::RequestTooLarge { size, limit } => {
            (413, format!("Request too large: {size} bytes, limit {limit}").into())
        }
        Failure::TooManyCalls { calls, limit } => (413, format!("Too many calls: {calls}, limit {limit}").into()),
        Failure::ReplyTooLarge { size, limit } => {
            (500, format!("Reply too large: {size} bytes, limit {limit}").into())
        }
        _ => (400, "Bad parameter".into()),
    }
}

/// The text of a page of OpenSIPS's HTTP module, which some versions send with status 200 in place of a reply.
pub(crate) fn page_of(body: &[u8]) -> Option<&[u8]> {
    body.trim_ascii().strip_prefix(b"<html><body>")?.strip_suffix(b"</body></html>")
}

/// Blanks as JSON has them, which are those of the text wires too.
pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Appends the decimal digits of a number.
pub(crate) fn push_int(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends the shortest digits that read back as the same number, as Rust prints them.
pub(crate) fn push_float(out: &mut Vec<u8>, value: f64) {
    use std::io::Write as _;
    // Numbers of this size have no exponent in either.
    if value == 0.0 || (1e-4..1e16).contains(&value.abs()) {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else {
        // Writing to memory does not fail.
        let _ = write!(out, "{value:?}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::push_float;

    fn written(value: f64) -> String {
        let mut out = Vec::new();
        push_float(&mut out, value);
        String::from_utf8(out).expect("digits")
    }

    proptest! {
        #[test]
        fn a_float_is_written_as_rust_prints_it(value in any::<f64>(), thousandths in any::<i32>(), exponent in -6..18_i32) {
            for value in [value, f64::from(thousandths) / 1e3, 10_f64.powi(exponent), -0.0] {
                prop_assert_eq!(written(value), format!("{value:?}"));
            }
        }
    }
}
