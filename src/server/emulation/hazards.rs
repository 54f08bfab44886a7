//! The faults of real servers, version by version, for a listener whose server has hazards.
//!
//! Nothing here reads or writes; these are the rules alone. They exist so that clients can be tested against them.

use std::time::Duration;

use crate::catalog::asynchronous::is_asynchronous;
use crate::codec::fifo_frame::Frame;
use crate::codec::json;
use crate::codec::jsonrpc::{self, Incoming};
use crate::dialect::Dialect;
use crate::item::Item;

/// The longest string that 3.x and 4.x write to a reply FIFO, as it is encoded, without its quotes.
const FIFO_STRING: usize = 4093;
/// The longest line that 1.x and 2.x write to a reply FIFO.
const FIFO_LINE: usize = 8192;

/// When a missing reader of a reply FIFO is looked for, counted from the look before.
pub(super) const READER_LOOKS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(80),
    Duration::from_millis(80),
    Duration::from_millis(80),
    Duration::from_millis(80),
];

/// Returns true if this request crashes the server before it is read: JSON that is no request at all.
///
/// Over a FIFO all of 3.x and 4.x die of it, over datagrams only 4.x.
pub(super) fn dies_of_json(dialect: Dialect, body: &[u8], over_fifo: bool) -> bool {
    if !over_fifo && !dialect.is_4x() {
        return false;
    }
    let Ok((item, _)) = json::parse_prefix(body) else { return false };
    let Item::Object(members) = item else { return true };
    let method = members.iter().find(|(name, _)| name.eq_ignore_ascii_case(b"method"));
    !matches!(method, Some((_, Item::Str(_))))
}

/// Returns true if this request is for a command that answers later. Without a reply address it crashes the server.
pub(super) fn answers_later(frame: &Frame) -> bool {
    match frame {
        Frame::Text { method, .. } => is_asynchronous(method),
        Frame::Json { body, .. } => match jsonrpc::decode_request(body, Dialect::Sipmi) {
            Incoming::One(Ok(call)) => is_asynchronous(&call.request.method),
            _ => false,
        },
        Frame::Malformed { .. } => false,
    }
}

/// Returns true if 3.x and 4.x crash on this late answer: one of its strings is too long for a reply FIFO.
pub(super) fn dies_of_reply(dialect: Dialect, reply: &[u8]) -> bool {
    dialect.reads_json() && long_string(reply).is_some()
}

/// Cuts a reply to the part that a server of this version writes to a reply FIFO.
pub(super) fn cut_fifo_reply(dialect: Dialect, mut reply: Vec<u8>) -> Vec<u8> {
    if dialect.reads_text() {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', &reply.clone()) {
            if end - start > FIFO_LINE {
                reply.truncate(start);
                return reply;
            }
            start = end + 1;
        }
    } else if let Some(start) = long_string(&reply) {
        reply.truncate(start);
        reply.extend_from_slice(jsonrpc::FIFO_PRINT_ERROR);
    }
    reply
}

/// Where the first string begins that is too long to be printed.
fn long_string(reply: &[u8]) -> Option<usize> {
    let mut start = None;
    let mut at = 0;
    while at < reply.len() {
        match (reply[at], start) {
            (b'"', None) => start = Some(at),
            (b'"', Some(begin)) if at - begin > FIFO_STRING => return Some(begin),
            (b'"', Some(_)) => start = None,
            (b'\\', Some(_)) => at += 1,
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_no_request_crashes_the_server_and_a_bad_request_does_not() {
        for (body, kills) in [("42", true), ("[]", true), ("{\"id\":1}", true), ("{\"METHOD\":\"x\"}", false)] {
            assert_eq!(dies_of_json(Dialect::V3_4, body.as_bytes(), true), kills, "{body}");
            assert!(!dies_of_json(Dialect::V3_6, body.as_bytes(), false));
        }
    }

    #[test]
    fn a_long_string_or_line_cuts_a_reply() {
        let long = format!("{{\"a\":\"b\",\"c\":\"{}\"}}", "y".repeat(4094));
        assert_eq!(cut_fifo_reply(Dialect::V4_0, long.into_bytes()), b"{\"a\":\"b\",\"c\":failed to print response");
        let short = format!("{{\"c\":\"{}\"}}", "y".repeat(4000)).into_bytes();
        assert_eq!(cut_fifo_reply(Dialect::V4_0, short.clone()), short);
        let lines = format!("200 OK\n{}\n\n", "y".repeat(8193)).into_bytes();
        assert_eq!(cut_fifo_reply(Dialect::V2_4, lines), b"200 OK\n");
    }
}
