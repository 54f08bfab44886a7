//! A server: opens its endpoints, serves them, and ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::clock;
use crate::codec::text::Carrier;
use crate::command::service::Service;
use crate::server::context::{Common, Context, Listener};
use crate::server::delivery::deferred_writer::DeferredWriter;
use crate::server::dispatch::byte_budget::ByteBudget;
use crate::server::dispatch::resources::Resources;
use crate::server::emulation::Policies;
use crate::server::endpoint::Endpoint;
use crate::server::error::ServerError;
use crate::server::events;
use crate::server::listener::datagram::DatagramListener;
use crate::server::listener::fifo::FifoListener;
use crate::server::listener::http::HttpListener;
use crate::server::multiprocess::recovery::Answer;
use crate::server::options::ListenOptions;
use crate::server::scheduling::leadership::{self, Led};
use crate::server::scheduling::thread_pool::{Pool, ThreadScope};

/// How long a server that is dropped waits for what it is doing.
const DRAIN: Duration = Duration::from_secs(5);
/// The drain checks for a hurried stop after this many of its own checks.
const HURRY_LOOKS: u32 = 25;
/// As often as that.
const SLICE: Duration = Duration::from_millis(50);
/// How long a server that dies waits for what it is doing.
const DEATH: Duration = Duration::from_secs(1);
/// How often a server that stops looks whether all is done.
const DRAIN_LOOK: Duration = Duration::from_millis(2);
/// How long the last answers may take to be delivered, when the time to drain is over.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How many commands that say they wait may run at once.
const WAITING_THREADS: usize = 256;
/// How many threads go on with replies that are made while they are sent.
const ASIDE_THREADS: usize = 32;
/// How many bytes may wait for clients of all listeners together.
const UNSENT_IN_ALL: usize = 256 << 20;

/// A server and its endpoints.
pub struct Server {
    /// The commands that it offers.
    pub service: Arc<Service>,
    scope: ThreadScope,
    state: Arc<Mutex<State>>,
    delivery: Arc<events::Delivery>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) endpoints: Vec<(Address, ListenOptions)>,
    /// Those that are open and served by other processes.
    pub(super) bound: Vec<Endpoint>,
    /// The in-flight requests of those processes.
    pub(super) common: Option<Common>,
    /// Answers to the abandoned requests of dead processes.
    pub(super) answers: Vec<Answer>,
    /// True if the server is one of several processes, or supervises them.
    pub(super) is_divided: bool,
    pub(super) running: Option<Running>,
}

pub(super) struct Running {
    context: Arc<Context>,
    pub(super) listeners: Vec<Arc<dyn Listener>>,
    /// FIFOs that another process reads.
    pub(super) unread: Vec<Arc<dyn Listener>>,
    /// The descriptors of the endpoints that a child of a fork inherits.
    pub(super) fds: Vec<std::os::fd::RawFd>,
}

impl Server {
    /// A server that is not started yet. `scope` is run around the life of each of its threads.
    pub fn new(service: Arc<Service>, scope: ThreadScope) -> Self {
        let delivery = events::Delivery::new(service.dialect);
        service.events.carried_by(delivery.clone());
        Server { service, scope, state: Arc::default(), delivery }
    }

    /// Makes subscribers over TCP confirm each event, or not (`reliable_mode` of `event_stream`).
    pub fn set_reliable_events(&self, reliable: bool) {
        self.delivery.set_reliable(reliable);
    }

    /// Adds an endpoint; a running server opens it at once.
    pub fn listen(&self, address: Address, options: ListenOptions) -> Result<(), ServerError> {
        let mut state = self.lock();
        if state.is_divided {
            return Err(ServerError::Divided);
        }
        let number = state.endpoints.len();
        if let Some(running) = &mut state.running {
            let endpoint =
                Endpoint::open(&address, &options, running.context.resources.service.dialect.is_emulated())?;
            let fd = endpoint.descriptor();
            let listener = listen(&running.context, endpoint, (number, &options))?;
            running.context.pool.grow(options.workers);
            running.begin(listener)?;
            // Not before it is sure to stay: the number of one that is closed is soon that of another file.
            running.fds.push(fd);
        }
        state.endpoints.push((address, options));
        Ok(())
    }

