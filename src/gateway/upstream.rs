//! One upstream: its queue, the threads that call it, and the known facts about it.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::acl::Acl;
use super::audit::{Audit, Entry};
use super::cache::{CacheError, Flight, ResponseCache, Wanted, key_of};
use super::command_names::{NEVER, Names};
use super::outcome::{Outcome, UpstreamError, Waiter, item_of};
use super::translate;
use crate::catalog::effects::{Effect, effect_of};
use crate::client::{CallError, CallFailure, Client, Deadline, Generation, Reply, Wire};
use crate::clock;
use crate::codec::{jsonrpc, text};
use crate::command::{Answer, Detach, Origin};
use crate::item::{Item, Str};
use crate::request::Params;
use crate::response::{Failure, Response};
use crate::server::scheduling::thread_pool::Pool;

/// A server of ours may have become a gateway since it was last asked.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// The names of commands are asked for no more often than this.
const NAMES_ARE_GOOD: Duration = Duration::from_secs(1);

/// The purpose and the settings of an upstream.
pub struct UpstreamOptions {
    /// Patterns of the commands that go there; empty: all.
    pub only: Vec<String>,
    /// How long a request may take, from when it came.
    pub timeout: Duration,
    /// How many threads call it, and so how many calls may be on their way.
    pub threads: usize,
    /// How many requests may wait for them.
    pub queue: usize,
    /// The commands with cached answers, and the time to live of each.
    pub cache: Vec<(String, Duration)>,
    /// The commands that each caller may run on it.
    pub acl: Acl,
    /// Where the audit log goes.
    pub audit: Option<Audit>,
}

/// Unless it is said otherwise, requests may wait in this number; that is memory for as many.
const QUEUE: usize = 4096;

/// The default: as many as a server may be given at a time.
const THREADS: usize = 4;

impl Default for UpstreamOptions {
    fn default() -> Self {
        UpstreamOptions {
            only: Vec::new(),
            timeout: Duration::from_secs(5),
            threads: THREADS,
            queue: QUEUE,
            cache: Vec::new(),
            acl: Acl::default(),
            audit: None,
        }
    }
}

/// The way to one upstream.
pub struct Upstream {
    client: RwLock<Arc<Client>>,
    pub(super) address: String,
    options: UpstreamOptions,
    cache: ResponseCache,
    /// Its queue, and the threads that call the upstream.
    pool: Arc<Pool>,
    identity: Mutex<Identity>,
    names: Mutex<Option<(Instant, Arc<Vec<Str>>)>>,
    gateway: String,
}

/// The facts that an upstream reported about itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Identity {
    /// The upstream's reply to `version`.
    pub(super) server: Option<Str>,
    /// The gateways that it is, and leads to.
    pub(super) gateways: Vec<Str>,
    asked: Option<Instant>,
}

impl Upstream {
    /// A upstream by which nothing has gone yet.
    pub fn new(client: Arc<Client>, mut options: UpstreamOptions) -> Result<Self, CacheError> {
        Ok(Upstream {
            address: client.address().to_string(),
            cache: ResponseCache::new(std::mem::take(&mut options.cache))?,
            client: RwLock::new(client),
            pool: Pool::new(options.threads, Arc::new(|work| work())),
            options,
            identity: Mutex::default(),
            names: Mutex::default(),
            gateway: String::new(),
        })
    }

    pub(super) fn of_gateway(self, id: &str) -> Self {
        Upstream { gateway: id.to_owned(), ..self }
    }

    pub(super) fn takes(&self, names: &Names) -> bool {
        self.options.only.is_empty() || names.match_any(&self.options.only)
    }

