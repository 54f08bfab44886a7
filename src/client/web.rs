//! What requests and replies look like over HTTP, and what its statuses and pages mean.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::Generation;
use super::call::{CallError, CallFailure, Reply, read_json};
use super::http::{Answer, Http, HttpError, HttpOptions, Message};
use super::limits::{Refusal, Route};
use super::patience::Patience;
use super::probe::Wire;
use crate::codec::{CodecError, jsonrpc, mi_json, xmlrpc};
use crate::dialect::Dialect;
use crate::item::{Item, Str};
use crate::request::Request;
use crate::response::{Body, Response};

/// Commands that every server has. Whoever asks for another over XML-RPC asks first whether there is one.
const ALWAYS_THERE: [&[u8]; 2] = [b"version", b"which"];

/// What `httpd` of every version writes around a word for people.
const PAGE: (&[u8], &[u8]) = (b"<html><body>", b"</body></html>");

/// The page for a path that belongs to nobody.
const NO_SUCH_PATH: &[u8] = b"Unable to parse URL!";

/// A server that is spoken to over HTTP.
#[derive(Debug)]
pub(super) struct Web {
    http: Http,
    /// Commands of which the server said that it has them.
    known: Mutex<HashSet<Str>>,
}

impl Web {
    pub(super) fn new(address: &str, options: &HttpOptions) -> Result<Self, HttpError> {
        Ok(Web { http: Http::new(address, options)?, known: Mutex::default() })
    }

    pub(super) fn renewed(&self) -> Self {
        Web { http: self.http.renewed(), known: Mutex::default() }
    }

    /// The address without what is secret.
    pub(super) fn shown(&self) -> &str {
        self.http.shown()
    }

    /// Sets the largest body of an answer in bytes.
    pub(super) fn limit_replies(&mut self, limit: usize) {
        self.http.limit_replies(limit);
    }

    /// What is spoken at such a path, unless the user says something else.
    pub(super) fn likely_wire(&self) -> Wire {
        Wire::at_root(self.http.root())
    }

    pub(super) fn close(&self) {
        self.http.close();
    }

    /// Runs a command.
    pub(super) async fn call(
        &self,
        route: Route,
        request: &Request,
        id: u32,
        patience: &mut Patience<'_>,
    ) -> Result<Reply, CallFailure> {
        if let Some(refusal) = self.look_before(route, request, id, patience).await? {
            return Ok(refusal);
        }
        self.exchange(route, request, id, patience).await
    }

    /// An XML-RPC server of 4.x may crash when it has no such command, so it is asked for it in a harmless way.
    async fn look_before(
        &self,
        route: Route,
        request: &Request,
        id: u32,
        patience: &mut Patience<'_>,
    ) -> Result<Option<Reply>, CallFailure> {
        let may_crash = route.wire == Wire::XmlRpc
            && route.form == xmlrpc::Form::Native
            && matches!(route.generation, None | Some(Generation::OpenSips(4..)));
        let method = &request.method;
        let is_known = || self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(method);
        if !may_crash || ALWAYS_THERE.contains(&method.as_bytes()) || is_known() {
            return Ok(None);
        }
        let question = Request::positional("which", vec![method.clone().into()]);
        let reply = self.exchange(route, &question, id, patience).await?;
        match reply.response.code {
            _ if reply.response.is_success() => {
                self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(method.clone());
                Ok(None)
            }
            404 => Ok(Some(Reply { response: Response::error(-32601, "Method not found"), ..reply })),
            // Versions before 3.0 ask nothing of the kind; who answers so is none of those that crash.
            _ => Ok(None),
        }
    }

    async fn exchange(
        &self,
        route: Route,
        request: &Request,
        id: u32,
        patience: &mut Patience<'_>,
    ) -> Result<Reply, CallFailure> {
        let started = Instant::now();
        let payload = self.encode(route, request, id)?;
        let message = match route.wire {
            Wire::MiJson => Message::Get(&payload),
            Wire::XmlRpc => Message::Post("text/xml", &payload),
            Wire::Text | Wire::Json => Message::Post("application/json", &payload),
        };
        route.check_http(self.http.head_size(message), message.body().len()).map_err(CallError::from)?;
        let answer = self
            .http
            .exchange(message, patience)
            .await
            .map_err(|failure| CallFailure { sent: payload.clone(), ..failure })?;
        let elapsed = started.elapsed();
        match read(route, &answer, id) {
            Ok(response) => Ok(Reply {
                is_unclear: is_unclear(route, request, &answer, &response),
                response,
                sent: payload,
                raw: answer.body,
                elapsed,
                wire: route.wire,
                ..Reply::default()
            }),
            Err(error) => Err(error.after(&payload, &answer.body)),
        }
    }

    /// The body of a request, or the path of one without.
    fn encode(&self, route: Route, request: &Request, id: u32) -> Result<Vec<u8>, CallError> {
        let mut payload = Vec::with_capacity(256);
        match route.wire {
            Wire::MiJson => {
                payload.extend_from_slice(self.http.path().as_bytes());
                payload.push(b'/');
                mi_json::encode_request(&mut payload, request, route.dialect())
            }
            Wire::XmlRpc => xmlrpc::encode_request(&mut payload, request, route.form, route.dialect()),
            Wire::Text | Wire::Json => jsonrpc::encode_request(&mut payload, request, Some(id.into())),
        }
        .map_err(Refusal::from)?;
        route.check_bytes(request, &payload)?;
        Ok(payload)
    }
}

