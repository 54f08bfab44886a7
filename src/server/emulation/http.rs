//! How the HTTP modules of real servers take requests that ours takes otherwise: types, methods, sizes, pieces.
//!
//! Asked only when a version is imitated. What is lost by size or by how it was cut is a fault of the originals, so that
//! counts with hazards alone.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, SERVER, TRANSFER_ENCODING,
};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Version};

use crate::dialect::Dialect;
use crate::server::listener::http::reply::{self, Reply};
use crate::server::listener::http::route::{Mount, Roots};
use crate::server::listener::http::strict::size_of_head;

/// What the originals take in one piece, head and body (`POST_BUFFER`).
const ONE_PIECE: u64 = 16_384;
/// What 3.6 and 4.0 take of a body unless they are told otherwise (`receive_buf_size`).
pub(crate) const RECEIVE_BUFFER: usize = 1_024;

const ONLY_POST: &str = "Unexpected method (only POST is accepted)";

/// Whether a request at this path goes to the web server of 1.11's `mi_xmlrpc` (abyss): that has a port of its own, where
/// nothing else is.
pub(crate) fn is_of_abyss(dialect: Dialect, roots: &Roots, path: &str) -> bool {
    let is_there = dialect.is_1x() && matches!(roots.find(path), Some(Mount::Rpc));
    is_there || has_port_of_abyss(dialect, roots)
}

/// Whether this is that port.
pub(crate) fn has_port_of_abyss(dialect: Dialect, roots: &Roots) -> bool {
    dialect.is_1x() && roots.rpc.is_some() && roots.paths().count() == 1
}

