//! Which requests the HTTP modules of a version take: by method, type, coding and size.

use bytes::Bytes;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

use super::abyss;
use super::pieces::joins_pieces;
use super::replies::page;
use crate::dialect::Dialect;
use crate::server::listener::http::policy::Verdict;
use crate::server::listener::http::reply::{self, Reply};
use crate::server::listener::http::strict::size_of_head;
use crate::server::options::roots::Route;

/// The most bytes of head and body that the originals take in one piece (`POST_BUFFER`).
const ONE_PIECE: u64 = 16_384;

const ONLY_POST: &str = "Unexpected method (only POST is accepted)";

/// The decision on a request before its body is read.
pub(super) enum Ruling {
    /// A decision that needs nothing else.
    Verdict(Verdict),
    /// The request is served as if it had no body.
    WithoutBody,
    /// The root answers with this error.
    Fail(i32, &'static str),
    /// The request waits until another client connects.
    Stall,
}

const SERVE: Ruling = Ruling::Verdict(Verdict::Serve);
const CLOSE: Ruling = Ruling::Verdict(Verdict::Close);

fn answer(reply: Reply) -> Ruling {
    Ruling::Verdict(Verdict::Answer(reply))
}

/// Decides on the head of a request.
pub(super) fn rule(dialect: Dialect, mount: Route<'_>, head: &Parts, hazards: bool) -> Ruling {
    match mount {
        Route::Json(_) => rule_mi_json(dialect, head),
        Route::Rpc if dialect.is_1x() => Ruling::Verdict(abyss::rule(head)),
        Route::Rpc | Route::Xmlrpc => {
            let method = rule_method_of_xmlrpc(dialect, head);
            if matches!(method, Ruling::Verdict(Verdict::Serve)) {
                rule_body(dialect, reply::XML, head, hazards)
            } else {
                method
            }
        }
        Route::Mi if head.method == Method::POST && !takes_encoding(dialect, head) => CLOSE,
        Route::Mi if head.method == Method::POST => rule_size(dialect, head, hazards),
        Route::Mi | Route::Html(_) => SERVE,
    }
}

/// Returns true if `mi_http` accepts a body of this type: it compares the beginning alone.
pub(super) fn begins_as_json(head: &HeaderMap) -> bool {
    const PREFIX: &[u8] = b"application/json";
    let found = head.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    found.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

fn rule_mi_json(dialect: Dialect, head: &Parts) -> Ruling {
    if head.method != Method::POST {
        return SERVE;
    }
    let words: &[u8] = match dialect {
        Dialect::V1_11 => b"{\"error\":\"Unexpected method\"}",
        _ => b"{\"error\": {\"code\": 406, \"message\": \"Unexpected method\"}}",
    };
    answer(reply::with_body(StatusCode::OK, reply::JSON, Bytes::from_static(words)))
}

fn rule_method_of_xmlrpc(dialect: Dialect, head: &Parts) -> Ruling {
    match (&head.method, dialect) {
        (&Method::GET, Dialect::V1_11) => answer(page(StatusCode::OK, &[ONLY_POST, "!"].concat())),
        (&Method::GET, Dialect::V2_4) => Ruling::Fail(405, ONLY_POST),
        (&Method::GET, _) => answer(reply::with_body(StatusCode::METHOD_NOT_ALLOWED, reply::XML, Bytes::new())),
        _ => SERVE,
    }
}

/// `httpd` knows two types; of forms it makes an empty body, and it waits for no others.
fn rule_body(dialect: Dialect, answers: HeaderValue, head: &Parts, hazards: bool) -> Ruling {
    if head.method != Method::POST {
        return SERVE;
    }
    let found = head.headers.get(CONTENT_TYPE).map(|value| value.as_bytes().to_ascii_lowercase()).unwrap_or_default();
    if found.starts_with(b"application/x-www-form-urlencoded") {
        return match dialect {
            Dialect::V1_8 | Dialect::V1_11 => answer(page(StatusCode::OK, "Internal server error!")),
            Dialect::V2_4 => Ruling::WithoutBody,
            _ => answer(reply::with_body(StatusCode::BAD_REQUEST, answers, Bytes::new())),
        };
    }
    if !found.starts_with(b"text/xml") && !found.starts_with(b"application/json") {
        return CLOSE;
    }
    if !takes_encoding(dialect, head) {
        return CLOSE;
    }
    rule_size(dialect, head, hazards)
}

/// Returns true if the server accepts the body's encoding: only versions that join reads accept chunks.
fn takes_encoding(dialect: Dialect, head: &Parts) -> bool {
    joins_pieces(dialect) || !head.headers.contains_key(TRANSFER_ENCODING)
}

fn rule_size(dialect: Dialect, head: &Parts, hazards: bool) -> Ruling {
    let length = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let Some(length) = length.filter(|_| hazards) else { return SERVE };
    match length + size_of_head(head) as u64 > ONE_PIECE {
        true if joins_pieces(dialect) => Ruling::Stall,
        true => CLOSE,
        false => SERVE,
    }
}
