//! Calls commands: request in, bytes out, bytes in, reply out. Blocking, and for use by many threads at once.
//!
//! A call has one deadline for all that it does, and never harms the server it calls (see [`limits`]).

mod breaker;
pub mod call;
mod datagram;
pub mod driver;
mod fifo;
mod fit;
mod gate;
pub mod http;
mod large;
pub mod limits;
mod patience;
pub mod probe;
mod resolve;
mod retry;
pub mod shape;
mod web;

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

pub use call::{Arguments, Asked, CallError, CallFailure, Reply};
pub use patience::Patience;
pub use probe::{Found, Generation, Wire};

use crate::address::Address;
use crate::catalog::effects::{Effect, effect_of};
use crate::catalog::{names, parameters};
use crate::codec::text;
use crate::codec::{CodecError, jsonrpc};
use crate::item::{Item, Str};
use crate::request::{Params, Request};
use crate::response::{Failure, Response};
use breaker::Breaker;
use call::read_json;
use datagram::{Heard, Place, Pool};
use fifo::{Ending, Fifo};
use gate::Gate;
use http::HttpOptions;
use limits::{Carrier, Route};
use patience::{Stop, run};
use web::Web;

/// How long a FIFO may take to answer the JSON question before it is asked in text.
const JSON_PROBE: Duration = Duration::from_millis(400);

/// Ends a JSON request for a text FIFO too, which else would take the next request for the rest of it.
const FOR_ANY_FIFO: &[u8] = b"\n\n";

/// Ids go round here: servers keep them in 32 bits with a sign.
const IDS: u32 = 0x7fff_ffff;

/// A number that others cannot guess: the ids of a client count from it, so that nobody else answers in the server's
/// place without seeing its requests.
fn random_id() -> u32 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish() as u32
}

/// Options of which each belongs to one transport.
#[derive(Clone, Debug, Default)]
pub struct LinkOptions {
    /// Those of HTTP.
    pub http: HttpOptions,
    /// (UNIX) Modparam `socket_buf_size` of the server's `mi_datagram` (4.0 and later), in bytes; `None`: its default.
    pub socket_buf_size: Option<NonZeroUsize>,
}

/// A client of one server.
///
/// ```no_run
/// use std::time::Duration;
/// use sipmi::client::{Arguments, Client, Patience};
///
/// let client = Client::new("udp:127.0.0.1:8080".parse()?, None)?;
/// let mut never = || false;
/// let mut patience = Patience::new(Duration::from_secs(5), &mut never);
/// let reply = client.request("uptime".into(), Arguments::default(), &mut patience);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Client {
    address: Address,
    /// What the user says that the server speaks.
    wire: Option<Wire>,
    link: Link,
    /// What was found out, and still holds as far as we know.
    found: RwLock<Option<Arc<Found>>>,
    /// Passed by the call that finds out.
    probing: Gate,
    /// Passed by every call: servers are given so many at a time.
    gate: Gate,
    in_flight: Option<NonZeroUsize>,
    /// How often a call is tried again.
    retries: u32,
    breaker: Breaker,
    last_id: AtomicU32,
    is_closed: AtomicBool,
}

#[derive(Debug)]
enum Link {
    Fifo(Fifo),
    Datagram(Pool),
    Http(Box<Web>),
}

/// There can be no such client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The transport never speaks this wire.
    #[error("{address} speaks {spoken}, not {}", wire.name())]
    Wire {
        /// Whom to call.
        address: Address,
        /// What is spoken there.
        spoken: &'static str,
        /// What was asked for.
        wire: Wire,
    },
    /// What an http: or https: address or its options say.
    #[error("{0}")]
    Http(#[from] http::HttpError),
}

impl Client {
    /// A client that finds out what the server speaks at its first call, unless it is told. Touches no network.
    pub fn new(address: Address, wire: Option<Wire>) -> Result<Self, ClientError> {
        Self::with_options(address, wire, &LinkOptions::default())
    }

