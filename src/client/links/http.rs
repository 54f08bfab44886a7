//! Requests and replies over HTTP, and the meaning of their statuses and pages.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::client::deadline::Deadline;
use crate::client::error::{CallError, CallFailure};
use crate::client::guard::{Carrier, Refusal, Route};
use crate::client::large::size_of;
use crate::client::reply::{Reply, read_json};
use crate::client::server_info::{Generation, ServerInfo, Wire};
use crate::client::shape::shape;
use crate::client::transports::http::{Http, HttpError, HttpOptions, HttpReply, Message};
use crate::codec::{CodecError, json, jsonrpc, mi_json, xmlrpc};
use crate::dialect::Dialect;
use crate::item::{Item, Str};
use crate::request::{Params, Request};
use crate::response::{Body, Response};

/// Commands that every server has. Before any other command over XML-RPC the client asks the server if it exists.
const ALWAYS_THERE: [&[u8]; 2] = [b"version", b"which"];

/// The paths where servers of all versions answer by default, and their wires.
const ROOTS: [(&str, Wire); 4] =
    [("/mi", Wire::Json), ("/json", Wire::MiJson), ("/RPC2", Wire::XmlRpc), ("/xmlrpc", Wire::XmlRpc)];

/// How long a root may take to answer when another was wrong.
const ROOT_PROBE: Duration = Duration::from_secs(1);

/// The page that `httpd` of every version writes around a message.
const PAGE: (&[u8], &[u8]) = (b"<html><body>", b"</body></html>");

/// In the header `Server` of xmlrpc-c.
const ABYSS: &str = "Abyss";

/// The words of `mi_json` of 2.x for a command that it does not have.
const NO_SUCH_COMMAND: &str = "Command not found";

const LINE_FEEDS: &str = "mi_xmlrpc of OpenSIPS 1.x makes CR LF of two LF in a parameter; a FIFO, a datagram or /xmlrpc carries them as they are";

/// The page for an unknown path.
const NO_SUCH_PATH: &[u8] = b"Unable to parse URL!";

/// A server that is spoken to over HTTP.
#[derive(Debug)]
pub(in crate::client) struct HttpLink {
    http: Http,
    /// Commands of which the server said that it has them.
    known: Mutex<HashSet<Str>>,
    /// All commands, as `which` lists them; asked when an answer leaves open whether there is such a command.
    listed: Mutex<Option<Arc<HashSet<Str>>>>,
    /// True if the last answer came from xmlrpc-c, which `mi_xmlrpc` of 1.x uses in place of `httpd`.
    is_abyss: AtomicBool,
    receive_buf_size: Option<NonZeroUsize>,
}

impl HttpLink {
    pub(in crate::client) fn new(address: &str, options: &HttpOptions) -> Result<Self, HttpError> {
        Ok(HttpLink::over(Http::new(address, options)?, options.receive_buf_size))
    }

    fn over(http: Http, receive_buf_size: Option<NonZeroUsize>) -> Self {
        HttpLink {
            http,
            known: Mutex::default(),
            listed: Mutex::default(),
            is_abyss: AtomicBool::new(false),
            receive_buf_size,
        }
    }

    pub(in crate::client) fn after_fork(&self) -> Self {
        HttpLink::over(self.http.after_fork(), self.receive_buf_size)
    }

    /// Says at which other root the server answers, when this one is not it; `None` when none does.
    pub(in crate::client) async fn other_root(&self, deadline: &mut Deadline<'_>) -> Option<String> {
        let mut found = Vec::new();
        for (root, wire) in ROOTS.iter().filter(|(root, _)| *root != self.http.path()) {
            let there = HttpLink::over(self.http.at(root), None);
            let route = Route::unknown(*wire, Carrier::Http);
            let share = &mut deadline.at_most(ROOT_PROBE);
            let reply = there.exchange(route, &Arc::new(Request::new("version")), 1, share).await;
            if reply.is_ok_and(|reply| ServerInfo::read(*wire, &reply.response).generation.is_some()) {
                found.push((*root, there.shown().to_owned()));
            }
        }
        let (_, first) = found.first()?;
        let roots = found.iter().map(|(root, _)| *root).collect::<Vec<_>>().join(" and ");
        Some(format!("the MI of this server answers at {roots}: connect to {first}"))
    }

