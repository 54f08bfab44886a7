//! The routes of the console and of the pages: turns the head of a request into the input of `console`, and its output
//! into HTTP.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, IF_NONE_MATCH};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

use super::connection::{Progress, Stage};
use super::exchange::AppState;
use super::reply::{Problem, Reply};
use super::slot::Made;
use crate::response::{Failure, Response};
use crate::server::console::{self, Asked, Page, PageCall, PageRequest, ReplyPage};
use crate::server::dispatch::asked::{self, Caller, ReplyWriter};

impl AppState {
    /// Answers with a page. `root` is the prefix of the path at which the route was found; `words` tells that 1.x and
    /// 2.x have their pages there.
    pub(super) async fn answer_page(
        &self,
        (head, body): (&Parts, Incoming),
        (root, words): (&str, bool),
        caller: Caller,
        progress: &Arc<Progress>,
    ) -> Result<Reply, Problem> {
        let body = if head.method == Method::POST {
            match self.read(head, body, progress).await {
                Err(Problem::NoBody) => Bytes::new(),
                read => read?,
            }
        } else {
            Bytes::new()
        };
        let root = root.trim_end_matches('/');
        let header = |name: HeaderName| head.headers.get(name).map(HeaderValue::as_bytes);
        let request = PageRequest {
            method: head.method.as_str(),
            path: head.uri.path().strip_prefix(root).unwrap_or_default(),
            query: head.uri.query(),
            content_type: header(CONTENT_TYPE),
            if_none_match: header(IF_NONE_MATCH),
            body: &body,
        };
        let mi_root = if words { None } else { self.roots.mi.as_deref() };
        let allowed = |command: &crate::command::Command| self.dispatcher.permits(command);
        let asked = console::answer(
            &request,
            &console::Site { root, mi_root, words, service: self.dispatcher.service(), allowed: &allowed },
        );
        let call = match asked {
            Asked::Page(page) => return Ok(reply(page)),
            Asked::Run(call) => call,
        };
        let PageCall { request, wire, reply: writer } = call;
        let status = writer.status();
        progress.reach(Stage::Running, self.reactor.round());
        let body = match self.run(asked::Asked::Custom(request, wire, writer), caller, progress).await {
            Made::Whole(body) => body,
            Made::Begun(body, _) => body.into(),
            Made::Refused(size) => return Err(Problem::Unsent { size }),
        };
        let mut reply = reply(status.page(Vec::new()));
        *reply.body_mut() = body.into();
        Ok(reply)
    }
}

impl ReplyWriter for ReplyPage {
    fn write(&self, out: &mut Vec<u8>, result: &Result<Response, Failure>) {
        ReplyPage::write(self, out, result);
    }
}

fn reply(page: Page) -> Reply {
    let body: Bytes = match page.body {
        std::borrow::Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        std::borrow::Cow::Owned(bytes) => bytes.into(),
    };
    let mut reply = hyper::Response::new(body.into());
    *reply.status_mut() = StatusCode::from_u16(page.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(page.content_type));
    for (name, value) in page.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            reply.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    reply
}