    /// As [`Client::new`], with options of which each belongs to one transport. The others do not look at it.
    pub fn with_options(address: Address, wire: Option<Wire>, options: &LinkOptions) -> Result<Self, ClientError> {
        let (link, address) = match address {
            Address::Http(url) => {
                let web = Web::new(&url, &options.http)?;
                let shown = Address::Http(web.shown().to_owned());
                (Link::Http(Box::new(web)), shown)
            }
            Address::Fifo { ref path, .. } => {
                (Link::Fifo(Fifo::new(path.clone(), address.reply_dir().to_owned())), address)
            }
            Address::Udp { ref host, port } => {
                (Link::Datagram(Pool::new(Place::Udp { host: host.clone(), port })), address)
            }
            Address::Unix { ref path } => {
                let pool = Pool::new(Place::Unix(path.clone())).with_socket_buf_size(options.socket_buf_size);
                (Link::Datagram(pool), address)
            }
        };
        match (&link, wire) {
            (Link::Http(_), Some(wire @ Wire::Text)) => {
                return Err(ClientError::Wire { address, spoken: "jsonrpc, mi_json or xmlrpc", wire });
            }
            (Link::Fifo(_) | Link::Datagram(_), Some(wire @ (Wire::MiJson | Wire::XmlRpc))) => {
                return Err(ClientError::Wire { address, spoken: "text or jsonrpc", wire });
            }
            _ => {}
        }
        Ok(Client {
            address,
            wire,
            link,
            found: RwLock::default(),
            probing: Gate::default(),
            gate: Gate::default(),
            in_flight: None,
            retries: 0,
            breaker: Breaker::new(None),
            last_id: AtomicU32::new(random_id()),
            is_closed: AtomicBool::new(false),
        })
    }

    /// Gives the server at most so many requests at a time, instead of what is good for its kind.
    #[must_use]
    pub fn with_in_flight(self, most: Option<NonZeroUsize>) -> Self {
        Client { in_flight: most, ..self }
    }

    /// Tries a call again, so often, that failed and cannot have run, or changes nothing.
    #[must_use]
    pub fn with_retries(self, retries: u32) -> Self {
        Client { retries, ..self }
    }

    /// Leaves the server alone for a while after so many calls in a row that it did not answer.
    #[must_use]
    pub fn with_breaker(self, after: Option<NonZeroU32>) -> Self {
        Client { breaker: Breaker::new(after), ..self }
    }

    /// Sets the largest reply in bytes, instead of [`call::REPLY_LIMIT`]. Datagrams are never larger than 64 KiB.
    #[must_use]
    pub fn with_reply_limit(mut self, limit: NonZeroUsize) -> Self {
        match &mut self.link {
            Link::Fifo(fifo) => fifo.reply_limit = limit.get(),
            Link::Datagram(_) => {}
            Link::Http(web) => web.limit_replies(limit.get()),
        }
        self
    }

    /// The same client with sockets, files and locks of its own: what a child of this process goes on with.
    #[must_use]
    pub fn renewed(&self) -> Self {
        let link = match &self.link {
            Link::Fifo(fifo) => Link::Fifo(fifo.renewed()),
            Link::Datagram(pool) => Link::Datagram(pool.renewed()),
            Link::Http(web) => Link::Http(Box::new(web.renewed())),
        };
        Client {
            address: self.address.clone(),
            wire: self.wire,
            link,
            found: RwLock::new(self.known()),
            probing: Gate::default(),
            gate: Gate::default(),
            in_flight: self.in_flight,
            retries: self.retries,
            breaker: self.breaker.renewed(),
            last_id: AtomicU32::new(self.last_id.load(Ordering::Relaxed)),
            is_closed: AtomicBool::new(self.is_closed.load(Ordering::Relaxed)),
        }
    }

    /// A client of its own that has yet to find out what the server speaks: another version may have taken its place.
    #[must_use]
    pub fn forgetful(&self) -> Self {
        Client { found: RwLock::default(), ..self.renewed() }
    }