    /// Opens all endpoints and begins to serve. When one cannot be opened, none stays open.
    pub fn start(&self) -> Result<(), ServerError> {
        let mut state = self.lock();
        let opened = self.open_all(&state)?;
        state.running = Some(self.serve(&state.endpoints, opened, None)?);
        Ok(())
    }

    /// Has endpoints looked after at once: a FIFO may be another one now.
    pub fn look_after(&self) {
        if let Some(running) = &self.lock().running {
            running.listeners.iter().for_each(|listener| listener.look_after());
        }
    }

    pub(super) fn open_all(&self, state: &State) -> Result<Vec<Endpoint>, ServerError> {
        if state.running.is_some() || state.is_divided {
            return Err(ServerError::Running);
        }
        let is_emulated = self.service.dialect.is_emulated();
        state.endpoints.iter().map(|(address, options)| Endpoint::open(address, options, is_emulated)).collect()
    }

    pub(super) fn serve(
        &self,
        endpoints: &[(Address, ListenOptions)],
        opened: Vec<Endpoint>,
        shared: Option<(u16, Common)>,
    ) -> Result<Running, ServerError> {
        let is_shared = shared.is_some();
        let context = self.context(endpoints, shared)?;
        let fds = opened.iter().map(Endpoint::descriptor).collect();
        let listeners: Result<Vec<_>, _> = opened
            .into_iter()
            .zip(endpoints)
            .enumerate()
            .map(|(number, (endpoint, (_, options)))| listen(&context, endpoint, (number, options)))
            .collect();
        let mut running = Running { context, listeners: Vec::new(), unread: Vec::new(), fds };
        let begun = listeners.and_then(|listeners| {
            let waits = |listener: &Arc<dyn Listener>| is_shared && listener.has_one_reader();
            let (unread, served): (Vec<_>, Vec<_>) = listeners.into_iter().partition(waits);
            running.unread = unread;
            served.into_iter().try_for_each(|listener| running.begin(listener))
        });
        match begun {
            Ok(()) => Ok(running),
            Err(error) => {
                // Long enough for leaders that have begun to close their endpoints.
                running.end(Instant::now() + LAST_WORDS, &|| false);
                Err(error)
            }
        }
    }

    /// Ends serving: no new requests, running ones finish within the drain timeout, endpoints are removed. Events on
    /// their way are delivered or given up, and all subscriptions end.
    ///
    /// Running ones that take longer are answered for, and at once when `hurry` says so, which is asked now and then.
    pub fn stop(&self, drain_timeout: Duration, hurry: &dyn Fn() -> bool) {
        let running = self.lock().running.take();
        if let Some(running) = running {
            running.end(clock::deadline(drain_timeout), hurry);
        }
        self.delivery.stop();
        self.service.events.end_all();
    }

    /// Returns true if it serves, here or in processes of its own.
    pub fn is_running(&self) -> bool {
        let state = self.lock();
        state.running.is_some() || state.is_divided
    }

    /// Where it listens; nowhere while it is stopped.
    pub fn addresses(&self) -> Vec<Address> {
        let state = self.lock();
        if state.running.is_none() {
            let bound = state.bound.iter().zip(&state.endpoints);
            return bound.map(|(endpoint, (_, options))| endpoint.address(options, self.service.dialect)).collect();
        }
        let listeners = state.running.iter().flat_map(|running| running.listeners.iter().chain(&running.unread));
        listeners.map(|listener| listener.address().clone()).collect()
    }