/// What an answer means.
fn read(route: Route, answer: &Answer, id: u32) -> Result<Response, CallError> {
    if answer.status != 200 {
        // Some say in the body what is wrong, as the wire has it.
        let said = (route.wire == Wire::Json && jsonrpc::looks_like_json(&answer.body))
            .then(|| read_json(&answer.body, id))
            .flatten();
        return match said {
            Some(Ok(response)) if !response.is_success() => Ok(response),
            _ => Err(explain(answer)),
        };
    }
    if let Some(response) = read_page(answer)? {
        return Ok(response);
    }
    match route.wire {
        Wire::MiJson => mi_json::decode_response(&answer.body).map_err(CallError::from),
        Wire::XmlRpc => {
            let response = xmlrpc::decode_response(&answer.body)?;
            // What a struct without members is for 2.4; typed servers say "OK".
            let says_nothing = !route.is_typed() && response.body == Body::Item(Item::Object(Vec::new()));
            Ok(if says_nothing { Response { body: Body::Empty, ..response } } else { response })
        }
        Wire::Text | Wire::Json => match read_json(&answer.body, id) {
            Some(read) => read.map_err(CallError::from),
            None => Err(CodecError::unexpected("the answer to this request", &answer.body, 0).into()),
        },
    }
}

/// Reads the pages that 1.x and 2.x give instead of an error: some are the command's, some are about the address.
fn read_page(answer: &Answer) -> Result<Option<Response>, CallError> {
    let body = answer.body.trim_ascii();
    let Some(page) = body.strip_prefix(PAGE.0).and_then(|rest| rest.strip_suffix(PAGE.1)) else {
        return Ok(None);
    };
    if page == NO_SUCH_PATH {
        return Err(explain(&Answer { status: 404, ..empty_answer() }));
    }
    let reason = page.strip_suffix(b"!").unwrap_or(page);
    Ok(Some(Response::error(500, reason)))
}

fn empty_answer() -> Answer {
    Answer { status: 200, reason: String::new(), server: String::new(), body: Vec::new(), may_be_reused: false }
}

/// On 1.x nothing at all may also stand for an error. Its `mi_xmlrpc` is a server of its own, which has faults.
/// From a command that answers a value it is never a success.
fn is_unclear(route: Route, request: &Request, answer: &Answer, response: &Response) -> bool {
    let may_be_1 = route.dialect() == Dialect::V1_11;
    let is_nothing_wanted = !matches!(&*request.method, b"cache_fetch");
    let says_nothing = response.is_success() && response.body == Body::Empty && is_nothing_wanted;
    match route.wire {
        Wire::MiJson => may_be_1 && says_nothing,
        Wire::XmlRpc => may_be_1 && says_nothing && !answer.server.contains("Abyss"),
        Wire::Text | Wire::Json => false,
    }
}

/// What a status means, and what to do about it.
fn explain(answer: &Answer) -> CallError {
    let (what, errno) = match answer.status {
        401 => ("the server wants to know who calls: set auth=(user, password) or token=", libc::EACCES),
        403 => ("the server does not allow it: check auth=, token= and from where it may be called", libc::EACCES),
        404 => ("nothing is there: check the path, which is /mi, /json, /RPC2 or /xmlrpc by default", libc::ENOENT),
        405 | 406 => ("this path speaks another wire: check the path, and wire=", libc::EPROTO),
        407 => ("a proxy stands in between and wants to know who calls", libc::EACCES),
        408 => ("the server gave up waiting for the request", libc::EPROTO),
        411 | 415 => ("the server does not take what this wire sends: check the path, and wire=", libc::EPROTO),
        413 => ("the server does not take a request of this size", libc::EMSGSIZE),
        414 => ("the server does not take a path of this size: JSON-RPC and XML-RPC carry more", libc::EMSGSIZE),
        202 => ("the server took it for a notification, which has no answer", libc::EPROTO),
        400 => (
            "the server could not read the request: check the path, wire=, and the limits of its version",
            libc::EPROTO,
        ),
        300..=399 => ("what was there has moved: give the address to which it leads", libc::EPROTO),
        429 | 503 => ("the server is too busy", libc::EAGAIN),
        500 => ("the server failed, perhaps because the reply is larger than its buffers", libc::EPROTO),
        502 | 504 => ("a proxy stands in between and cannot reach the server", libc::EHOSTUNREACH),
        _ => ("expected HTTP status 200", libc::EPROTO),
    };
    let reason: String = answer.reason.chars().filter(|char| !char.is_control()).take(64).collect();
    let status = format!("HTTP {} {reason}", answer.status);
    CallError::Transport { what: format!("{}: {what}", status.trim_end()), errno }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Answer {
        Answer { body: format!("<html><body>{text}</body></html>").into(), ..empty_answer() }
    }

    #[test]
    fn a_page_about_the_command_is_an_error_answer_and_one_about_the_path_is_not() {
        let failed = read_page(&page("Internal server error!"));
        assert!(matches!(&failed, Ok(Some(Response { code: 500, .. }))), "{failed:?}");
        let misplaced = read_page(&page("Unable to parse URL!"));
        assert!(misplaced.as_ref().is_err_and(|error| error.to_string().contains("check the path")), "{misplaced:?}");
        assert!(matches!(read_page(&Answer { body: b"{}".to_vec(), ..empty_answer() }), Ok(None)));
    }
}