    pub(super) fn allows(&self, origin: &Origin, names: &Names) -> bool {
        self.options.acl.allow(origin, names)
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Until when a request that comes now may take.
    pub(super) fn deadline_for(&self, origin: &Origin) -> Instant {
        let now = Instant::now();
        let ours = clock::later(now, self.options.timeout);
        origin.deadline.map_or(ours, |theirs| ours.min(theirs))
    }

    /// Logs that a caller requested a forbidden command.
    pub(super) fn note_refused(&self, origin: &Origin, method: &[u8], params: &Params) {
        let entry = self.entry(origin, method, params);
        self.note(entry, &Err(Failure::Forbidden), false);
    }

    /// Answers a request from the cache or by the upstream.
    pub(super) fn forward(
        self: &Arc<Self>,
        method: &Str,
        names: &Names,
        params: Params,
        origin: &Origin,
        detach: &Arc<dyn Detach>,
    ) -> Answer {
        let legacy = origin.wire.is_legacy();
        let entry = self.entry(origin, method, &params);
        let time = self.cache.time_for(names);
        let key = time.map(|_| key_of(method, &params));
        if let Some(outcome) = key.as_ref().and_then(|key| self.cache.fresh(key)) {
            let result = translate::answer(&outcome, legacy, &self.address);
            self.note(entry, &result, true);
            return Answer::Now(result);
        }
        if self.is_full() {
            let result = Err(Failure::Busy);
            self.note(entry, &result, false);
            return Answer::Now(result);
        }
        let waiter = Waiter { responder: Arc::clone(detach).detach(), legacy, entry };
        let flight = match &key {
            None => Flight::alone(waiter),
            Some(key) => match self.cache.want(key, waiter) {
                Wanted::Fresh(outcome, waiter) => {
                    self.answer(waiter, &outcome, true);
                    return Answer::Later;
                }
                Wanted::Waits => return Answer::Later,
                Wanted::Asks(flight) => flight,
            },
        };
        let (method, flat, deadline) = (method.clone(), names.flat.clone(), self.deadline_for(origin));
        self.push(move |upstream| {
            if key.is_none() && !flight.is_awaited() {
                // The callers have disconnected, or have got a timeout.
                return flight.take().into_iter().for_each(|gone| upstream.reply(gone, Err(Failure::Timeout), false));
            }
            let outcome = Arc::new(upstream.ask(&method, params, deadline));
            if effect_of(&flat) == Effect::Write {
                upstream.cache.forget();
            }
            let waiters = match (&key, time) {
                (Some(key), Some(time)) => upstream.cache.settle(key, &flight, &outcome, time),
                _ => flight.take(),
            };
            for (place, waiter) in waiters.into_iter().enumerate() {
                upstream.answer(waiter, &outcome, place > 0);
            }
        });
        Answer::Later
    }

    fn answer(&self, waiter: Waiter, outcome: &Outcome, from_cache: bool) {
        let result = translate::answer(outcome, waiter.legacy, &self.address);
        self.reply(waiter, result, from_cache);
    }

    /// Answers a caller and notes it.
    pub(super) fn reply(&self, waiter: Waiter, result: Result<Response, Failure>, from_cache: bool) {
        self.note(waiter.entry, &result, from_cache);
        waiter.responder.answer(result);
    }

    pub(super) fn entry(&self, origin: &Origin, method: &[u8], params: &Params) -> Option<Entry> {
        self.options.audit.as_ref().map(|_| Entry::new(origin, method, params, &self.address))
    }

    fn note(&self, entry: Option<Entry>, result: &Result<Response, Failure>, from_cache: bool) {
        if let (Some(audit), Some(entry)) = (&self.options.audit, entry) {
            audit(entry.finish(result, from_cache));
        }
    }

    // -- the queue ---------------------------------------------------------------------------------

    pub(super) fn is_full(&self) -> bool {
        self.pool.waiting() >= self.options.queue
    }

    /// Queues a job. If the queue rejects it, the job is dropped and its waiters get an error.
    pub(super) fn push(self: &Arc<Self>, job: impl FnOnce(&Arc<Upstream>) + Send + 'static) {
        let upstream = self.clone();
        self.pool.run(Box::new(move || job(&upstream)));
    }

    // -- calls, on a thread of the pool ----------------------------------------------------------------

    /// Calls a command.
    pub(super) fn ask(&self, method: &Str, params: Params, deadline: Instant) -> Outcome {
        let mut never = || false;
        let mut deadline = Deadline::new(deadline.saturating_duration_since(Instant::now()), &mut never);
        let client = self.client.read().unwrap_or_else(PoisonError::into_inner).clone();
        self.look(&client, &mut deadline)?;
        let typed = client.found(&mut deadline).map_err(|failure| self.error(failure))?.is_typed();
        let names = Names::of(method);
        debug_assert!(names.flat != NEVER);
        let arguments = translate::arguments(&names.flat, params, typed);
        let outcome = client.request(method.clone(), arguments, &mut deadline);
        if is_strange(&outcome) {
            *self.client.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(client.without_cache());
        }
        outcome.map_err(|failure| self.error(failure))
    }

    /// Asks who the upstream is, the first time and now and then: it may lead back here.
    fn look(&self, client: &Client, deadline: &mut Deadline<'_>) -> Result<(), UpstreamError> {
        let is_ours = |client: &Client, deadline: &mut Deadline<'_>| {
            client.found(deadline).is_ok_and(|found| found.generation == Some(Generation::Sipmi))
        };
        let mut identity = self.identity();
        let is_recent = identity.asked.is_some_and(|asked| asked.elapsed() < LOOK_AGAIN);
        if !is_recent && (identity.asked.is_none() || is_ours(client, deadline)) {
            let reply = client.request("version".into(), crate::client::Arguments::default(), deadline);
            let reply = reply.map_err(|failure| self.error(failure))?;
            identity = read_identity(&reply.response);
            *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = identity.clone();
        }
        if identity.gateways.iter().any(|gateway| *gateway == *self.gateway) {
            Err(UpstreamError::Loop)
        } else {
            Ok(())
        }
    }