    /// Whom it calls.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Lets go of what is kept for later calls. What was found out stays known.
    pub fn rest(&self) {
        match &self.link {
            Link::Fifo(fifo) => fifo.rest(),
            Link::Datagram(pool) => pool.close(),
            Link::Http(web) => web.close(),
        }
    }

    /// Lets go of sockets and reply FIFOs. Calls in progress end as they would have, later ones fail.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        match &self.link {
            Link::Fifo(fifo) => fifo.close(),
            Link::Datagram(pool) => pool.close(),
            Link::Http(web) => web.close(),
        }
    }

    /// Runs a command and gives its reply, also when it is an error.
    pub fn request(
        &self,
        method: Str,
        arguments: Arguments,
        patience: &mut Patience<'_>,
    ) -> Result<Reply, CallFailure> {
        run(self.answer_async(Asked { method, arguments, force: false }, patience))
    }

    /// As [`Client::request`], for who asks for more than that.
    pub fn answer(&self, asked: Asked, patience: &mut Patience<'_>) -> Result<Reply, CallFailure> {
        run(self.answer_async(asked, patience))
    }

    /// As [`Client::answer`], and waits as its patience does.
    pub async fn answer_async(&self, asked: Asked, patience: &mut Patience<'_>) -> Result<Reply, CallFailure> {
        if self.retries == 0 {
            return self.watched(asked, patience).await;
        }
        let effect = effect_of(&asked.method);
        for further in 1..=self.retries {
            let mut share = patience.at_most(self.share(effect, self.retries + 2 - further, patience)?);
            let failure = match self.watched(asked.clone(), &mut share).await {
                Err(failure) if retry::may_try_again(&failure, effect) => failure,
                outcome => return outcome,
            };
            match patience.rest(retry::pause_before(further)).await {
                Ok(()) => {}
                Err(Stop::Deadline) => return Err(failure),
                Err(stop) => return Err(stop.into()),
            }
        }
        self.watched(asked, patience).await
    }

    /// How long a try may take. A datagram may be lost, so that only the next one is answered; nothing else is.
    fn share(&self, effect: Effect, tries: u32, patience: &Patience<'_>) -> Result<Duration, Stop> {
        let left = patience.left()?;
        let may_be_lost = effect == Effect::Read && self.carrier() == Carrier::Datagram;
        Ok(if may_be_lost { left / tries } else { left })
    }

    /// One try, of whose outcome note is taken.
    async fn watched(&self, asked: Asked, patience: &mut Patience<'_>) -> Result<Reply, CallFailure> {
        self.breaker.admit()?;
        let outcome = self.once(asked, patience).await;
        if matches!(&outcome, Err(CallFailure { error: CallError::Transport { .. }, .. })) {
            // Who comes after it may be of another version.
            *self.found.write().unwrap_or_else(PoisonError::into_inner) = None;
            if let Link::Http(web) = &self.link {
                web.forget();
            }
        }
        self.breaker.note(&outcome);
        outcome
    }

    async fn once(&self, asked: Asked, patience: &mut Patience<'_>) -> Result<Reply, CallFailure> {
        let Asked { method, arguments, force } = asked;
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(CallError::Closed.into());
        }
        let route = Route { force, ..self.route(patience).await? };
        let mut request = Request { method, params: arguments.into_params(route.is_typed())? };
        if let Some(version) = route.version() {
            take_names_of(version, &mut request);
        }
        fit::fit(route, &mut request).map_err(CallError::from)?;
        if matches!(route.generation, Some(Generation::OpenSips(..=2))) {
            parameters::put_in_place(&request.method, &mut request.params);
        }
        route.check_request(&request).map_err(CallError::from)?;
        route.adapt(&mut request.params);
        // Requests side by side crash mi_xmlrpc (OpenSIPS/opensips#953), whatever the caller wants.
        let most = match self.in_flight {
            Some(most) if !route.is_abyss => most.get(),
            _ => route.in_flight(),
        };
        let _permit = self.gate.enter(most, patience).await?;
        let mut reply = self.exchange(route, &request, patience).await;
        let is_refused = matches!(&reply, Err(CallFailure { error: CallError::Refused(_), .. }));
        if is_refused && route.generation.is_none() && matches!(self.link, Link::Http(_)) {
            // It may be one that takes more than can be known before it is asked.
            self.found_async(patience).await?;
            let route = Route { force, ..self.route(patience).await? };
            reply = self.exchange(route, &request, patience).await;
        }
        match &mut reply {
            Ok(reply) => {
                large::explain_refusal(route, &request.method, reply);
                reply.is_typed = route.is_typed();
                reply.request = request;
            }
            Err(failure) => large::explain_silence(route, &request.method, failure),
        }
        reply
    }

    /// What the server speaks and who it is; asked for only once.
    pub fn found(&self, patience: &mut Patience<'_>) -> Result<Arc<Found>, CallFailure> {
        run(self.found_async(patience))
    }

    /// As [`Client::found`], and waits as its patience does.
    pub async fn found_async(&self, patience: &mut Patience<'_>) -> Result<Arc<Found>, CallFailure> {
        loop {
            if let Some(found) = self.known() {
                return Ok(found);
            }
            if self.is_closed.load(Ordering::Relaxed) {
                return Err(CallError::Closed.into());
            }
            // One asks, the others wait for what it finds; if it fails the next one asks.
            let _permit = self.probing.enter(1, patience).await?;
            if self.known().is_none() {
                let found = self.probe(patience).await.map_err(|failure| CallFailure { probing: true, ..failure })?;
                *self.found.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(found));
            }
        }
    }

    /// What was found out already.
    pub fn known(&self) -> Option<Arc<Found>> {
        self.found.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the user said, or else what was found out, of what the server speaks.
    pub fn wire(&self, patience: &mut Patience<'_>) -> Result<Wire, CallFailure> {
        run(self.wire_async(patience))
    }

    /// As [`Client::wire`], and waits as its patience does.
    pub async fn wire_async(&self, patience: &mut Patience<'_>) -> Result<Wire, CallFailure> {
        match self.wire {
            Some(wire) => Ok(wire),
            None => self.found_async(patience).await.map(|found| found.wire),
        }
    }

    /// The modparam of that name of the server's `mi_datagram`, as the user says it.
    fn socket_buf_size(&self) -> Option<usize> {
        if let Link::Datagram(pool) = &self.link { pool.socket_buf_size() } else { None }
    }

    fn carrier(&self) -> Carrier {
        match self.link {
            Link::Fifo(_) => Carrier::Fifo,
            Link::Datagram(_) => Carrier::Datagram,
            Link::Http(_) => Carrier::Http,
        }
    }

    async fn route(&self, patience: &mut Patience<'_>) -> Result<Route, CallFailure> {
        let carrier = self.carrier();
        let found = match (self.known(), self.wire) {
            // Only the server can say which form of XML-RPC it has, and whether it answers errors with nothing.
            (None, Some(wire @ (Wire::Text | Wire::Json))) => {
                return Ok(Route { socket_buf_size: self.socket_buf_size(), ..Route::unknown(wire, carrier) });
            }
            (Some(found), _) => found,
            (None, _) => self.found_async(patience).await?,
        };
        let Found { wire, generation, form, .. } = *found;
        let (minor, patch) = (found.minor(), found.patch());
        let socket_buf_size = self.socket_buf_size();
        let route = Route { generation, minor, patch, socket_buf_size, form, ..Route::unknown(wire, carrier) };
        Ok(if let Link::Http(web) = &self.link { web.complete(route) } else { route })
    }

    fn next_id(&self) -> u32 {
        self.last_id.fetch_add(1, Ordering::Relaxed) % IDS + 1
    }

    async fn exchange(
        &self,
        route: Route,
        request: &Request,
        patience: &mut Patience<'_>,
    ) -> Result<Reply, CallFailure> {
        // Who will not wait for the answer does not want the command to run.
        patience.left()?;
        let id = self.next_id();
        let started = Instant::now();
        let (sent, raw, response) = match &self.link {
            Link::Http(web) => return web.call(route, request, id, patience).await,
            Link::Datagram(pool) => {
                let sent = encode(route, request, id, "")?;
                let mut read = |bytes: &[u8]| match route.wire {
                    Wire::Json => read_json(bytes, id),
                    _ => Some(text::decode_response(bytes, datagram_of(route))),
                };
                let Heard { reply, raw } =
                    pool.exchange(&sent, route.wire == Wire::Json, patience, &mut read).await?;
                (sent, raw, reply)
            }
            Link::Fifo(fifo) => exchange_over_fifo(fifo, route, request, id, patience).await?,
        };
        let elapsed = started.elapsed();
        Ok(Reply { response, sent, raw, elapsed, wire: route.wire, ..Reply::default() })
    }

    /// Asks in JSON first: old servers answer that they do not understand, and are asked in text.
    async fn probe(&self, patience: &mut Patience<'_>) -> Result<Found, CallFailure> {
        if let Some(wire) = self.wire {
            return self.version(wire, patience).await;
        }
        let answered = match &self.link {
            Link::Http(web) => return self.ask_root(web, patience).await,
            Link::Datagram(pool) => self.ask_datagram(pool, patience).await?,
            Link::Fifo(_) => match self.version(Wire::Json, &mut patience.at_most(JSON_PROBE)).await {
                Ok(found) => Some(found),
                Err(CallFailure { error: CallError::Timeout, .. }) if patience.left().is_ok() => None,
                Err(failure) => return Err(failure),
            },
        };
        match answered {
            Some(found) => Ok(found),
            None => self.version(Wire::Text, patience).await,
        }
    }

    /// Asks at the root of the address; the error says at which other one the server answers.
    async fn ask_root(&self, web: &Web, patience: &mut Patience<'_>) -> Result<Found, CallFailure> {
        let failure = match self.version(web.likely_wire(), patience).await {
            Err(failure) if is_wrong_root(&failure.error) => failure,
            outcome => return outcome,
        };
        Err(match web.other_root(patience).await {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        })
    }

    async fn version(&self, wire: Wire, patience: &mut Patience<'_>) -> Result<Found, CallFailure> {
        let route = Route::unknown(wire, self.carrier());
        self.exchange(route, &Request::new("version"), patience).await.map(|reply| Found::read(wire, &reply.response))
    }

    /// Asks in JSON; nothing when the server answers in text.
    async fn ask_datagram(&self, pool: &Pool, patience: &mut Patience<'_>) -> Result<Option<Found>, CallFailure> {
        let id = self.next_id();
        let route = Route::unknown(Wire::Json, Carrier::Datagram);
        let sent = encode(route, &Request::new("version"), id, "")?;
        let mut read = |bytes: &[u8]| {
            if jsonrpc::looks_like_json(bytes) {
                read_json(bytes, id).map(|read| read.map(|response| Some(Found::read(Wire::Json, &response))))
            } else {
                // What is no reply at all is no server of ours.
                Some(text::decode_response(bytes, text::Carrier::Datagram).map(|_| None))
            }
        };
        pool.exchange(&sent, true, patience, &mut read).await.map(|heard| heard.reply)
    }
}

