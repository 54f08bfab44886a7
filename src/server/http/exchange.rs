//! One request and its answer: who asks, what is at the path, in which form, and what the desk makes of it.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::rt::Write as _;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Method, Request, StatusCode};

use super::body::Making;
use super::connection::{Life, Progress, Stage};
use super::guard::Guard;
use super::original::{self, Ruling};
use super::reactor::Reactor;
use super::reply::{self, Problem, Reply};
use super::route::{Mount, Roots};
use super::slot::{Made, Slot};
use super::stream::Stream;
use crate::codec::{RequestError, jsonrpc, mi_json, xmlrpc};
use crate::command::Peer;
use crate::dialect::Dialect;
use crate::response;
use crate::server::desk::{Asked, Caller, Desk};

/// No head of ours is near it; a longer one is answered 431.
const LONGEST_HEAD: usize = 64 << 10;
/// As many headers as anything sends.
const MOST_HEADERS: usize = 100;

/// What all connections of a listener share.
pub(super) struct Site {
    pub(super) desk: Arc<Desk>,
    pub(super) roots: Roots,
    /// What is spoken at the root for XML-RPC.
    pub(super) form: xmlrpc::Form,
    pub(super) json_get_reads_only: bool,
    pub(super) guard: Guard,
    pub(super) request_limit: usize,
    pub(super) reactor: Arc<Reactor>,
    /// Whether it has the faults of the version that it imitates.
    pub(super) hazards: bool,
}

/// The form of XML-RPC that a version has at `/RPC2` unless it is set up otherwise.
pub(super) fn form_of(dialect: Dialect) -> xmlrpc::Form {
    match dialect {
        Dialect::V1_11 => xmlrpc::Form::String,
        Dialect::V2_4 => xmlrpc::Form::Ng2,
        _ => xmlrpc::Form::Native,
    }
}

/// All requests of a connection, one after the other.
pub(super) fn life(site: Arc<Site>, stream: Stream, peer: SocketAddr, progress: Arc<Progress>) -> Life {
    let mut http = http1::Builder::new();
    http.max_headers(MOST_HEADERS).max_buf_size(LONGEST_HEAD).half_close(true).title_case_headers(true);
    let exchange = Exchange { site, peer: Peer::Inet(peer), progress: progress.clone() };
    let mut connection = http.serve_connection(stream, exchange);
    Box::pin(async move {
        let ended = poll_fn(|context| connection.poll_without_shutdown(context)).await;
        if let Err(error) = &ended {
            log::debug!("a connection from {peer} ended: {error}");
        }
        let mut stream = connection.into_parts().io;
        let closed = poll_fn(|context| Pin::new(&mut stream).poll_shutdown(context)).await;
        // What a socket has not read when it is closed makes the kernel take back the answer, too.
        if closed.is_ok() && (ended.is_err() || progress.has_problem()) {
            poll_fn(|context| stream.poll_discard(context)).await;
        }
    })
}

/// The connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed without an answer")]
struct Silence;

struct Exchange {
    site: Arc<Site>,
    peer: Peer,
    progress: Arc<Progress>,
}

impl Service<Request<Incoming>> for Exchange {
    type Response = Reply;
    type Error = Silence;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Silence>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let Exchange { site, peer, progress } = self;
        let (site, peer, progress) = (site.clone(), peer.clone(), progress.clone());
        Box::pin(async move {
            progress.reach(Stage::Body, site.reactor.round());
            let version = request.version();
            progress.note_version(version);
            let answered = site.answer(request, peer, &progress).await;
            progress.reach(Stage::Reply, site.reactor.round());
            let is_problem = answered.is_err();
            let mut reply = match answered {
                Ok(reply) => reply,
                Err(problem) => problem.reply(site.desk.dialect()).ok_or(Silence)?,
            };
            // After a problem the rest of the request may still be on its way.
            if is_problem {
                progress.note_problem();
            }
            if is_problem || progress.is_orphaned() {
                reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            if site.desk.dialect().is_emulated() {
                original::finish(site.desk.dialect(), version, &mut reply);
            }
            Ok(reply)
        })
    }
}

