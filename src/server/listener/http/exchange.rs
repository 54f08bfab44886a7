//! One request and its reply: checks, route, format, and the call of the dispatcher.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::http::request::Parts;
use hyper::rt::Write as _;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Method, Request};

use super::connection::{ConnectionFuture, Progress, Stage};
use super::guard::Guard;
use super::policy::{HttpPolicy, Verdict};
use super::reactor::Reactor;
use super::reply::{Problem, Reply};
use super::slot::{Made, ReplySlot};
use super::stream::Stream;
use super::strict::LONGEST_HEAD;
use crate::codec::xmlrpc;
use crate::command::Peer;
use crate::server::context::Context;
use crate::server::dispatch::asked::{Asked, Caller};
use crate::server::dispatch::dispatcher::Dispatcher;
use crate::server::options::http::JsonGet;
use crate::server::options::roots::Roots;

/// The most header fields of a request. No client sends as many.
const MOST_HEADERS: usize = 100;

/// The state that all connections of a listener share.
pub(super) struct AppState {
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) roots: Roots,
    /// The form of XML-RPC at the root.
    pub(super) form: xmlrpc::Form,
    pub(super) json_get: JsonGet,
    pub(super) shows_metrics: bool,
    pub(super) guard: Guard,
    pub(super) request_limit: usize,
    pub(super) reactor: Arc<Reactor>,
    pub(super) policy: Arc<dyn HttpPolicy>,
    /// True if the pages are those of 1.x and 2.x, which take parameters as words.
    pub(super) has_pages_of_words: bool,
    /// True if there are pages below the root of JSON-RPC, where 1.x and 2.x have theirs.
    pub(super) has_old_pages: bool,
    pub(super) context: Arc<Context>,
}

/// Serves all requests of a connection, one after the other.
pub(super) fn future(
    site: Arc<AppState>,
    stream: Stream,
    peer: SocketAddr,
    progress: Arc<Progress>,
) -> ConnectionFuture {
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
        // If a socket is closed with unread bytes, the kernel sends a reset, which discards the reply.
        if closed.is_ok() && (ended.is_err() || progress.has_problem()) {
            poll_fn(|context| stream.poll_discard(context)).await;
        }
    })
}

/// The connection is closed without a reply.
#[derive(Debug, thiserror::Error)]
#[error("closed without an answer")]
struct Silence;

struct Exchange {
    site: Arc<AppState>,
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
        // Out of the future, which would move the large head about within itself.
        let (head, body) = request.into_parts();
        Box::pin(async move {
            progress.reach(Stage::Body, site.reactor.round());
            progress.note_version(head.version);
            let preferences = site.policy.preferences(&head, progress.was_pipelined());
            let answered = site.answer((&head, body), peer, &progress).await;
            progress.reach(Stage::Reply, site.reactor.round());
            let is_problem = answered.is_err();
            let mut reply = match answered {
                Ok(reply) => reply,
                Err(problem) => site.policy.explain(problem).ok_or(Silence)?,
            };
            // After a problem the rest of the request may still arrive.
            if is_problem {
                progress.note_problem();
            }
            // A server that is stopping accepts no further request on a connection.
            if is_problem || progress.is_orphaned() || site.dispatcher.is_stopping() {
                reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(site.policy.finish(preferences, reply))
        })
    }
}

impl AppState {
    async fn answer(
        &self,
        (head, body): (&Parts, Incoming),
        peer: Peer,
        progress: &Arc<Progress>,
    ) -> Result<Reply, Problem> {
        if let Some(reply) = self.answer_health(&head.method, head.uri.path()) {
            return Ok(reply);
        }
        self.policy.check_head(head, &self.guard)?;
        let refused = |refusal| Problem::Refused(refusal, self.guard.challenge());
        let user = self.guard.authenticate(&head.headers).map_err(refused)?;
        if let Some(reply) = self.answer_metrics(&head.method, head.uri.path()) {
            return Ok(reply);
        }
        let Some(mount) = self.roots.find(head.uri.path()) else { return self.answer_elsewhere(head.uri.path()) };
        let reads_only = head.method != Method::POST && self.json_get.reads_only(&head.headers, &self.guard);
        let caller = Caller { peer, size: 0, user, reads_only };
        match self.policy.rule(mount, head) {
            Verdict::Serve => {}
            Verdict::Wait(event) => event.await,
            Verdict::Answer(reply) => return Ok(reply),
            Verdict::Close => return Err(Problem::Unserved),
        }
        self.answer_at(mount, (head, body), caller, progress).await
    }

    /// Answers a request at a path without a route.
    fn answer_elsewhere(&self, path: &str) -> Result<Reply, Problem> {
        self.policy.not_found(path).ok_or_else(|| Problem::NoSuchPath {
            path: path.to_owned(),
            known: self.roots.paths().collect::<Vec<_>>().join(", "),
        })
    }

    /// Leaves a request for the thread that polls the connection, and waits for the reply.
    pub(super) async fn run(&self, asked: Asked, caller: Caller, progress: &Progress) -> Made {
        let slot = ReplySlot::default();
        let (dispatcher, route) = (self.dispatcher.clone(), slot.route(&self.dispatcher));
        progress.leave_job(Box::new(move || dispatcher.serve(asked, caller, &mut Vec::with_capacity(256), route)));
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
}