    /// Discards the facts about a server that another may have replaced.
    pub(in crate::client) fn forget(&self) {
        lock(&self.known).clear();
        *lock(&self.listed) = None;
        self.is_abyss.store(false, Ordering::Relaxed);
    }

    /// Adds the facts about the route that only HTTP knows.
    pub(in crate::client) fn complete(&self, route: Route) -> Route {
        let is_abyss = self.is_abyss.load(Ordering::Relaxed);
        Route { is_abyss, receive_buf_size: self.receive_buf_size.map(NonZeroUsize::get), ..route }
    }

    /// The address without its secrets.
    pub(in crate::client) fn shown(&self) -> &str {
        self.http.shown()
    }

    /// Sets the largest body of an answer in bytes.
    pub(in crate::client) fn limit_replies(&mut self, limit: usize) {
        self.http.limit_replies(limit);
    }

    /// Returns the wire that is usual at such a path, for use when the user names none.
    pub(in crate::client) fn likely_wire(&self) -> Wire {
        Wire::at_root(self.http.root())
    }

    pub(in crate::client) fn close_idle(&self) {
        self.http.close_idle();
    }

    /// Runs a command.
    pub(in crate::client) async fn call(
        &self,
        route: Route,
        request: &Arc<Request>,
        id: u32,
        deadline: &mut Deadline<'_>,
    ) -> Result<Reply, CallFailure> {
        if let Some(refusal) = self.look_before(route, request, id, deadline).await? {
            return Ok(refusal);
        }
        if route.may_die_of_records(request) {
            let count = self.count_records(route, id, deadline).await?;
            Route::check_records(count).map_err(CallError::from)?;
        }
        let reply = self.exchange(route, request, id, deadline).await?;
        if leaves_open_whether_known(route, &reply) && !ALWAYS_THERE.contains(&request.method.as_bytes()) {
            return self.with_missing_command(route, request, reply, id, deadline).await;
        }
        let notice = route.is_abyss && changes_line_feeds(&request.params);
        Ok(Reply { notice: notice.then_some(LINE_FEEDS), ..reply })
    }

    /// The number of addresses of record that the server has; `None` when it does not say.
    async fn count_records(
        &self,
        route: Route,
        id: u32,
        deadline: &mut Deadline<'_>,
    ) -> Result<Option<u64>, CallFailure> {
        let question = Arc::new(Request::positional("get_statistics", vec!["registered_users".into()]));
        let reply = self.exchange(route, &question, id, deadline).await?;
        let counted = shape(b"get_statistics", &question.params, &reply.response);
        let counted = counted.as_ref().and_then(|response| json::item_of(&response.body).ok().flatten());
        Ok(match counted.as_deref().and_then(|item| item.get("usrloc:registered_users")) {
            Some(Item::Int(count)) => u64::try_from(*count).ok(),
            Some(Item::Str(count)) => count.to_text().trim().parse().ok(),
            _ => None,
        })
    }

    /// The reply, or that there is no such command when the server does not list it.
    async fn with_missing_command(
        &self,
        route: Route,
        request: &Arc<Request>,
        reply: Reply,
        id: u32,
        deadline: &mut Deadline<'_>,
    ) -> Result<Reply, CallFailure> {
        let listed = match self.listed(route, id, deadline).await {
            Err(CallFailure { error: error @ CallError::Interrupted, .. }) => return Err(error.into()),
            // The reply is all that is known.
            Err(_) | Ok(None) => return Ok(reply),
            Ok(Some(listed)) => listed,
        };
        if listed.contains(&request.method) {
            return Ok(reply);
        }
        let code = if reply.response.is_success() { 500 } else { reply.response.code };
        let response = Response::error(code, NO_SUCH_COMMAND);
        Ok(Reply { response, is_unclear: false, ..reply })
    }

