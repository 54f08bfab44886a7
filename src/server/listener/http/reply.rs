//! HTTP's own replies, which name the problem of a request with a status.

use bytes::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};

use super::body::{Making, ReplyBody};
use super::guard::Refusal;

pub(crate) type Reply = Response<ReplyBody>;

/// For a client whose network the listener does not serve.
pub(crate) const NOT_FROM_THERE: &[u8] = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// For a client beyond the limit of connections.
pub(crate) const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// For a head that is not complete in time.
pub(crate) const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const XML: HeaderValue = HeaderValue::from_static("text/xml; charset=utf-8");
pub(crate) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
pub(crate) const HTML: HeaderValue = HeaderValue::from_static("text/html");

/// A body with its type. hyper adds its length.
pub(crate) fn with_body(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(body.into().into());
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    reply
}

/// A streamed body with its type.
pub(crate) fn with_making(content_type: HeaderValue, body: Making) -> Reply {
    let mut reply = Response::new(ReplyBody::Made(Box::new(body)));
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    reply
}

/// The problem of a request at the level of HTTP.
#[derive(Debug)]
pub(crate) enum Problem {
    Refused(Refusal, &'static str),
    NoSuchPath {
        path: String,
        known: String,
    },
    WrongMethod {
        found: String,
        allowed: &'static str,
    },
    WrongType {
        found: Option<String>,
        expected: &'static str,
    },
    Encoded(String),
    TooLarge {
        limit: usize,
    },
    HeadTooLarge {
        limit: usize,
    },
    /// It has no Host field, or several.
    Hosts {
        found: usize,
    },
    /// The target of the request names a host, and its Host field names another one.
    Target {
        target: String,
        host: String,
    },
    /// A transfer coding other than chunked.
    Coding(String),
    NoMemory,
    /// The command was run, but its reply of this size exceeds the memory for replies that wait for their clients.
    Unsent {
        size: usize,
    },
    TooSlow,
    Unreadable(String),
    NoBody,
    /// The emulated version does not answer such a request.
    Unserved,
}

impl Problem {
    /// The answer that explains the problem.
    pub(crate) fn explained(self) -> Reply {
        let (status, words) = match &self {
            Problem::Refused(Refusal::Foreign(why), _) => {
                (StatusCode::FORBIDDEN, format!("{why}; requests may not come from foreign web pages"))
            }
            Problem::Refused(Refusal::Unproven, _) => {
                (StatusCode::UNAUTHORIZED, "expected an Authorization header with valid credentials".into())
            }
            Problem::NoSuchPath { path, known } => {
                (StatusCode::NOT_FOUND, format!("nothing is at {path}; there are {known}"))
            }
            Problem::WrongMethod { found, allowed } => {
                (StatusCode::METHOD_NOT_ALLOWED, format!("expected the method {allowed} here, found {found}"))
            }
            Problem::WrongType { found, expected } => {
                let found = found.as_deref().unwrap_or("none");
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("expected Content-Type {expected}, found {found}"))
            }
            Problem::Encoded(found) => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!("expected a body without Content-Encoding, found {found}"),
            ),
            Problem::TooLarge { limit } => {
                (StatusCode::PAYLOAD_TOO_LARGE, format!("expected a body of at most {limit} bytes"))
            }
            Problem::HeadTooLarge { limit } => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, format!("expected a head of at most {limit} bytes"))
            }
            Problem::Hosts { found } => (StatusCode::BAD_REQUEST, format!("expected one Host header, found {found}")),
            Problem::Target { target, host } => (
                StatusCode::BAD_REQUEST,
                format!("expected the Host header {target}, as in the target, found {host:?}"),
            ),
            Problem::Coding(found) => {
                (StatusCode::NOT_IMPLEMENTED, format!("expected Transfer-Encoding chunked, found {found}"))
            }
            Problem::NoMemory => (StatusCode::SERVICE_UNAVAILABLE, "there is no memory for the body now".into()),
            Problem::Unsent { size } => (
                StatusCode::INTERNAL_SERVER_ERROR,
                format!(
                    "the command was run; its reply of {size} bytes is not sent: replies to slow clients fill unsent_limit"
                ),
            ),
            Problem::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body did not come in time".into()),
            Problem::Unreadable(why) => (StatusCode::BAD_REQUEST, format!("the body cannot be read: {why}")),
            Problem::NoBody | Problem::Unserved => {
                (StatusCode::BAD_REQUEST, "expected a request in the body, found none".into())
            }
        };
        let mut reply = with_body(status, TEXT, words + "\n");
        let mut say = |name: HeaderName, value: &'static str| {
            reply.headers_mut().insert(name, HeaderValue::from_static(value));
        };
        match self {
            Problem::Refused(Refusal::Unproven, challenge) => say(WWW_AUTHENTICATE, challenge),
            Problem::WrongMethod { allowed, .. } => say(ALLOW, allowed),
            _ => {}
        }
        reply
    }
}