    /// The names that it listed when it was last asked for them; none before.
    pub(super) fn listed(&self) -> Arc<Vec<Str>> {
        let known = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().map_or_else(Arc::default, |(_, names)| names.clone())
    }

    /// The names of its commands, as it lists them.
    pub(super) fn names(&self, deadline: Instant) -> Result<Arc<Vec<Str>>, UpstreamError> {
        let known = self.names.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, names)) = known.filter(|(asked, _)| asked.elapsed() < NAMES_ARE_GOOD) {
            return Ok(names);
        }
        let reply = self.ask(&"which".into(), Params::None, deadline)?;
        let names: Vec<Str> = match item_of(&reply.shaped()) {
            Item::Array(names) => names.iter().filter_map(Item::as_str).map(Str::from).collect(),
            Item::Str(name) => vec![name],
            _ => Vec::new(),
        };
        let names = Arc::new(names);
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), names.clone()));
        Ok(names)
    }

    fn error(&self, failure: CallFailure) -> UpstreamError {
        match failure.error {
            CallError::Timeout => UpstreamError::Timeout(self.options.timeout.as_secs_f64()),
            CallError::Refused(refusal) => UpstreamError::Refused(refusal.to_string()),
            CallError::Params(why) => UpstreamError::Refused(why),
            CallError::Codec(error) => UpstreamError::Unreachable(format!("its answer cannot be read: {error}")),
            error => UpstreamError::Unreachable(error.to_string()),
        }
    }
}

/// Returns true if the upstream may have changed its version: it does not answer, or its replies do not fit the wire.
fn is_strange(outcome: &Result<Reply, CallFailure>) -> bool {
    match outcome {
        Ok(reply) => {
            let is_unread = text::failure_of(&reply.response) == Some(Failure::Parse);
            is_unread || (reply.wire == Wire::Json && !jsonrpc::looks_like_json(&reply.raw))
        }
        Err(failure) => matches!(failure.error, CallError::Timeout | CallError::Codec(_)),
    }
}

fn read_identity(response: &Response) -> Identity {
    let said = item_of(response);
    let gateways = match said.get("Gateways") {
        Some(Item::Array(gateways)) => gateways.iter().filter_map(Item::as_str).map(Str::from).collect(),
        Some(Item::Str(gateway)) => vec![gateway.clone()],
        _ => Vec::new(),
    };
    let server = said.get("Server").and_then(Item::as_str).map(Str::from);
    Identity { server, gateways, asked: Some(Instant::now()) }
}
