//! One request and its answer: who asks, what is at the path, in which form, and what the desk makes of it.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::rt::Write as _;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Method, Request, StatusCode};

use super::body::{Making, ReplyBody};
use super::browser::JsonGet;
use super::connection::{Life, Progress, Stage};
use super::guard::Guard;
use super::media;
use super::reactor::Reactor;
use super::reply::{self, Problem, Reply};
use super::route::{Mount, Roots};
use super::slot::{Made, Slot};
use super::stream::Stream;
use super::strict::{self, LONGEST_HEAD};
use crate::codec::{RequestError, jsonrpc, mi_json, xmlrpc};
use crate::command::Peer;
use crate::dialect::Dialect;
use crate::response;
use crate::server::Context;
use crate::server::dispatch::dispatcher::{Asked, Caller, Desk};
use crate::server::emulation::http::{self as original, Aftermath, ArrayReply, Arrivals, Gatherer, Ruling, Wishes};

/// As many headers as anything sends.
const MOST_HEADERS: usize = 100;

/// What all connections of a listener share.
pub(super) struct Site {
    pub(super) desk: Arc<Desk>,
    pub(super) roots: Roots,
    /// What is spoken at the root for XML-RPC.
    pub(super) form: xmlrpc::Form,
    pub(super) json_get: JsonGet,
    pub(super) shows_metrics: bool,
    pub(super) guard: Guard,
    pub(super) request_limit: usize,
    pub(super) reactor: Arc<Reactor>,
    /// Whether it has the faults of the version that it imitates.
    pub(super) hazards: bool,
    /// What it takes of a body, where that is one of them.
    pub(super) receive_buffer: usize,
    pub(super) arrivals: Arrivals,
    pub(super) aftermath: Aftermath,
    pub(super) context: Arc<Context>,
}

