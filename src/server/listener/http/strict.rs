//! Checks of a request's head that HTTP requires and hyper does not make.

use hyper::Version;
use hyper::header::{HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use hyper::http::request::Parts;

use super::reply::Problem;

/// The largest head in bytes; a larger one is answered with 431. Heads of MI clients are much smaller.
pub(crate) const LONGEST_HEAD: usize = 64 << 10;

/// Rejects a head that is too large, that names no host, several or two different ones, or that uses an unknown
/// transfer coding.
///
/// A request of HTTP/1.1 needs a Host field if `needs_host` is true.
pub(crate) fn check(head: &Parts, needs_host: bool) -> Result<(), Problem> {
    // hyper stops reading at this size, and serves what arrived by then.
    if size_of_head(head) > LONGEST_HEAD {
        return Err(Problem::HeadTooLarge { limit: LONGEST_HEAD });
    }
    let needs_host = needs_host && head.version == Version::HTTP_11;
    match head.headers.get_all(HOST).iter().count() {
        1 => {}
        0 if !needs_host => {}
        found => return Err(Problem::Hosts { found }),
    }
    check_target(head)?;
    check_coding(&head.headers)
}

/// A target that names a host takes precedence over the Host field (RFC 9112, 3.2.2), and a client sends the same name
/// in both (3.2). Different names are rejected, since the guard checks only one of them.
fn check_target(head: &Parts) -> Result<(), Problem> {
    let Some(target) = head.uri.authority() else { return Ok(()) };
    let host = head.headers.get(HOST).map_or(&b""[..], HeaderValue::as_bytes);
    if host.eq_ignore_ascii_case(target.as_str().as_bytes()) {
        return Ok(());
    }
    Err(Problem::Target { target: target.to_string(), host: String::from_utf8_lossy(host).into_owned() })
}

/// A coding beside chunked would have to be decoded (RFC 9112, 6.1: 501).
fn check_coding(head: &HeaderMap) -> Result<(), Problem> {
    let mut codings = head.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        (Some(coding), _) => Err(Problem::Coding(String::from_utf8_lossy(coding.as_bytes()).into_owned())),
    }
}

/// The size of a head in a client's encoding without extra blanks.
pub(crate) fn size_of_head(head: &Parts) -> usize {
    let path = head.uri.path_and_query().map_or(1, |path| path.as_str().len());
    let line = head.method.as_str().len() + path + " / HTTP/1.1\r\n".len() - 1;
    let fields: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    line + fields + 2
}
