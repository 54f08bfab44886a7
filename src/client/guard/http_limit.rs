//! The sizes that servers read of one request over HTTP.

use crate::catalog::limits::{ABYSS_BODY_SIZE, HTTP_BODY_SIZE, HTTP_MESSAGE_SIZE};

/// The size that a server reads of one request over HTTP, and the consequence of more.
#[derive(Debug, PartialEq, Eq)]
pub struct HttpLimit {
    /// The part of the request that counts.
    pub what: &'static str,
    /// Its greatest size in bytes.
    pub bytes: usize,
    /// The effect of a greater size.
    pub consequence: &'static str,
    /// The way around it.
    pub remedy: &'static str,
    /// True if the server would merely reject the request.
    pub is_harmless: bool,
}

/// From 3.6 on, `httpd` collects a body in a buffer, drops the bytes that do not fit, and runs the rest.
pub(super) static HTTP_BODY: HttpLimit = HttpLimit {
    what: "body",
    bytes: HTTP_BODY_SIZE,
    consequence: "the server would drop a part of it and run the rest",
    remedy: "if modparam receive_buf_size of httpd is larger there, say so with receive_buf_size=; a datagram carries more",
    is_harmless: false,
};

/// The library of `mi_xmlrpc` (1.x) takes this much (`XMLRPC_XML_SIZE_LIMIT_DEFAULT` of xmlrpc-c).
pub(super) static ABYSS_BODY: HttpLimit = HttpLimit {
    what: "body",
    bytes: ABYSS_BODY_SIZE,
    consequence: "the server would refuse it",
    remedy: "no modparam of mi_xmlrpc raises it",
    is_harmless: true,
};

/// Before 3.6, `httpd` wants head and body in the memory that it has for a connection.
pub(super) static HTTP_MESSAGE: HttpLimit = HttpLimit {
    what: "request with its head",
    bytes: HTTP_MESSAGE_SIZE,
    consequence: "the server would close the connection",
    remedy: "no modparam of httpd raises it; a datagram carries more",
    is_harmless: true,
};
