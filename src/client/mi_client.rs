//! A client of one server: its options, and the course of a call.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::breaker::Breaker;
use super::deadline::{Deadline, WaitError, run};
use super::detect::detect;
use super::error::{CallError, CallFailure};
use super::guard::{Carrier, Route};
use super::links::{Link, LinkOptions};
use super::reply::{Arguments, Asked, Reply};
use super::semaphore::Semaphore;
use super::server_info::{Generation, ServerInfo, Wire};
use super::transports::http::HttpError;
use super::{hints, request_fit, retry};
use crate::address::Address;
use crate::catalog::effects::{Effect, effect_of};
use crate::catalog::parameters;
use crate::item::Str;
use crate::request::Request;

/// A client of one server.
///
/// ```no_run
/// use std::time::Duration;
/// use sipmi::client::{Arguments, Client, Deadline};
///
/// let client = Client::new("udp:127.0.0.1:8080".parse()?, None)?;
/// let mut never = || false;
/// let mut deadline = Deadline::new(Duration::from_secs(5), &mut never);
/// let reply = client.request("uptime".into(), Arguments::default(), &mut deadline);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Client {
    address: Address,
    /// The wire that the user named.
    wire: Option<Wire>,
    link: Link,
    /// The facts found about the server, until a failure invalidates them.
    found: RwLock<Option<Arc<ServerInfo>>>,
    /// Passed by the call that finds out.
    probing: Semaphore,
    /// Limits the concurrent requests to the server; every call passes it.
    gate: Semaphore,
    in_flight: Option<NonZeroUsize>,
    /// How often a call is tried again.
    retries: u32,
    breaker: Breaker,
    is_closed: AtomicBool,
}

/// There can be no such client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The transport never speaks this wire.
    #[error("{address} speaks {spoken}, not {}", wire.name())]
    Wire {
        /// The address of the server.
        address: Address,
        /// The protocol that the server speaks.
        spoken: &'static str,
        /// The requested wire.
        wire: Wire,
    },
    /// An error in an http: or https: address or in its options.
    #[error("{0}")]
    Http(#[from] HttpError),
}

impl Client {
    /// A client that detects the server's wire at its first call, unless one is named. Touches no network.
    pub fn new(address: Address, wire: Option<Wire>) -> Result<Self, ClientError> {
        Self::with_options(address, wire, &LinkOptions::default())
    }

    /// As [`Client::new`], with options of which each belongs to one transport. The others do not look at it.
    pub fn with_options(address: Address, wire: Option<Wire>, options: &LinkOptions) -> Result<Self, ClientError> {
        let (link, address) = Link::new(address, options)?;
        if let Some(wire) = wire
            && let Err(spoken) = link.check_wire(wire)
        {
            return Err(ClientError::Wire { address, spoken, wire });
        }
        Ok(Client {
            address,
            wire,
            link,
            found: RwLock::default(),
            probing: Semaphore::default(),
            gate: Semaphore::default(),
            in_flight: None,
            retries: 0,
            breaker: Breaker::new(None),
            is_closed: AtomicBool::new(false),
        })
    }

    /// Limits the concurrent requests to the server to this number, instead of the default of its kind.
    #[must_use]
    pub fn with_in_flight(self, most: Option<NonZeroUsize>) -> Self {
        Client { in_flight: most, ..self }
    }

    /// Tries a call again, so often, that failed and cannot have run, or changes nothing.
    #[must_use]
    pub fn with_retries(self, retries: u32) -> Self {
        Client { retries, ..self }
    }

    /// Opens the circuit breaker after this number of consecutive calls without an answer.
    #[must_use]
    pub fn with_breaker(self, after: Option<NonZeroU32>) -> Self {
        Client { breaker: Breaker::new(after), ..self }
    }

    /// Sets the largest reply in bytes, instead of [`call::REPLY_LIMIT`]. Datagrams are never larger than 64 KiB.
    #[must_use]
    pub fn with_reply_limit(mut self, limit: NonZeroUsize) -> Self {
        self.link.limit_replies(limit.get());
        self
    }

    /// The same client with its own sockets, files and locks, for a child of this process.
    #[must_use]
    pub fn after_fork(&self) -> Self {
        Client {
            address: self.address.clone(),
            wire: self.wire,
            link: self.link.after_fork(),
            found: RwLock::new(self.known()),
            probing: Semaphore::default(),
            gate: Semaphore::default(),
            in_flight: self.in_flight,
            retries: self.retries,
            breaker: self.breaker.after_fork(),
            is_closed: AtomicBool::new(self.is_closed.load(Ordering::Relaxed)),
        }
    }

    /// A client of its own that detects the server's wire again: another version may have taken its place.
    #[must_use]
    pub fn without_cache(&self) -> Self {
        Client { found: RwLock::default(), ..self.after_fork() }
    }

    /// The address of the server.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Closes idle connections and sockets. The facts found about the server stay known.
    pub fn close_idle(&self) {
        self.link.close_idle();
    }