/// What becomes of a request before its body is looked at.
pub(crate) enum Ruling {
    /// It is served as it is.
    Serve,
    /// It is served as if it had no body.
    WithoutBody,
    /// Its root answers with this error.
    Fail(i32, &'static str),
    /// The connection is closed without an answer.
    Close,
    /// Nothing happens until somebody else connects.
    Stall,
    /// This is the answer.
    Answer(Reply),
}

/// Rules on the head of a request.
pub(crate) fn rule(dialect: Dialect, mount: Mount<'_>, head: &Parts, hazards: bool) -> Ruling {
    match mount {
        Mount::Json(_) => rule_mi_json(dialect, head),
        Mount::Rpc if dialect.is_1x() => rule_abyss(head),
        Mount::Rpc | Mount::Xmlrpc => {
            let method = rule_method_of_xmlrpc(dialect, head);
            if matches!(method, Ruling::Serve) { rule_body(dialect, reply::XML, head, hazards) } else { method }
        }
        Mount::Mi if head.method == Method::POST && !takes_encoding(dialect, head) => Ruling::Close,
        Mount::Mi if head.method == Method::POST => rule_size(dialect, head, hazards),
        Mount::Mi | Mount::Html(_) => Ruling::Serve,
    }
}

/// Whether `mi_http` of a version that is imitated takes a body of this type: it looks at the beginning alone.
pub(crate) fn is_json(dialect: Dialect, head: &HeaderMap) -> bool {
    const PREFIX: &[u8] = b"application/json";
    let found = head.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    dialect.is_emulated() && found.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// The web server of `mi_xmlrpc`, which has no module of OpenSIPS in front of it.
fn rule_abyss(head: &Parts) -> Ruling {
    let refuse = |status, why| Ruling::Answer(page_of_abyss(status, why));
    if head.method != Method::POST {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "POST is the only HTTP method this server understands");
    }
    if head.headers.contains_key(TRANSFER_ENCODING) {
        let why = "You must send a content-length HTTP header in an XML-RPC call.";
        return refuse(StatusCode::LENGTH_REQUIRED, why);
    }
    if head.uri.path().ends_with('/') {
        return Ruling::Answer(not_found_by_abyss(head.uri.path()));
    }
    Ruling::Serve
}

/// What abyss says of any path but its one.
pub(crate) fn not_found_by_abyss(path: &str) -> Reply {
    let mut shown = Vec::new();
    crate::codec::html::push_escaped(&mut shown, path.as_bytes());
    let why = format!(
        "This XML-RPC For C/C++ Abyss XML-RPC server responds to only one URI path.  I don't know what URI path that \
         is, but it's not the one you requested: '{}'.  (Typically, it's '/RPC2')",
        String::from_utf8_lossy(&shown)
    );
    page_of_abyss(StatusCode::NOT_FOUND, &why)
}

fn page_of_abyss(status: StatusCode, why: &str) -> Reply {
    let title = format!("Error {}", status.as_u16());
    let server =
        "<a href=\"http://xmlrpc-c.sourceforge.net\">ABYSS Web Server for XML-RPC For C/C++</a> version 1.33.14";
    let page =
        format!("<html><head><title>{title}</title></head><body><h1>{title}</h1><p>{why}</p><p>{server}</p></body>");
    reply::with_body(status, reply::HTML, page + "</html>")
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
            Dialect::V1_8 | Dialect::V1_11 => Ruling::Answer(page(StatusCode::OK, "Internal server error!")),
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
    rule_size(dialect, head, hazards)
}

/// Whether a body may come as it does: only those that join reads take one in chunks.
fn takes_encoding(dialect: Dialect, head: &Parts) -> bool {
    joins_pieces(dialect) || !head.headers.contains_key(TRANSFER_ENCODING)
}

fn rule_size(dialect: Dialect, head: &Parts, hazards: bool) -> Ruling {
    let length = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let Some(length) = length.filter(|_| hazards) else { return Ruling::Serve };
    match length + size_of_head(head) as u64 > ONE_PIECE {
        true if joins_pieces(dialect) => Ruling::Stall,
        true => Ruling::Close,
        false => Ruling::Serve,
    }
}

/// Whether a version joins the pieces in which a body comes; the others want it in one.
fn joins_pieces(dialect: Dialect) -> bool {
    dialect >= Dialect::V3_6 && dialect.is_emulated()
}

/// What a real server makes of a body that comes in pieces; `None`: it closes the connection.
///
/// Those that join pieces drop one that does not fit, and go on with the rest.
pub(crate) fn join(dialect: Dialect, pieces: Vec<Bytes>, room: usize) -> Option<Bytes> {
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

/// Gathers a body in the pieces in which it came.
#[derive(Default)]
pub(crate) struct Gatherer {
    come: BytesMut,
    has_looked_again: bool,
}

impl Gatherer {
    /// What has come by now, as one read of a real server brings it; `None` at the end.
    pub(crate) fn poll_piece(
        &mut self,
        mut body: Pin<&mut Incoming>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, hyper::Error>>> {
        loop {
            match body.as_mut().poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.come.extend_from_slice(&frame.into_data().unwrap_or_default());
                    self.has_looked_again = false;
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) if self.come.is_empty() => return Poll::Ready(None),
                Poll::Pending if self.come.is_empty() => return Poll::Pending,
                // hyper may have read a part of what is there.
                Poll::Pending if !self.has_looked_again => {
                    self.has_looked_again = true;
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(None) | Poll::Pending => {
                    self.has_looked_again = false;
                    return Poll::Ready(Some(Ok(self.come.split().freeze())));
                }
            }
        }
    }
}

/// What 1.11's `mi_xmlrpc` makes of the text in its replies: bytes beyond ASCII become 0x7F, line ends in a row one.
pub(crate) fn spoil_text(reply: &[u8]) -> Vec<u8> {
    let mut spoilt = Vec::with_capacity(reply.len());
    let mut rest = reply;
    while let Some(begin) = memchr::memmem::find(rest, b"<string>") {
        let (before, text) = rest.split_at(begin + b"<string>".len());
        let (text, after) = text.split_at(memchr::memchr(b'<', text).unwrap_or(text.len()));
        spoilt.extend_from_slice(before);
        let text = text.to_vec();
        let is_line_end = |at: usize| text.get(at).is_some_and(|byte| matches!(byte, b'\r' | b'\n'));
        for (at, byte) in text.iter().enumerate() {
            match byte {
                b'\r' | b'\n' if is_line_end(at + 1) => {}
                b'\r' => spoilt.push(b'\n'),
                0x80.. => spoilt.push(0x7f),
                _ => spoilt.push(*byte),
            }
        }
        rest = after;
    }
    spoilt.extend_from_slice(rest);
    spoilt
}

/// What 1.11 does later for what it was asked before.
#[derive(Default)]
pub(crate) struct Aftermath {
    /// `mi_json` has freed an empty parameter, and will do so again.
    is_doomed: AtomicBool,
    /// `mi_xmlrpc` has given away the one array that it has.
    has_given_array: AtomicBool,
}

/// How much of a read belongs to the request that it begins with: `httpd` forgets what comes with it.
pub(crate) fn first_request(read: &[u8]) -> usize {
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

/// What becomes of a reply with an array.
pub(crate) enum ArrayReply {
    Sent,
    NotAnArray,
    Death,
}

impl Aftermath {
    /// Whether 1.11 does not survive this request of `mi_json`: it is the one after one with an empty parameter.
    pub(crate) fn dies_of_json(&self, had_empty_parameter: bool) -> bool {
        self.is_doomed.swap(had_empty_parameter, Ordering::Relaxed)
    }

    /// What `mi_xmlrpc` makes of a reply after its first success: it has no array any more to put nodes into.
    pub(crate) fn rule_on_array(&self, reply: &[u8]) -> ArrayReply {
        let has = |what: &[u8]| memchr::memmem::find(reply, what).is_some();
        if has(b"<fault>") || !self.has_given_array.swap(true, Ordering::Relaxed) {
            ArrayReply::Sent
        } else if has(b"<string>") {
            ArrayReply::NotAnArray
        } else {
            ArrayReply::Death
        }
    }
}

/// Who has not come: a request that is stalled goes on when somebody else connects.
#[derive(Default)]
pub(crate) struct Arrivals(Mutex<(u64, Vec<Waker>)>);

impl Arrivals {
    /// Somebody has connected.
    pub(crate) fn note(&self) {
        let wakers = {
            let mut arrivals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            arrivals.0 += 1;
            std::mem::take(&mut arrivals.1)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// How many have.
    pub(crate) fn count(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Ready when more than `seen` have.
    pub(crate) fn poll_more(&self, seen: u64, context: &Context<'_>) -> Poll<()> {
        let mut arrivals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if arrivals.0 > seen {
            return Poll::Ready(());
        }
        arrivals.1.push(context.waker().clone());
        Poll::Pending
    }
}

/// How a request wants to be answered, as far as an original goes by that.
pub(crate) struct Wishes {
    /// Whether the connection ends with the answer.
    pub(crate) closes: bool,
    is_of_abyss: bool,
    /// What 1.11's `httpd` calls each answer: what the body of the request was, or what the client would like.
    type_of_1_11: Option<HeaderValue>,
}

impl Wishes {
    pub(crate) fn of(head: &HeaderMap, version: Version, is_of_abyss: bool) -> Self {
        let known = [("text/xml", reply::XML), ("application/json", reply::JSON), ("text/html", reply::HTML)];
        let named = |header| {
            let named = head.get(header)?.as_bytes().to_ascii_lowercase();
            known.iter().find(|(name, _)| named.starts_with(name.as_bytes())).map(|(_, kind)| kind.clone())
        };
        let closes = version == Version::HTTP_10
            || head.get(CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
        Wishes { closes, is_of_abyss, type_of_1_11: named(CONTENT_TYPE).or_else(|| named(ACCEPT)) }
    }
}

/// A reply as the version's HTTP modules send it.
pub(crate) fn finish(dialect: Dialect, wishes: Wishes, reply: &mut Reply) {
    let head = reply.headers_mut();
    if wishes.closes {
        head.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if wishes.is_of_abyss {
        head.insert(SERVER, HeaderValue::from_static("Xmlrpc-c_Abyss/1.33.14"));
        if !head.contains_key(CONNECTION) {
            head.insert(CONNECTION, HeaderValue::from_static("Keep-Alive"));
            head.insert("keep-alive", HeaderValue::from_static("timeout=15, max=30"));
        }
    } else if dialect.is_1x() {
        // Pages about errors are successes.
        match wishes.type_of_1_11 {
            Some(kind) => head.insert(CONTENT_TYPE, kind),
            None => head.remove(CONTENT_TYPE),
        };
        *reply.status_mut() = StatusCode::OK;
    } else if head.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html")) {
        head.insert(CONTENT_TYPE, reply::HTML);
    }
}

/// Whether a real server leaves this answer without the chunk that ends it: all that 3.x and 4.x answer without a body.
pub(crate) fn is_left_open(dialect: Dialect, reply: &Reply) -> bool {
    dialect.reads_json() && reply.body().size_hint().exact() == Some(0)
}

fn page(status: StatusCode, words: &str) -> Reply {
    reply::with_body(status, reply::HTML, format!("<html><body>{words}</body></html>"))
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
    fn what_comes_with_a_request_is_not_of_it() {
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

    #[test]
    fn text_is_spoilt_and_nothing_else() {
        let reply = "<a>\r\n\r\n</a><string>\u{17e}\r\nb\n\nc\n</string>\r\n\r\n<string></string>\u{17e}";
        let spoilt = "<a>\r\n\r\n</a><string>\x7f\x7f\nb\nc\n</string>\r\n\r\n<string></string>\u{17e}";
        assert_eq!(spoil_text(reply.as_bytes()), spoilt.as_bytes());
    }

    #[test]
    fn an_array_is_given_once() {
        let aftermath = Aftermath::default();
        let rule = |reply: &str| match aftermath.rule_on_array(reply.as_bytes()) {
            ArrayReply::Sent => "sent",
            ArrayReply::NotAnArray => "no array",
            ArrayReply::Death => "death",
        };
        let (fault, empty, line) = ("<fault>", "<array>", "<array><string>");
        assert_eq!([fault, empty, line, fault, empty].map(rule), ["sent", "sent", "no array", "sent", "death"]);
    }

    #[test]
    fn mi_json_dies_after_an_empty_parameter() {
        let aftermath = Aftermath::default();
        assert_eq!(
            [false, true, false, false].map(|broken| aftermath.dies_of_json(broken)),
            [false, false, true, false]
        );
    }
}