/// The form of XML-RPC that a version has at `/RPC2` unless it is set up otherwise.
pub(super) fn form_of(dialect: Dialect) -> xmlrpc::Form {
    match dialect {
        Dialect::V1_8 | Dialect::V1_11 => xmlrpc::Form::String,
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
            progress.note_version(request.version());
            let dialect = site.desk.dialect();
            let is_of_abyss = original::is_of_abyss(dialect, &site.roots, request.uri().path());
            let mut wishes = Wishes::of(request.headers(), request.version(), is_of_abyss);
            // 1.x and 2.x close then, 3.x and 4.x wait for more.
            wishes.closes |= dialect.reads_text() && progress.was_overfed();
            let answered = site.answer(request, peer, &progress).await;
            progress.reach(Stage::Reply, site.reactor.round());
            let is_problem = answered.is_err();
            let mut reply = match answered {
                Ok(reply) => reply,
                Err(problem) => problem.reply(dialect).ok_or(Silence)?,
            };
            // After a problem the rest of the request may still be on its way.
            if is_problem {
                progress.note_problem();
            }
            // Nor does a server that stops take another request over a connection.
            if is_problem || progress.is_orphaned() || site.desk.context().is_stopping() {
                reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            if dialect.is_emulated() {
                original::finish(dialect, wishes, &mut reply);
            }
            if site.hazards && original::is_left_open(dialect, &reply) {
                reply.headers_mut().remove(CONTENT_LENGTH);
                return Ok(reply.map(|_| ReplyBody::Open));
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
        if let Some(reply) = self.answer_health(&head.method, head.uri.path()) {
            return Ok(reply);
        }
        let refused = |refusal| Problem::Refused(refusal, self.guard.challenge());
        // Also where a version is imitated that never asks: a link could run its commands. With its faults it may.
        if !self.hazards {
            strict::check(&head, self.desk.dialect().is_emulated())?;
            self.guard.check_site(&head.headers).map_err(refused)?;
        }
        let user = self.guard.authenticate(&head.headers).map_err(refused)?;
        let path = head.uri.path();
        if let Some(reply) = self.answer_metrics(&head.method, path) {
            return Ok(reply);
        }
        let dialect = self.desk.dialect();
        let mount = self.roots.find(path);
        if mount.is_none() && original::is_of_abyss(dialect, &self.roots, path) {
            return Ok(original::not_found_by_abyss(path));
        }
        let mount = mount.ok_or_else(|| Problem::NoSuchPath {
            path: path.to_owned(),
            known: self.roots.paths().collect::<Vec<_>>().join(", "),
        })?;
        let reads_only = head.method != Method::POST && self.json_get.reads_only(&head.headers, &self.guard);
        let caller = Caller { peer, size: 0, user, reads_only };
        if dialect.is_emulated()
            && let Some(reply) = Box::pin(self.rule(mount, &head)).await?
        {
            return Ok(reply);
        }
        let (asked, size, content_type) = match mount {
            // Where 1.x and 2.x have their pages; JSON-RPC is asked for neither by GET nor by a form.
            Mount::Mi if self.has_old_page(path) && asks_for_page(&head) => {
                let root = self.roots.mi.as_deref().unwrap_or_default();
                return Box::pin(self.answer_page((&head, body), (root, true), caller, progress)).await;
            }
            Mount::Mi => {
                expect_method(&head.method, &[Method::POST], "POST")?;
                if !original::is_json(dialect, &head.headers) && !media::is_one_of(&head.headers, media::JSON) {
                    return Err(wrong_type(&head.headers, "application/json"));
                }
                let body = self.read(&head.headers, body, progress).await?;
                (self.desk.read_json(&body), body.len(), reply::JSON)
            }
            Mount::Json(command) => {
                expect_method(&head.method, &[Method::GET], "GET")?;
                let query = head.uri.query().map(str::as_bytes);
                let request = mi_json::decode_request(command.as_bytes(), query, self.desk.dialect());
                let is_broken = request.as_ref().is_err_and(|error| !error.method.is_empty());
                if self.hazards && dialect.is_1x() && self.aftermath.dies_of_json(is_broken) {
                    self.context.die();
                    return Err(Problem::Unserved);
                }
                (Asked::MiJson(request), query.map_or(0, <[u8]>::len), reply::JSON)
            }
            Mount::Rpc | Mount::Xmlrpc => {
                expect_method(&head.method, &[Method::POST], "POST")?;
                if !dialect.is_emulated() && !media::is_one_of(&head.headers, media::XML) {
                    return Err(wrong_type(&head.headers, "text/xml"));
                }
                let form = if mount == Mount::Xmlrpc { xmlrpc::Form::Ng } else { self.form };
                let body = match Box::pin(self.read_xml(&head, body, form, progress)).await? {
                    Ok(body) => body,
                    Err(reply) => return Ok(reply),
                };
                (self.desk.read_xml(&body, form), body.len(), reply::XML)
            }
            Mount::Html(_) => {
                let words = !self.desk.dialect().reads_json();
                let root = self.roots.html.as_deref().unwrap_or_default();
                return Box::pin(self.answer_page((&head, body), (root, words), caller, progress)).await;
            }
        };
        progress.reach(Stage::Running, self.reactor.round());
        let is_broken =
            matches!(&asked, Asked::Json(jsonrpc::Incoming::One(Ok(call))) if call.id == jsonrpc::Id::Broken);
        let mut body = match self.run(asked, Caller { size, ..caller }, progress).await {
            Made::Whole(body) => body,
            Made::Refused(size) => return Err(Problem::Unsent { size }),
            Made::Begun(first, stream) => {
                let making = Making::new(first, *stream, progress.clone(), self.reactor.clone());
                return Ok(reply::with_making(content_type, making));
            }
        };
        if self.hazards && original::is_of_abyss(dialect, &self.roots, path) {
            body = self.spoil(&body)?.into();
        }
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
        let (desk, route) = (self.desk.clone(), slot.route(&self.desk));
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

    /// The body: all of it, or what a real server makes of it.
    pub(super) async fn read(&self, head: &HeaderMap, body: Incoming, progress: &Progress) -> Result<Bytes, Problem> {
        if self.hazards && self.desk.dialect().is_emulated() {
            return Box::pin(self.read_as_the_original(body, progress)).await;
        }
        self.read_whole(head, body, progress).await
    }

    async fn read_whole(&self, head: &HeaderMap, body: Incoming, progress: &Progress) -> Result<Bytes, Problem> {
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
            // More room is made for all that there is, and all of it is joined.
            if rest.capacity() - rest.len() < piece.len() && !self.desk.has_memory_for(first.len() + rest.len()) {
                return Err(Problem::NoMemory);
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

/// What is only done where a version is imitated.
impl Site {
    /// What becomes of a request before its body is looked at: `None` when it is served.
    async fn rule(&self, mount: Mount<'_>, head: &Parts) -> Result<Option<Reply>, Problem> {
        let dialect = self.desk.dialect();
        Ok(match original::rule(dialect, mount, head, self.hazards) {
            Ruling::Serve => None,
            Ruling::Answer(reply) => Some(reply),
            Ruling::Close => return Err(Problem::Unserved),
            Ruling::Stall => {
                let seen = self.arrivals.count();
                poll_fn(|context| self.arrivals.poll_more(seen, context)).await;
                None
            }
            Ruling::WithoutBody => Some(self.xml_reply(&xmlrpc::decode_request(b"", self.form, dialect))),
            Ruling::Fail(code, words) => Some(self.xml_error(&Ok(response::Response::error(code, words)))),
        })
    }

    /// The body of an XML-RPC request, or what a version says to it before it reads what it asks for.
    async fn read_xml(
        &self,
        head: &Parts,
        body: Incoming,
        form: xmlrpc::Form,
        progress: &Progress,
    ) -> Result<Result<Bytes, Reply>, Problem> {
        let dialect = self.desk.dialect();
        let by_abyss = original::is_of_abyss(dialect, &self.roots, head.uri.path());
        let read = if by_abyss {
            self.read_whole(&head.headers, body, progress).await
        } else {
            self.read(&head.headers, body, progress).await
        };
        let body = match read {
            Err(Problem::NoBody) if dialect.is_emulated() && dialect.reads_json() => {
                return Ok(Err(reply::with_body(StatusCode::BAD_REQUEST, reply::XML, Bytes::new())));
            }
            read => read?,
        };
        Ok(match xmlrpc::refuse(&body, form, dialect) {
            Some(refusal) => {
                self.desk.counters.parse_errors.add(1);
                Err(self.xml_error(&Ok(refusal)))
            }
            None => Ok(body),
        })
    }

    /// A reply as 1.11's `mi_xmlrpc` leaves it.
    fn spoil(&self, reply: &[u8]) -> Result<Vec<u8>, Problem> {
        let spoilt = original::spoil_text(reply);
        let ruling = match self.form {
            xmlrpc::Form::Array => self.aftermath.rule_on_array(&spoilt),
            _ => ArrayReply::Sent,
        };
        match ruling {
            ArrayReply::Sent => Ok(spoilt),
            ArrayReply::NotAnArray => {
                let fault = Ok(response::Response::error(-501, "Value is not an array"));
                let mut body = Vec::new();
                xmlrpc::encode_response(&mut body, &fault, b"", self.form, self.desk.dialect());
                Ok(body)
            }
            ArrayReply::Death => {
                self.context.die();
                Err(Problem::Unserved)
            }
        }
    }

    /// The body, as a real server has it that got it in the same pieces.
    async fn read_as_the_original(&self, body: Incoming, progress: &Progress) -> Result<Bytes, Problem> {
        let (mut pieces, mut gatherer, mut size) = (Vec::new(), Gatherer::default(), 0);
        let mut body = pin!(body);
        loop {
            let piece = poll_fn(|context| {
                if progress.is_overdue() {
                    return Poll::Ready(Some(Err(Problem::TooSlow)));
                }
                let piece = gatherer.poll_piece(body.as_mut(), context);
                piece.map_err(|error| Problem::Unreadable(error.to_string()))
            });
            let Some(piece) = piece.await else { break };
            let piece = piece?;
            size += piece.len();
            if size > self.request_limit {
                return Err(Problem::TooLarge { limit: self.request_limit });
            }
            pieces.push(piece);
        }
        self.desk.counters.bytes_in.add(size as i64);
        let joined = original::join(self.desk.dialect(), pieces, self.receive_buffer).ok_or(Problem::Unserved)?;
        if joined.is_empty() { Err(Problem::NoBody) } else { Ok(joined) }
    }
}

fn expect_method(found: &Method, allowed: &[Method], names: &'static str) -> Result<(), Problem> {
    if allowed.contains(found) {
        return Ok(());
    }
    Err(Problem::WrongMethod { found: found.to_string(), allowed: names })
}

/// A request for a page, or the form of one.
fn asks_for_page(head: &Parts) -> bool {
    head.method == Method::GET || (head.method == Method::POST && media::is_one_of(&head.headers, media::FORM))
}

fn wrong_type(head: &HeaderMap, expected: &'static str) -> Problem {
    let found: Vec<_> =
        head.get_all(CONTENT_TYPE).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    Problem::WrongType { found: (!found.is_empty()).then(|| found.join(", ")), expected }
}