    /// Closes sockets and reply FIFOs. Calls in progress end as they would have, later ones fail.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.link.close();
    }

    /// Runs a command and gives its reply, also when it is an error.
    pub fn request(
        &self,
        method: Str,
        arguments: Arguments,
        deadline: &mut Deadline<'_>,
    ) -> Result<Reply, CallFailure> {
        run(self.answer_async(Asked { method, arguments, force: false }, deadline))
    }

    /// As [`Client::request`], for who asks for more than that.
    pub fn answer(&self, asked: Asked, deadline: &mut Deadline<'_>) -> Result<Reply, CallFailure> {
        run(self.answer_async(asked, deadline))
    }

    /// As [`Client::answer`], and waits as its deadline does.
    pub async fn answer_async(&self, asked: Asked, deadline: &mut Deadline<'_>) -> Result<Reply, CallFailure> {
        if self.retries == 0 {
            return self.watched(asked, deadline).await;
        }
        let effect = effect_of(&asked.method);
        for further in 1..=self.retries {
            let mut share = deadline.at_most(self.share(effect, self.retries + 2 - further, deadline)?);
            let failure = match self.watched(asked.clone(), &mut share).await {
                Err(failure) if retry::may_try_again(&failure, effect) => failure,
                outcome => return outcome,
            };
            match deadline.sleep(retry::pause_before(further)).await {
                Ok(()) => {}
                Err(WaitError::TimedOut) => return Err(failure),
                Err(error) => return Err(error.into()),
            }
        }
        self.watched(asked, deadline).await
    }

    /// How long a try may take. A datagram may be lost, so that only the next one is answered; nothing else is.
    fn share(&self, effect: Effect, tries: u32, deadline: &Deadline<'_>) -> Result<Duration, WaitError> {
        let left = deadline.left()?;
        let may_be_lost = effect == Effect::Read && self.link.carrier() == Carrier::Datagram;
        Ok(if may_be_lost { left / tries } else { left })
    }

    /// One try, of whose outcome note is taken.
    async fn watched(&self, asked: Asked, deadline: &mut Deadline<'_>) -> Result<Reply, CallFailure> {
        self.breaker.admit()?;
        let outcome = self.once(asked, deadline).await;
        if matches!(&outcome, Err(CallFailure { error: CallError::Transport { .. }, .. })) {
            // The server that replaces it may have another version.
            *self.found.write().unwrap_or_else(PoisonError::into_inner) = None;
            self.link.forget_server();
        }
        self.breaker.note(&outcome);
        outcome
    }

    async fn once(&self, asked: Asked, deadline: &mut Deadline<'_>) -> Result<Reply, CallFailure> {
        let Asked { method, arguments, force } = asked;
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(CallError::Closed.into());
        }
        let route = Route { force, ..self.route(deadline).await? };
        let mut request = Request { method, params: arguments.into_params(route.is_typed())? };
        if let Some(version) = route.version() {
            request_fit::take_names_of(version, &mut request);
        }
        request_fit::fit(route, &mut request).map_err(CallError::from)?;
        if matches!(route.generation, Some(Generation::OpenSips(..=2))) {
            parameters::put_in_place(&request.method, &mut request.params);
        }
        route.check_request(&request).map_err(CallError::from)?;
        route.adapt(&mut request.params);
        let request = Arc::new(request);
        // Requests side by side crash mi_xmlrpc (OpenSIPS/opensips#953), whatever the caller wants.
        let most = match self.in_flight {
            Some(most) if !route.is_abyss => most.get(),
            _ => route.in_flight(),
        };
        let _permit = self.gate.acquire(most, deadline).await?;
        let mut reply = self.link.exchange(route, &request, deadline).await;
        let is_refused = matches!(&reply, Err(CallFailure { error: CallError::Refused(_), .. }));
        if is_refused && route.generation.is_none() && self.link.carrier() == Carrier::Http {
            // It may be one that takes more than can be known before it is asked.
            self.found_async(deadline).await?;
            let route = Route { force, ..self.route(deadline).await? };
            reply = self.link.exchange(route, &request, deadline).await;
        }
        match &mut reply {
            Ok(reply) => {
                hints::explain_refusal(route, &request.method, reply);
                reply.is_typed = route.is_typed();
                reply.request = Arc::unwrap_or_clone(request);
            }
            Err(failure) => hints::explain_silence(route, &request.method, failure),
        }
        reply
    }

    /// Returns the server's wire and version, which are requested only once.
    pub fn found(&self, deadline: &mut Deadline<'_>) -> Result<Arc<ServerInfo>, CallFailure> {
        run(self.found_async(deadline))
    }

    /// As [`Client::found`], and waits as its deadline does.
    pub async fn found_async(&self, deadline: &mut Deadline<'_>) -> Result<Arc<ServerInfo>, CallFailure> {
        loop {
            if let Some(found) = self.known() {
                return Ok(found);
            }
            if self.is_closed.load(Ordering::Relaxed) {
                return Err(CallError::Closed.into());
            }
            // One call asks, and the others wait for its result; if it fails, the next one asks.
            let _permit = self.probing.acquire(1, deadline).await?;
            if self.known().is_none() {
                let found = detect(&self.link, self.wire, deadline)
                    .await
                    .map_err(|failure| CallFailure { probing: true, ..failure })?;
                *self.found.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(found));
            }
        }
    }

    /// Returns the facts that are already known.
    pub fn known(&self) -> Option<Arc<ServerInfo>> {
        self.found.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the wire that the user named, or else the detected one.
    pub fn wire(&self, deadline: &mut Deadline<'_>) -> Result<Wire, CallFailure> {
        run(self.wire_async(deadline))
    }

    /// As [`Client::wire`], and waits as its deadline does.
    pub async fn wire_async(&self, deadline: &mut Deadline<'_>) -> Result<Wire, CallFailure> {
        match self.wire {
            Some(wire) => Ok(wire),
            None => self.found_async(deadline).await.map(|found| found.wire),
        }
    }

    async fn route(&self, deadline: &mut Deadline<'_>) -> Result<Route, CallFailure> {
        let found = match (self.known(), self.wire) {
            // Only the server can say which form of XML-RPC it has, and whether it answers errors with nothing.
            (None, Some(wire @ (Wire::Text | Wire::Json))) => return Ok(self.link.route_to_unknown(wire)),
            (Some(found), _) => found,
            (None, _) => self.found_async(deadline).await?,
        };
        Ok(self.link.route_to(&found))
    }
}