    fn context(
        &self,
        endpoints: &[(Address, ListenOptions)],
        shared: Option<(u16, Common)>,
    ) -> Result<Arc<Context>, ServerError> {
        let monitor = leadership::LeaderMonitor::start().map_err(ServerError::Threads)?;
        let workers = endpoints.iter().map(|(_, options)| options.workers.max(1)).sum();
        let pool = Pool::new(workers, self.scope.clone());
        let aside = Pool::new(ASIDE_THREADS, self.scope.clone());
        let deferred_writer = DeferredWriter::start(aside.clone()).map_err(|error| {
            monitor.stop();
            ServerError::Threads(error)
        })?;
        let resources = Resources {
            service: self.service.clone(),
            unsent: ByteBudget::new(UNSENT_IN_ALL),
            waiting: Pool::new(WAITING_THREADS, self.scope.clone()),
            aside,
            deadlines: Arc::default(),
            stopping: AtomicBool::new(false),
        };
        Ok(Arc::new(Context {
            resources: Arc::new(resources),
            slots: shared.as_ref().map(|(rank, common)| common.slots.of(usize::from(*rank))),
            common: shared.map(|(_, common)| common),
            monitor,
            deferred_writer,
            pool,
            closing: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            take_down: take_down(&self.state),
        }))
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the server on a thread of its own, which no listener has to wait for.
fn take_down(server: &Arc<Mutex<State>>) -> Box<dyn Fn() + Send + Sync> {
    let server = Arc::downgrade(server);
    Box::new(move || {
        let Some(server) = server.upgrade() else { return };
        let end = move || {
            // Locked to the end: who asks whether it runs is told when its endpoints are gone.
            let mut state = server.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(running) = state.running.take() {
                running.end(Instant::now() + DEATH, &|| false);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("sipmi-death".into()).spawn(end) {
            log::error!("cannot start a thread to take the endpoints down: {error}");
        }
    })
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(DRAIN, &|| false);
    }
}

impl Running {
    pub(super) fn begin(&mut self, listener: Arc<dyn Listener>) -> Result<(), ServerError> {
        let leader: Arc<dyn Led> = listener.clone();
        let lead = Box::new(move || leadership::lead(&leader, leadership::Epoch::FIRST));
        self.context.pool.begin(lead).map_err(ServerError::Threads)?;
        let watched: Arc<dyn Led> = listener.clone();
        self.context.monitor.add(&watched, &self.context.pool);
        self.listeners.push(listener);
        Ok(())
    }

    /// Returns true if any request is in progress.
    fn is_busy(&self) -> bool {
        self.listeners.iter().any(|listener| listener.dispatcher().in_progress.load(Ordering::Relaxed) > 0)
    }

    fn end(self, deadline: Instant, hurry: &dyn Fn() -> bool) {
        self.context.resources.stopping.store(true, Ordering::SeqCst);
        for listener in &self.listeners {
            listener.look_after();
        }
        let mut looks = 0;
        while self.is_busy() && Instant::now() < deadline {
            // To ask takes the interpreter's lock.
            looks += 1;
            if looks % HURRY_LOOKS == 0 && hurry() {
                break;
            }
            std::thread::sleep(DRAIN_LOOK);
        }
        self.context.closing.store(true, Ordering::SeqCst);
        for listener in &self.listeners {
            listener.look_after();
        }
        let pool = &self.context.pool;
        let Resources { waiting, deadlines, .. } = &*self.context.resources;
        let drains: [&dyn Fn(Instant) -> bool; 3] =
            [&|until| pool.drain(until), &|until| waiting.drain(until), &|until| deadlines.drain(until) == 0];
        for drain in drains {
            while !drain(deadline.min(Instant::now() + SLICE)) && Instant::now() < deadline && !hurry() {}
        }
        let left = deadlines.drain(Instant::now());
        if left > 0 {
            log::info!("{left} commands still run when the server stops; they are answered for");
        }
        deadlines.stop();
        // Late answers are delivered, and the handlers of abandoned requests are told to stop.
        let deadline = Instant::now() + LAST_WORDS;
        self.context.deferred_writer.stop(deadline);
        let _ = self.context.resources.aside.drain(deadline);
        self.context.monitor.stop();
    }
}

fn listen(
    context: &Arc<Context>,
    endpoint: Endpoint,
    (number, options): (usize, &ListenOptions),
) -> Result<Arc<dyn Listener>, ServerError> {
    let context = context.clone();
    let policies = Policies::of(context.resources.service.dialect, options);
    Ok(match endpoint {
        Endpoint::Fifo { fifo, replies, address } => {
            let policies = (policies.fifo(), policies.replies(Some(Carrier::Fifo)));
            Arc::new(FifoListener::new(context, (fifo, replies), address, (number, options), policies)?)
        }
        Endpoint::Datagram { socket, address } => {
            let policies = (policies.datagrams(), policies.replies(Some(Carrier::Datagram)));
            Arc::new(DatagramListener::new(context, socket, address, (number, options), policies)?)
        }
        Endpoint::Http { listener, bound, host } => {
            let policies = (policies.http(options), policies.replies(None));
            Arc::new(HttpListener::new(context, (listener, bound), host, (number, options), policies)?)
        }
    })
}
