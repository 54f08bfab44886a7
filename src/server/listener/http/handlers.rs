//! The handlers of the routes: each parses a request of its wire and encodes the reply.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

use super::body::Making;
use super::connection::{Progress, Stage};
use super::exchange::AppState;
use super::media;
use super::reply::{self, Problem, Reply};
use super::slot::Made;
use crate::codec::{mi_json, xmlrpc};
use crate::server::dispatch::asked::{Asked, Caller};
use crate::server::options::roots::Route;

impl AppState {
    /// Answers a request at a route.
    pub(super) async fn answer_at(
        &self,
        mount: Route<'_>,
        (head, body): (&Parts, Incoming),
        caller: Caller,
        progress: &Arc<Progress>,
    ) -> Result<Reply, Problem> {
        match mount {
            // 1.x and 2.x have their pages here. JSON-RPC uses neither GET nor forms, so the two cannot be confused.
            Route::Mi if self.is_old_page(head) => {
                let root = self.roots.mi.as_deref().unwrap_or_default();
                Box::pin(self.answer_page((head, body), (root, true), caller, progress)).await
            }
            Route::Mi => self.answer_json((head, body), caller, progress).await,
            Route::Json(command) => self.answer_mi_json(command, head, caller, progress).await,
            Route::Rpc => Box::pin(self.answer_xml(self.form, (head, body), caller, progress)).await,
            Route::Xmlrpc => Box::pin(self.answer_xml(xmlrpc::Form::Ng, (head, body), caller, progress)).await,
            Route::Html(_) => {
                let (root, words) = (self.roots.html.as_deref().unwrap_or_default(), self.has_pages_of_words);
                Box::pin(self.answer_page((head, body), (root, words), caller, progress)).await
            }
        }
    }

    /// Answers JSON-RPC. A request without a reply, such as a notification, gets the status 202.
    async fn answer_json(
        &self,
        (head, body): (&Parts, Incoming),
        caller: Caller,
        progress: &Arc<Progress>,
    ) -> Result<Reply, Problem> {
        expect_method(&head.method, &Method::POST, "POST")?;
        if !self.policy.takes_json(&head.headers) {
            return Err(wrong_type(&head.headers, "application/json"));
        }
        let body = self.read(head, body, progress).await?;
        let asked = self.dispatcher.read_json(&body);
        let cannot_print = self.policy.fails_to_print(&asked);
        let mut reply =
            self.run_for(asked, Caller { size: body.len(), ..caller }, (head, reply::JSON), progress).await?;
        if cannot_print {
            return Ok(reply::with_body(StatusCode::INTERNAL_SERVER_ERROR, reply::JSON, Bytes::new()));
        }
        if reply.body().size_hint().exact() == Some(0) {
            *reply.status_mut() = StatusCode::ACCEPTED;
        }
        Ok(reply)
    }

    /// Answers `mi_json`: the command is in the path, its parameters are in the query.
    async fn answer_mi_json(
        &self,
        command: &str,
        head: &Parts,
        caller: Caller,
        progress: &Arc<Progress>,
    ) -> Result<Reply, Problem> {
        expect_method(&head.method, &Method::GET, "GET")?;
        let query = head.uri.query().map(str::as_bytes);
        let request = mi_json::decode_request(command.as_bytes(), query, self.dispatcher.dialect());
        let is_broken = request.as_ref().is_err_and(|error| !error.method.is_empty());
        if self.policy.dies_of_mi_json(is_broken) {
            return Err(self.die());
        }
        let caller = Caller { size: query.map_or(0, <[u8]>::len), ..caller };
        self.run_for(Asked::MiJson(request), caller, (head, reply::JSON), progress).await
    }

    /// Answers XML-RPC in one of its forms.
    async fn answer_xml(
        &self,
        form: xmlrpc::Form,
        (head, body): (&Parts, Incoming),
        caller: Caller,
        progress: &Arc<Progress>,
    ) -> Result<Reply, Problem> {
        expect_method(&head.method, &Method::POST, "POST")?;
        if !self.policy.takes_xml(&head.headers) {
            return Err(wrong_type(&head.headers, "text/xml"));
        }
        let body = match self.read(head, body, progress).await {
            Err(Problem::NoBody) => return self.policy.no_xml().ok_or(Problem::NoBody),
            read => read?,
        };
        if let Some(refusal) = self.policy.refuse_xml(&body, form) {
            self.dispatcher.counters.parse_errors.add(1);
            return Ok(refusal);
        }
        let asked = self.dispatcher.read_xml(&body, form);
        self.run_for(asked, Caller { size: body.len(), ..caller }, (head, reply::XML), progress).await
    }

    /// Runs a request and makes a reply of its answer.
    async fn run_for(
        &self,
        asked: Asked,
        caller: Caller,
        (head, content_type): (&Parts, HeaderValue),
        progress: &Arc<Progress>,
    ) -> Result<Reply, Problem> {
        progress.reach(Stage::Running, self.reactor.round());
        match self.run(asked, caller, progress).await {
            Made::Whole(body) => match self.policy.finish_body(head.uri.path(), body) {
                Some(body) => Ok(reply::with_body(StatusCode::OK, content_type, body)),
                None => Err(self.die()),
            },
            Made::Refused(size) => Err(Problem::Unsent { size }),
            Made::Begun(first, stream) => {
                let making = Making::new(first, stream, progress.clone(), self.reactor.clone());
                Ok(reply::with_making(content_type, making))
            }
        }
    }

    /// Ends the server as a crash does.
    fn die(&self) -> Problem {
        self.context.die();
        Problem::Unserved
    }

    /// Returns true if a request is for a page of a module or command below the root, which is now JSON-RPC's.
    fn is_old_page(&self, head: &Parts) -> bool {
        let root = self.roots.mi.as_deref().unwrap_or_default().trim_end_matches('/');
        let below = head.uri.path().strip_prefix(root).unwrap_or_default();
        below.len() > 1 && self.has_old_pages && asks_for_page(head)
    }
}

fn expect_method(found: &Method, allowed: &Method, name: &'static str) -> Result<(), Problem> {
    if found == allowed {
        return Ok(());
    }
    Err(Problem::WrongMethod { found: found.to_string(), allowed: name })
}

/// Returns true for a GET, or for a submitted form.
fn asks_for_page(head: &Parts) -> bool {
    head.method == Method::GET || (head.method == Method::POST && media::is_one_of(&head.headers, media::FORM))
}

fn wrong_type(head: &HeaderMap, expected: &'static str) -> Problem {
    let found: Vec<_> =
        head.get_all(CONTENT_TYPE).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    Problem::WrongType { found: (!found.is_empty()).then(|| found.join(", ")), expected }
}