/// Whether something answers that is no MI, or no MI of this wire.
fn is_wrong_root(error: &CallError) -> bool {
    match error {
        CallError::Codec(_) => true,
        CallError::Transport { errno, .. } => matches!(*errno, libc::ENOENT | libc::EPROTO),
        _ => false,
    }
}

/// Calls the command, and the one that `which` or `help` is asked about, as this version does.
fn take_names_of(version: names::Version, request: &mut Request) {
    if let Some(name) = names::name_on(&request.method, version) {
        request.method = name;
    }
    if !matches!(&*request.method, b"which" | b"help" | b"core:which" | b"core:help") {
        return;
    }
    let subject = match &mut request.params {
        Params::Positional(items) => items.first_mut(),
        Params::Named(members) => members.first_mut().map(|(_, item)| item),
        Params::Strings(strings) => {
            let Some(subject) = strings.first_mut() else { return };
            if let Some(name) = names::name_on(&subject.value, version) {
                subject.value = name;
            }
            return;
        }
        Params::None => None,
    };
    if let Some(Item::Str(name)) = subject
        && let Some(known) = names::name_on(name, version)
    {
        *name = known;
    }
}

/// Writes a request and checks it as it would go out.
/// How a text reply ends in a datagram of this server.
fn datagram_of(route: Route) -> text::Carrier {
    match (route.generation, route.minor, route.patch) {
        (Some(Generation::OpenSips(..=1)), ..) => text::Carrier::OldDatagram,
        (Some(Generation::OpenSips(2)), Some(minor), Some(patch)) if (minor, patch) < (4, 5) => {
            text::Carrier::OldDatagram
        }
        _ => text::Carrier::Datagram,
    }
}

