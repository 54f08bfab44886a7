//! The web server of 1.x's `mi_xmlrpc` (Abyss of xmlrpc-c), which has a port of its own where nothing else is.

use hyper::header::TRANSFER_ENCODING;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

use crate::dialect::Dialect;
use crate::server::listener::http::policy::Verdict;
use crate::server::listener::http::reply::{self, Reply};
use crate::server::options::roots::{Roots, Route};

/// Returns true if a request at this path goes to Abyss.
pub(super) fn has_path(dialect: Dialect, roots: &Roots, path: &str) -> bool {
    let is_there = dialect.is_1x() && matches!(roots.find(path), Some(Route::Rpc));
    is_there || has_port(dialect, roots)
}

/// Returns true if the listener's port is that of Abyss.
pub(super) fn has_port(dialect: Dialect, roots: &Roots) -> bool {
    dialect.is_1x() && roots.rpc.is_some() && roots.paths().count() == 1
}

/// Decides on a request, which no module of OpenSIPS sees.
pub(super) fn rule(head: &Parts) -> Verdict {
    let refuse = |status, why| Verdict::Answer(page(status, why));
    if head.method != Method::POST {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "POST is the only HTTP method this server understands");
    }
    if head.headers.contains_key(TRANSFER_ENCODING) {
        let why = "You must send a content-length HTTP header in an XML-RPC call.";
        return refuse(StatusCode::LENGTH_REQUIRED, why);
    }
    if head.uri.path().ends_with('/') {
        return Verdict::Answer(not_found(head.uri.path()));
    }
    Verdict::Serve
}

/// The reply at any path but its one.
pub(super) fn not_found(path: &str) -> Reply {
    let mut shown = Vec::new();
    crate::codec::html::push_escaped(&mut shown, path.as_bytes());
    let why = format!(
        "This XML-RPC For C/C++ Abyss XML-RPC server responds to only one URI path.  I don't know what URI path that \
         is, but it's not the one you requested: '{}'.  (Typically, it's '/RPC2')",
        String::from_utf8_lossy(&shown)
    );
    page(StatusCode::NOT_FOUND, &why)
}

fn page(status: StatusCode, why: &str) -> Reply {
    let title = format!("Error {}", status.as_u16());
    let server =
        "<a href=\"http://xmlrpc-c.sourceforge.net\">ABYSS Web Server for XML-RPC For C/C++</a> version 1.33.14";
    let page =
        format!("<html><head><title>{title}</title></head><body><h1>{title}</h1><p>{why}</p><p>{server}</p></body>");
    reply::with_body(status, reply::HTML, page + "</html>")
}

/// The text of a reply as 1.11's `mi_xmlrpc` sends it: bytes beyond ASCII become 0x7F, line ends in a row one.
pub(super) fn mangle_text(reply: &[u8]) -> Vec<u8> {
    let mut mangled = Vec::with_capacity(reply.len());
    let mut rest = reply;
    while let Some(begin) = memchr::memmem::find(rest, b"<string>") {
        let (before, text) = rest.split_at(begin + b"<string>".len());
        let (text, after) = text.split_at(memchr::memchr(b'<', text).unwrap_or(text.len()));
        mangled.extend_from_slice(before);
        let text = text.to_vec();
        let is_line_end = |at: usize| text.get(at).is_some_and(|byte| matches!(byte, b'\r' | b'\n'));
        for (at, byte) in text.iter().enumerate() {
            match byte {
                b'\r' | b'\n' if is_line_end(at + 1) => {}
                b'\r' => mangled.push(b'\n'),
                0x80.. => mangled.push(0x7f),
                _ => mangled.push(*byte),
            }
        }
        rest = after;
    }
    mangled.extend_from_slice(rest);
    mangled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_mangled_and_nothing_else() {
        let reply = "<a>\r\n\r\n</a><string>\u{17e}\r\nb\n\nc\n</string>\r\n\r\n<string></string>\u{17e}";
        let mangled = "<a>\r\n\r\n</a><string>\x7f\x7f\nb\nc\n</string>\r\n\r\n<string></string>\u{17e}";
        assert_eq!(mangle_text(reply.as_bytes()), mangled.as_bytes());
    }
}