impl Site {
    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: Peer,
        progress: &Arc<Progress>,
    ) -> Result<Reply, Problem> {
        let (head, body) = request.into_parts();
        let refused = |refusal| Problem::Refused(refusal, self.guard.challenge());
        // Also where a version is imitated that never asked: a link could run its commands.
        self.guard.check_site(&head.headers).map_err(refused)?;
        let user = self.guard.authenticate(&head.headers).map_err(refused)?;
        let path = head.uri.path();
        let mount = self.roots.find(path).ok_or_else(|| Problem::NoSuchPath {
            path: path.to_owned(),
            known: self.roots.paths().collect::<Vec<_>>().join(", "),
        })?;
        let reads_only = head.method != Method::POST && self.json_get_reads_only;
        let caller = Caller { peer, size: 0, user, reads_only };
        let dialect = self.desk.dialect();
        if dialect.is_emulated() {
            match original::rule(dialect, mount, &head, self.hazards) {
                Ruling::Serve => {}
                Ruling::Answer(reply) => return Ok(reply),
                Ruling::Close => return Err(Problem::Unserved),
                Ruling::WithoutBody => return Ok(self.xml_reply(&xmlrpc::decode_request(b"", self.form, dialect))),
                Ruling::Fail(code, words) => return Ok(self.xml_error(&Ok(response::Response::error(code, words)))),
            }
        }
        let (asked, size, content_type) = match mount {
            // Where 1.x and 2.x have their pages; JSON-RPC is never asked for by GET.
            Mount::Mi if head.method == Method::GET && self.has_old_page(path) => {
                let root = self.roots.mi.as_deref().unwrap_or_default();
                return self.answer_page((&head, body), (root, true), caller, progress).await;
            }
            Mount::Mi => {
                expect_method(&head.method, &[Method::POST], "POST")?;
                expect_type(&head.headers, "application/json", |found| {
                    found.starts_with("application/json") || found == "text/xml"
                })?;
                let body = self.read(&head.headers, body, progress).await?;
                (self.desk.read_json(&body), body.len(), reply::JSON)
            }
            Mount::Json(command) => {
                expect_method(&head.method, &[Method::GET], "GET")?;
                let query = head.uri.query().map(str::as_bytes);
                let request = mi_json::decode_request(command.as_bytes(), query, self.desk.dialect());
                (Asked::MiJson(request), query.map_or(0, <[u8]>::len), reply::JSON)
            }
            Mount::Rpc | Mount::Xmlrpc => {
                expect_method(&head.method, &[Method::POST], "POST")?;
                if !self.desk.dialect().is_emulated() {
                    expect_type(&head.headers, "text/xml", |found| {
                        found.starts_with("text/xml") || found.starts_with("application/xml")
                    })?;
                }
                let form = if mount == Mount::Xmlrpc { xmlrpc::Form::Ng } else { self.form };
                let body = self.read(&head.headers, body, progress).await?;
                let asked = xmlrpc::decode_request(&body, form, self.desk.dialect());
                (Asked::Xml(form, asked), body.len(), reply::XML)
            }
            Mount::Html(_) => {
                let words = !self.desk.dialect().reads_json();
                let root = self.roots.html.as_deref().unwrap_or_default();
                return self.answer_page((&head, body), (root, words), caller, progress).await;
            }
        };
        progress.reach(Stage::Running, self.reactor.round());
        let is_broken =
            matches!(&asked, Asked::Json(jsonrpc::Incoming::One(Ok(call))) if call.id == jsonrpc::Id::Broken);
        let body = match self.run(asked, Caller { size, ..caller }, progress).await {
            Made::Whole(body) => body,
            Made::Begun(first, stream) => {
                let making = Making::new(first, *stream, progress.clone(), self.reactor.clone());
                return Ok(reply::with_making(content_type, making));
            }
        };
        Ok(if is_broken && dialect.is_emulated() {
            reply::with_body(StatusCode::INTERNAL_SERVER_ERROR, content_type, Bytes::new())
        } else if body.is_empty() && mount == Mount::Mi {
            reply::with_body(StatusCode::ACCEPTED, content_type, body)
        } else {
            reply::with_body(StatusCode::OK, content_type, body)
        })
    }

    /// What the root for XML-RPC says to a request that cannot be read.
    fn xml_reply(&self, asked: &Result<xmlrpc::Incoming, RequestError>) -> Reply {
        match asked {
            Err(error) => self.xml_error(&Err(error.failure.clone())),
            Ok(_) => self.xml_error(&Ok(response::Response::ok())),
        }
    }

    fn xml_error(&self, result: &Result<response::Response, response::Failure>) -> Reply {
        let mut body = Vec::new();
        xmlrpc::encode_response(&mut body, result, b"", self.form, self.desk.dialect());
        reply::with_body(StatusCode::OK, reply::XML, body)
    }

    /// Whether a path is that of a module or command below the root that JSON-RPC has now.
    fn has_old_page(&self, path: &str) -> bool {
        let root = self.roots.mi.as_deref().unwrap_or_default().trim_end_matches('/');
        let below = path.strip_prefix(root).unwrap_or_default();
        self.roots.html.is_some() && !self.desk.dialect().is_emulated() && below.len() > 1
    }

    /// Has a request served by whoever polls the connection, and waits for the answer.
    pub(super) async fn run(&self, asked: Asked, caller: Caller, progress: &Progress) -> Made {
        let slot = Slot::default();
        let (desk, route) = (self.desk.clone(), slot.route());
        progress.leave_errand(Box::new(move || desk.serve(asked, caller, &mut Vec::with_capacity(256), route)));
        let mut is_served = false;
        poll_fn(|context| {
            let answer = slot.poll(context.waker());
            let is_waited_for = std::mem::replace(&mut is_served, true) && answer.is_pending();
            if is_waited_for && progress.client_has_left() {
                progress.set_ended();
                context.waker().wake_by_ref();
            }
            answer
        })
        .await
    }

    /// The whole body.
    pub(super) async fn read(&self, head: &HeaderMap, body: Incoming, progress: &Progress) -> Result<Bytes, Problem> {
        if let Some(encoding) = head.get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
            return Err(Problem::Encoded(String::from_utf8_lossy(encoding.as_bytes()).into_owned()));
        }
        let limit = self.request_limit;
        if body.size_hint().lower() > limit as u64 {
            self.desk.counters.parse_errors.add(1);
            return Err(Problem::TooLarge { limit });
        }
        let mut body = pin!(body);
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        loop {
            let frame = poll_fn(|context| {
                if progress.is_overdue() {
                    return Poll::Ready(Err(Problem::TooSlow));
                }
                body.as_mut().poll_frame(context).map(Ok)
            });
            let piece = match frame.await? {
                None => break,
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Err(Problem::Unreadable(error.to_string())),
            };
            if first.len() + rest.len() + piece.len() > limit {
                return Err(Problem::TooLarge { limit });
            }
            if first.is_empty() {
                first = piece;
            } else {
                rest.extend_from_slice(&piece);
            }
        }
        self.desk.counters.bytes_in.add((first.len() + rest.len()) as i64);
        if first.is_empty() {
            Err(Problem::NoBody)
        } else if rest.is_empty() {
            Ok(first)
        } else {
            Ok([first, rest.freeze()].concat().into())
        }
    }
}

fn expect_method(found: &Method, allowed: &[Method], names: &'static str) -> Result<(), Problem> {
    if allowed.contains(found) {
        return Ok(());
    }
    Err(Problem::WrongMethod { found: found.to_string(), allowed: names })
}

fn expect_type(head: &HeaderMap, expected: &'static str, is_right: impl FnOnce(&str) -> bool) -> Result<(), Problem> {
    let found = head.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    if found.as_ref().is_some_and(|found| is_right(&found.to_ascii_lowercase())) {
        return Ok(());
    }
    Err(Problem::WrongType { found, expected })
}