fn encode(route: Route, request: &Request, id: u32, reply_name: &str) -> Result<Vec<u8>, CallError> {
    let mut bytes = Vec::with_capacity(256);
    let written = if route.wire == Wire::Json {
        if route.carrier == Carrier::Fifo {
            for part in [":", reply_name, ":"] {
                bytes.extend_from_slice(part.as_bytes());
            }
        }
        jsonrpc::encode_request(&mut bytes, request, Some(id.into()))
    } else {
        let carrier = if route.carrier == Carrier::Fifo { text::Carrier::Fifo } else { text::Carrier::Datagram };
        text::encode_request(&mut bytes, request, carrier, reply_name)
    };
    written.map_err(limits::Refusal::from)?;
    if route.wire == Wire::Json && route.carrier == Carrier::Fifo && route.generation.is_none() {
        bytes.extend_from_slice(FOR_ANY_FIFO);
    }
    route.check_bytes(request, &bytes)?;
    Ok(bytes)
}

async fn exchange_over_fifo(
    fifo: &Fifo,
    route: Route,
    request: &Request,
    id: u32,
    patience: &mut Patience<'_>,
) -> Result<(Vec<u8>, Vec<u8>, Response), CallFailure> {
    let is_sipmi = route.generation == Some(Generation::Sipmi);
    let ending = match route.wire {
        Wire::Json if is_sipmi => Ending::Json,
        Wire::Json => Ending::JsonInPieces,
        _ => Ending::Text,
    };
    let may_be_out_of_step = route.wire == Wire::Text && !is_sipmi;
    let exchanged = fifo
        .exchange(ending, patience, |reply_name| {
            route.check_reply_path(fifo.reply_path_len(reply_name))?;
            encode(route, request, id, reply_name)
        })
        .await;
    let was_lost = matches!(&exchanged, Err(CallFailure { error: CallError::Timeout, sent, .. }) if !sent.is_empty());
    if may_be_out_of_step && was_lost {
        fifo.resync();
    }
    let (sent, raw) = exchanged?;
    let read = match route.wire {
        Wire::Json => {
            read_json(&raw, id).unwrap_or_else(|| Err(CodecError::unexpected("the answer to this request", &raw, 0)))
        }
        _ => text::decode_response(&raw, text::Carrier::Fifo),
    };
    match read {
        Ok(response) => {
            if may_be_out_of_step && text::failure_of(&response) == Some(Failure::Parse) {
                fifo.resync();
            }
            Ok((sent, raw, response))
        }
        Err(error) => Err(CallError::from(error).after(&sent, &raw)),
    }
}
