//! How a version joins the pieces in which a request arrives.

use bytes::{Bytes, BytesMut};

use crate::dialect::Dialect;

/// Returns true if a version joins the pieces of a body; the others require it in one piece.
pub(super) fn joins_pieces(dialect: Dialect) -> bool {
    dialect >= Dialect::V3_6 && dialect.is_emulated()
}

/// The body that a version makes of its pieces; `None`: it closes the connection.
///
/// Versions that join pieces drop one that does not fit, and go on with the rest.
pub(super) fn join(dialect: Dialect, pieces: Vec<Bytes>, room: usize) -> Option<Bytes> {
    if !joins_pieces(dialect) {
        let mut pieces = pieces.into_iter();
        let first = pieces.next().unwrap_or_default();
        return pieces.next().is_none().then_some(first);
    }
    let mut joined = BytesMut::new();
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        if joined.len() + piece.len() <= room {
            joined.extend_from_slice(piece);
        }
    }
    Some(joined.freeze())
}

/// How many bytes of a read belong to its first request: `httpd` drops the rest.
pub(super) fn first_request(read: &[u8]) -> usize {
    let Some(head) = memchr::memmem::find(read, b"\r\n\r\n").map(|end| end + 4) else { return read.len() };
    let length_of = |line: &[u8]| {
        let (name, value) = line.split_at(memchr::memchr(b':', line)?);
        name.eq_ignore_ascii_case(b"content-length").then_some(())?;
        std::str::from_utf8(value[1..].trim_ascii()).ok()?.parse::<usize>().ok()
    };
    let length = read[..head].split(|byte| *byte == b'\n').find_map(length_of).unwrap_or(0);
    let is_chunked = memchr::memmem::find(&read[..head].to_ascii_lowercase(), b"\r\ntransfer-encoding:").is_some();
    if is_chunked { read.len() } else { read.len().min(head.saturating_add(length)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(dialect: Dialect, pieces: &[&'static str], room: usize) -> Option<String> {
        let pieces = pieces.iter().map(|piece| Bytes::from_static(piece.as_bytes())).collect();
        join(dialect, pieces, room).map(|body| String::from_utf8(body.to_vec()).expect("text"))
    }

    #[test]
    fn a_body_in_pieces_is_refused_or_joined_without_what_does_not_fit() {
        assert_eq!(joined(Dialect::V3_4, &["whole"], 3), Some("whole".into()));
        assert_eq!(joined(Dialect::V3_4, &["in ", "two"], 99), None);
        assert_eq!(joined(Dialect::V4_0, &["in ", "two"], 99), Some("in two".into()));
        assert_eq!(joined(Dialect::V4_0, &["in", "the middle", "!"], 4), Some("in!".into()));
        assert_eq!(joined(Dialect::V3_6, &["too large"], 4), Some(String::new()));
    }

    #[test]
    fn a_read_is_cut_behind_its_first_request() {
        let get = b"GET / HTTP/1.1\r\n\r\n";
        let post = b"POST / HTTP/1.1\r\ncontent-LENGTH: 2\r\n\r\n{}";
        for request in [&get[..], post] {
            assert_eq!(first_request(request), request.len());
            assert_eq!(first_request(&[request, get].concat()), request.len());
            assert_eq!(first_request(&request[..10]), 10);
        }
        let chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
        assert_eq!(first_request(chunked), chunked.len());
    }
}