    /// All commands of the server; `None` when its list cannot be read.
    async fn listed(
        &self,
        route: Route,
        id: u32,
        deadline: &mut Deadline<'_>,
    ) -> Result<Option<Arc<HashSet<Str>>>, CallFailure> {
        let known = lock(&self.listed).clone();
        if known.is_some() {
            return Ok(known);
        }
        let reply = self.exchange(route, &Arc::new(Request::new("which")), id, deadline).await?;
        let shaped = shape(b"which", &Params::None, &reply.response);
        let names = match shaped.as_ref().and_then(|response| json::item_of(&response.body).ok().flatten()).as_deref()
        {
            Some(Item::Array(names)) if reply.response.is_success() && !names.is_empty() => {
                names.iter().filter_map(Item::as_str).map(Str::from).collect()
            }
            _ => return Ok(None),
        };
        let names = Arc::new(names);
        *lock(&self.listed) = Some(Arc::clone(&names));
        Ok(Some(names))
    }

    /// An XML-RPC server of 4.x may crash when it has no such command, so it is asked for it in a harmless way.
    async fn look_before(
        &self,
        route: Route,
        request: &Arc<Request>,
        id: u32,
        deadline: &mut Deadline<'_>,
    ) -> Result<Option<Reply>, CallFailure> {
        let may_crash = route.wire == Wire::XmlRpc
            && route.form == xmlrpc::Form::Native
            && matches!(route.generation, None | Some(Generation::OpenSips(4..)));
        let method = &request.method;
        let is_known = || lock(&self.known).contains(method);
        if !may_crash || ALWAYS_THERE.contains(&method.as_bytes()) || is_known() {
            return Ok(None);
        }
        let question = Arc::new(Request::positional("which", vec![method.clone().into()]));
        let reply = self.exchange(route, &question, id, deadline).await?;
        match reply.response.code {
            _ if reply.response.is_success() => {
                lock(&self.known).insert(method.clone());
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
        request: &Arc<Request>,
        id: u32,
        deadline: &mut Deadline<'_>,
    ) -> Result<Reply, CallFailure> {
        let started = Instant::now();
        let payload = self.encode(route, request, id, deadline).await?;
        let message = match route.wire {
            Wire::MiJson => Message::Get(&payload),
            Wire::XmlRpc => Message::Post("text/xml", &payload),
            Wire::Text | Wire::Json => Message::Post("application/json", &payload),
        };
        route.check_http(self.http.head_size(message), message.body().len()).map_err(CallError::from)?;
        let answer = self.http.exchange(message, deadline).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) => return Err(CallFailure { sent: payload.into(), ..failure }),
        };
        let elapsed = started.elapsed();
        let is_abyss = answer.server.contains(ABYSS);
        if is_abyss != route.is_abyss {
            self.is_abyss.store(is_abyss, Ordering::Relaxed);
        }
        let size = answer.body.len();
        let decode = move || (read(route, &answer, id), answer);
        let (response, answer) = match deadline.work_on(size, decode).await {
            Ok(decoded) => decoded,
            Err(error) => {
                return Err(CallFailure { received_size: size, ..CallError::from(error).after(&payload, b"") });
            }
        };
        match response {
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
    async fn encode(
        &self,
        route: Route,
        request: &Arc<Request>,
        id: u32,
        deadline: &mut Deadline<'_>,
    ) -> Result<Vec<u8>, CallFailure> {
        let mut payload = Vec::with_capacity(256);
        if route.wire == Wire::MiJson {
            payload.extend_from_slice(self.http.path().as_bytes());
            payload.push(b'/');
        }
        let shared = Arc::clone(request);
        let encode = move || encode_after(payload, route, &shared, id);
        Ok(deadline.work_on(size_of(&request.params), encode).await??)
    }
}

/// A payload that begins with these bytes.
fn encode_after(mut payload: Vec<u8>, route: Route, request: &Request, id: u32) -> Result<Vec<u8>, CallError> {
    match route.wire {
        Wire::MiJson => mi_json::encode_request(&mut payload, request, route.dialect()),
        Wire::XmlRpc => xmlrpc::encode_request(&mut payload, request, route.form, route.dialect()),
        Wire::Text | Wire::Json => jsonrpc::encode_request(&mut payload, request, Some(id.into())),
    }
    .map_err(Refusal::from)?;
    route.check_bytes(request, &payload)?;
    Ok(payload)
}

/// Interprets an answer.
fn read(route: Route, answer: &HttpReply, id: u32) -> Result<Response, CallError> {
    if answer.status != 200 {
        // Some replies state the error in the body, in the form of the wire.
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
            // 2.4 writes "OK" as a struct without members; typed servers say "OK".
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
fn read_page(answer: &HttpReply) -> Result<Option<Response>, CallError> {
    let body = answer.body.trim_ascii();
    let Some(page) = body.strip_prefix(PAGE.0).and_then(|rest| rest.strip_suffix(PAGE.1)) else {
        return Ok(None);
    };
    if page == NO_SUCH_PATH {
        return Err(explain(&HttpReply { status: 404, ..empty_answer() }));
    }
    let reason = page.strip_suffix(b"!").unwrap_or(page);
    Ok(Some(Response::error(500, reason)))
}

/// Returns true if a server of 1.x or 2.x gives this reply to an unknown command and to other mistakes too.
fn leaves_open_whether_known(route: Route, reply: &Reply) -> bool {
    let is_old = matches!(route.generation, Some(Generation::OpenSips(..=2)));
    is_old
        && match (reply.response.code, &*reply.response.reason) {
            (401, b"Empty request") => route.wire == Wire::XmlRpc,
            (500, b"Internal server error") => true,
            _ => reply.is_unclear,
        }
}

/// Returns true if a string holds an empty line.
fn changes_line_feeds(params: &Params) -> bool {
    let holds = |text: &[u8]| memchr::memmem::find(text, b"\n\n").is_some();
    let changes = |item: &Item| item.as_str().is_some_and(holds);
    match params {
        Params::None => false,
        Params::Positional(items) => items.iter().any(changes),
        Params::Named(members) => members.iter().any(|(_, item)| changes(item)),
        Params::Strings(strings) => strings.iter().any(|param| holds(&param.value)),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn empty_answer() -> HttpReply {
    HttpReply { status: 200, reason: String::new(), server: String::new(), body: Vec::new(), may_be_reused: false }
}

/// On 1.x nothing at all may also stand for an error. Its `mi_xmlrpc` is a server of its own, which has faults.
/// From a command that answers a value it is never a success.
fn is_unclear(route: Route, request: &Request, answer: &HttpReply, response: &Response) -> bool {
    let may_be_1 = route.dialect() == Dialect::V1_11;
    let is_nothing_wanted = !matches!(&*request.method, b"cache_fetch");
    let says_nothing = response.is_success() && response.body == Body::Empty && is_nothing_wanted;
    match route.wire {
        Wire::MiJson => may_be_1 && says_nothing,
        Wire::XmlRpc => may_be_1 && says_nothing && !answer.server.contains(ABYSS),
        Wire::Text | Wire::Json => false,
    }
}

/// Explains a status and its remedy.
fn explain(answer: &HttpReply) -> CallError {
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

    fn page(text: &str) -> HttpReply {
        HttpReply { body: format!("<html><body>{text}</body></html>").into(), ..empty_answer() }
    }

    #[test]
    fn a_page_about_the_command_is_an_error_answer_and_one_about_the_path_is_not() {
        let failed = read_page(&page("Internal server error!"));
        assert!(matches!(&failed, Ok(Some(Response { code: 500, .. }))), "{failed:?}");
        let misplaced = read_page(&page("Unable to parse URL!"));
        assert!(misplaced.as_ref().is_err_and(|error| error.to_string().contains("check the path")), "{misplaced:?}");
        assert!(matches!(read_page(&HttpReply { body: b"{}".to_vec(), ..empty_answer() }), Ok(None)));
    }
}
