//! Replies as the HTTP modules of a version send them.

use bytes::Bytes;
use hyper::body::Body as _;
use hyper::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, SERVER};
use hyper::{StatusCode, Version};

use crate::codec::xmlrpc;
use crate::dialect::Dialect;
use crate::response::{Failure, Response};
use crate::server::listener::http::body::ReplyBody;
use crate::server::listener::http::policy::Preferences;
use crate::server::listener::http::reply::{self, Problem, Reply};

/// Returns the preferences for a reply from a request's head.
pub(super) fn preferences(head: &HeaderMap, version: Version, is_of_abyss: bool) -> Preferences {
    let known = [("text/xml", reply::XML), ("application/json", reply::JSON), ("text/html", reply::HTML)];
    let named = |header| {
        let named = head.get(header)?.as_bytes().to_ascii_lowercase();
        known.iter().find(|(name, _)| named.starts_with(name.as_bytes())).map(|(_, kind)| kind.clone())
    };
    let closes = version == Version::HTTP_10
        || head.get(CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
    // 1.11's `httpd` calls each answer what the body of the request was, or what the client would like.
    Preferences { closes, is_of_abyss, content_type: named(CONTENT_TYPE).or_else(|| named(ACCEPT)) }
}

/// A reply as the version's HTTP modules send it.
pub(super) fn finish(dialect: Dialect, preferences: Preferences, mut reply: Reply) -> Reply {
    let head = reply.headers_mut();
    if preferences.closes {
        head.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if preferences.is_of_abyss {
        head.insert(SERVER, HeaderValue::from_static("Xmlrpc-c_Abyss/1.33.14"));
        if !head.contains_key(CONNECTION) {
            head.insert(CONNECTION, HeaderValue::from_static("Keep-Alive"));
            head.insert("keep-alive", HeaderValue::from_static("timeout=15, max=30"));
        }
    } else if dialect.is_1x() {
        // Pages about errors are successes.
        match preferences.content_type {
            Some(kind) => head.insert(CONTENT_TYPE, kind),
            None => head.remove(CONTENT_TYPE),
        };
        *reply.status_mut() = StatusCode::OK;
    } else if head.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html")) {
        head.insert(CONTENT_TYPE, reply::HTML);
    }
    reply
}

/// A reply without the chunk that ends it: 3.x and 4.x leave all replies so that have no body.
pub(super) fn leave_open(dialect: Dialect, reply: Reply) -> Reply {
    if !dialect.reads_json() || reply.body().size_hint().exact() != Some(0) {
        return reply;
    }
    reply.map(|_| ReplyBody::Open)
}

/// A reply at the root for XML-RPC.
pub(super) fn xml(result: &Result<Response, Failure>, form: xmlrpc::Form, dialect: Dialect) -> Reply {
    let mut body = Vec::new();
    xmlrpc::encode_response(&mut body, result, b"", form, dialect);
    reply::with_body(StatusCode::OK, reply::XML, body)
}

/// The reply of 3.x and 4.x to an XML-RPC request without a body.
pub(super) fn bad_xml() -> Reply {
    reply::with_body(StatusCode::BAD_REQUEST, reply::XML, Bytes::new())
}

/// The answer to a request that HTTP itself refuses; `None` closes the connection.
///
/// `httpd` of 3.x and 4.x has pages for paths and methods that it does not serve, `mi_http` empty answers for bodies
/// that it cannot read. A type that it does not know ends the connection.
pub(super) fn explain(problem: Problem, dialect: Dialect) -> Option<Reply> {
    match problem {
        Problem::NoSuchPath { .. } => Some(page(StatusCode::BAD_REQUEST, "Unable to parse URL!")),
        Problem::WrongMethod { found, .. } if found == "GET" && dialect.reads_json() => {
            Some(reply::with_body(StatusCode::METHOD_NOT_ALLOWED, reply::JSON, Bytes::new()))
        }
        Problem::WrongMethod { .. } => Some(page(StatusCode::NOT_ACCEPTABLE, "Unsupported HTTP request!")),
        Problem::WrongType { found: Some(found), .. } if found == "application/x-www-form-urlencoded" => {
            Some(reply::with_body(StatusCode::BAD_REQUEST, reply::JSON, Bytes::new()))
        }
        Problem::NoBody => Some(reply::with_body(StatusCode::BAD_REQUEST, reply::JSON, Bytes::new())),
        Problem::Refused(..) => Some(problem.explained()),
        _ => None,
    }
}

pub(super) fn page(status: StatusCode, words: &str) -> Reply {
    reply::with_body(status, reply::HTML, format!("<html><body>{words}</body></html>"))
}
