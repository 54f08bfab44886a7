//! How the HTTP modules of real servers take requests that ours takes otherwise: types, methods, sizes.
//!
//! Asked only when a version is imitated. Sizes are faults of the originals, so they count with hazards alone.

use bytes::Bytes;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Version};

use super::reply::{self, Reply};
use super::route::Mount;
use crate::dialect::Dialect;

/// What the originals take in one piece, head and body (`POST_BUFFER`).
const ONE_PIECE: u64 = 16_384;
/// What 3.6 and 4.0 take of a body (`receive_buf_size`).
const RECEIVE_BUFFER: u64 = 1_024;

const ONLY_POST: &str = "Unexpected method (only POST is accepted)";

/// What becomes of a request before its body is looked at.
pub(super) enum Ruling {
    /// It is served as it is.
    Serve,
    /// It is served as if it had no body.
    WithoutBody,
    /// Its root answers with this error.
    Fail(i32, &'static str),
    /// The connection is closed without an answer.
    Close,
    /// This is the answer.
    Answer(Reply),
}

/// Rules on the head of a request.
pub(super) fn rule(dialect: Dialect, mount: Mount<'_>, head: &Parts, hazards: bool) -> Ruling {
    match mount {
        Mount::Json(_) => rule_mi_json(dialect, head),
        Mount::Rpc if dialect == Dialect::V1_11 => rule_abyss(head),
        Mount::Rpc | Mount::Xmlrpc => {
            let method = rule_method_of_xmlrpc(dialect, head);
            if matches!(method, Ruling::Serve) { rule_body(dialect, reply::XML, head, hazards) } else { method }
        }
        Mount::Mi if head.method == Method::POST && !takes_encoding(dialect, head) => Ruling::Close,
        Mount::Mi if head.method == Method::POST => rule_size(dialect, reply::JSON, head, hazards),
        Mount::Mi | Mount::Html(_) => Ruling::Serve,
    }
}

/// The web server of `mi_xmlrpc`, which has no module of OpenSIPS in front of it.
fn rule_abyss(head: &Parts) -> Ruling {
    if head.method != Method::POST {
        return Ruling::Answer(page(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"));
    }
    if head.headers.contains_key(TRANSFER_ENCODING) {
        return Ruling::Answer(page(StatusCode::LENGTH_REQUIRED, "Length Required"));
    }
    if head.uri.path().ends_with('/') {
        return Ruling::Answer(page(StatusCode::NOT_FOUND, "Not Found"));
    }
    Ruling::Serve
}

fn rule_mi_json(dialect: Dialect, head: &Parts) -> Ruling {
    if head.method != Method::POST {
        return Ruling::Serve;
    }
    let words: &[u8] = match dialect {
        Dialect::V1_11 => b"{\"error\":\"Unexpected method\"}",
        _ => b"{\"error\": {\"code\": 406, \"message\": \"Unexpected method\"}}",
    };
    Ruling::Answer(reply::with_body(StatusCode::OK, reply::JSON, Bytes::from_static(words)))
}

fn rule_method_of_xmlrpc(dialect: Dialect, head: &Parts) -> Ruling {
    match (&head.method, dialect) {
        (&Method::GET, Dialect::V1_11) => Ruling::Answer(page(StatusCode::OK, &[ONLY_POST, "!"].concat())),
        (&Method::GET, Dialect::V2_4) => Ruling::Fail(405, ONLY_POST),
        (&Method::GET, _) => {
            Ruling::Answer(reply::with_body(StatusCode::METHOD_NOT_ALLOWED, reply::XML, Bytes::new()))
        }
        _ => Ruling::Serve,
    }
}

/// `httpd` knows two types; of forms it makes an empty body, and it waits for no others.
fn rule_body(dialect: Dialect, answers: HeaderValue, head: &Parts, hazards: bool) -> Ruling {
    if head.method != Method::POST {
        return Ruling::Serve;
    }
    let found = head.headers.get(CONTENT_TYPE).map(|value| value.as_bytes().to_ascii_lowercase()).unwrap_or_default();
    if found.starts_with(b"application/x-www-form-urlencoded") {
        return match dialect {
            Dialect::V1_11 => Ruling::Answer(page(StatusCode::OK, "Internal server error!")),
            Dialect::V2_4 => Ruling::WithoutBody,
            _ => Ruling::Answer(reply::with_body(StatusCode::BAD_REQUEST, answers, Bytes::new())),
        };
    }
    if !found.starts_with(b"text/xml") && !found.starts_with(b"application/json") {
        return Ruling::Close;
    }
    if !takes_encoding(dialect, head) {
        return Ruling::Close;
    }
    rule_size(dialect, answers, head, hazards)
}

/// Whether a body may come as it does: only those that join reads take one in chunks.
fn takes_encoding(dialect: Dialect, head: &Parts) -> bool {
    matches!(dialect, Dialect::V3_6 | Dialect::V4_0) || !head.headers.contains_key(TRANSFER_ENCODING)
}

fn rule_size(dialect: Dialect, answers: HeaderValue, head: &Parts, hazards: bool) -> Ruling {
    let length = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let Some(length) = length.filter(|_| hazards) else { return Ruling::Serve };
    if length + size_of_head(head) > ONE_PIECE {
        return Ruling::Close;
    }
    if matches!(dialect, Dialect::V3_6 | Dialect::V4_0) && length > RECEIVE_BUFFER {
        return Ruling::Answer(reply::with_body(StatusCode::BAD_REQUEST, answers, Bytes::new()));
    }
    Ruling::Serve
}

/// The size of a head, as a client that adds no blanks writes it.
fn size_of_head(head: &Parts) -> u64 {
    let path = head.uri.path_and_query().map_or(1, |path| path.as_str().len());
    let line = head.method.as_str().len() + path + " / HTTP/1.1\r\n".len() - 1;
    let fields: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    (line + fields + 2) as u64
}

/// A reply as the version's HTTP modules send it.
pub(super) fn finish(dialect: Dialect, version: Version, reply: &mut Reply) {
    if version == Version::HTTP_10 {
        reply.headers_mut().insert(hyper::header::CONNECTION, HeaderValue::from_static("close"));
    }
    let is_xml = reply.headers().get(CONTENT_TYPE) == Some(&reply::XML);
    let is_abyss = reply.status().is_client_error()
        && !matches!(reply.status(), StatusCode::BAD_REQUEST | StatusCode::NOT_ACCEPTABLE);
    if dialect == Dialect::V1_11 && !is_xml && !is_abyss {
        // Its pages and its JSON come without a type, and pages about errors as successes.
        reply.headers_mut().remove(CONTENT_TYPE);
        *reply.status_mut() = StatusCode::OK;
    }
}

fn page(status: StatusCode, words: &str) -> Reply {
    reply::with_body(status, reply::HTML, format!("<html><body>{words}</body></html>"))
}
