//! A server: listeners that turn bytes into calls of a [`Service`]'s commands and answers into bytes.
//!
//! A request stays on the thread that read it, from the first byte to the reply. Each listener has one
//! leader: the thread that waits for requests and runs their handlers. When a handler takes longer than
//! a millisecond, another thread of the pool takes the lead over (`post`), so a slow command holds up
//! nobody. What would make a thread wait for a client, a reply FIFO that has no reader yet or is full,
//! goes to the courier instead.

mod console;
mod delivery;
mod dispatch;
mod emulation;
mod events;
mod fork;
pub(crate) mod listener;
mod multiprocess;
mod panics;
pub(crate) mod scheduling;

pub use listener::http;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::clock;
use crate::codec::text::{Carrier, Indent};
use crate::command::limits::{Limits, Run};
use crate::command::permit::Permit;
use crate::command::service::Service;
use crate::transport::{Access, OpenError};
pub use dispatch::batch::TogetherLimits;
pub use fork::Still;
use http::HttpListener;
use listener::datagram::DatagramListener;
use listener::endpoint::Endpoint;
use listener::fifo::FifoListener;
pub use scheduling::thread_pool::ThreadScope;

/// How a listener behaves.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// Permissions of a FIFO or UNIX socket.
    pub access: Access,
    /// How long a request waits for the reader of its reply FIFO.
    pub reply_wait: Duration,
    /// How long a client may take to read its reply before it is given up.
    pub write_timeout: Duration,
    /// How many handlers may run at once before new requests wait (`children_count`).
    pub workers: usize,
    /// The largest request in bytes.
    pub request_limit: usize,
    /// Whether JSON replies are spread over lines (`pretty_printing`).
    pub pretty_printing: bool,
    /// How text replies on a FIFO show levels (`reply_indent`).
    pub indent: Indent,
    /// The CPUs that its workers run on; empty: anywhere (Linux only).
    pub cpus: Vec<usize>,
    /// Whether it hangs, stalls, swallows and dies where the imitated version does.
    pub hazards: bool,
    /// Which commands it runs.
    pub permit: Permit,
    /// How much it lets callers ask of it.
    pub limits: Limits,
    /// How many bytes may wait for clients: replies that are not read, and requests whose reply FIFO has no reader.
    pub unsent_limit: usize,
    /// How much it takes of calls that come together.
    pub together: TogetherLimits,
    /// The networks that it serves (UDP and HTTP); `None`: all.
    pub allow_from: Option<Vec<http::Network>>,
    /// What only HTTP has.
    pub http: http::HttpOptions,
}

/// How long a server that is dropped waits for what it is doing.
const DRAIN: Duration = Duration::from_secs(5);
/// After so many looks it looks whether somebody is in a hurry.
const HURRY_LOOKS: u32 = 25;
/// As often as that.
const SLICE: Duration = Duration::from_millis(50);
/// How long a server that dies waits for what it is doing.
const DEATH: Duration = Duration::from_secs(1);
/// How often a server that stops looks whether all is done.
const DRAIN_LOOK: Duration = Duration::from_millis(2);
/// How long the last answers may take to be delivered, when the time to drain is over.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long a command may take, unless its listener or itself says otherwise.
const TIME_TO_RUN: Duration = Duration::from_secs(60);
/// How many commands that say they wait may run at once.
const WAITING_THREADS: usize = 256;
/// How many threads go on with replies that are made while they are sent.
const ASIDE_THREADS: usize = 32;
/// More would not fit a FIFO's parameter line of any client; memory for it is bounded by this.
const DEFAULT_REQUEST_LIMIT: usize = 4 << 20;
/// As many requests as there may be HTTP connections.
const DEFAULT_IN_PROGRESS_LIMIT: usize = 16_384;
/// How many requests may wait for a thread or their turn: a few rounds of all threads that there are for them.
const DEFAULT_QUEUE_LIMIT: usize = 1024;
/// How many bytes may wait for the clients of a listener, unless it says otherwise.
const DEFAULT_UNSENT_LIMIT: usize = 64 << 20;
/// How many bytes may wait for clients of all listeners together.
const UNSENT_IN_ALL: usize = 256 << 20;

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions {
            access: Access::default(),
            reply_wait: Duration::from_millis(300),
            write_timeout: Duration::from_secs(5),
            workers: 32,
            request_limit: DEFAULT_REQUEST_LIMIT,
            pretty_printing: false,
            indent: Indent::default(),
            cpus: Vec::new(),
            hazards: false,
            permit: Permit::default(),
            limits: Limits {
                run: Some(Run::For(TIME_TO_RUN)),
                in_progress: Some(DEFAULT_IN_PROGRESS_LIMIT),
                queue: Some(DEFAULT_QUEUE_LIMIT),
                ..Limits::default()
            },
            unsent_limit: DEFAULT_UNSENT_LIMIT,
            together: TogetherLimits::default(),
            allow_from: None,
            http: http::HttpOptions::default(),
        }
    }
}

/// A server cannot do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An endpoint cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The address says too little, or too much.
    #[error("cannot listen on {0}: expected http://host:port")]
    NotServed(Address),
    /// It has been started.
    #[error("the server is running already")]
    Running,
    /// It is served by several processes, which all have the same endpoints.
    #[error("run(processes=) opens endpoints before it begins to serve: expected listen() before it")]
    Divided,
    /// The system gives no thread.
    #[error("cannot start a thread: {0} (see `ulimit -u`, and TasksMax= of the service)")]
    Threads(std::io::Error),
    /// The system has no memory for several processes to share.
    #[error("no memory to share with other processes: {0}")]
    Memory(std::io::Error),
}

/// A server and its endpoints.
pub struct Server {
    /// What it offers.
    pub service: Arc<Service>,
    scope: ThreadScope,
    state: Arc<Mutex<State>>,
    delivery: Arc<events::Delivery>,
}

#[derive(Default)]
pub(crate) struct State {
    endpoints: Vec<(Address, ListenOptions)>,
    /// Those that are open and served by other processes.
    bound: Vec<Endpoint>,
    /// What those processes have in hand.
    common: Option<Common>,
    /// Answers to whoever a dead process had in hand.
    answers: Vec<multiprocess::recovery::Answer>,
    /// Whether the server is one of several processes, or looks after them.
    is_divided: bool,
    running: Option<Running>,
}

struct Running {
    context: Arc<Context>,
    listeners: Vec<Arc<dyn Listener>>,
    /// FIFOs that another process reads.
    unread: Vec<Arc<dyn Listener>>,
    /// What a child of a fork has of the endpoints.
    fds: Vec<std::os::fd::RawFd>,
}

/// What several processes have in common.
#[derive(Clone)]
pub(crate) struct Common {
    hands: Arc<multiprocess::in_flight::Hands>,
    /// One for each endpoint that is a FIFO.
    streams: Arc<[Option<multiprocess::fifo_stream::FifoStream>]>,
}

/// What all listeners of a running server share.
pub(crate) struct Context {
    service: Arc<Service>,
    /// Where requests are kept for the case that this process dies.
    hands: Option<Arc<multiprocess::in_flight::OwnHands>>,
    common: Option<Common>,
    pool: Arc<scheduling::thread_pool::Pool>,
    watch: Arc<scheduling::leadership::Watch>,
    courier: Arc<delivery::deferred_writer::Courier>,
    /// Bytes that wait for clients of any listener.
    unsent: Arc<dispatch::byte_budget::ByteBudget>,
    /// Threads for commands that wait for others.
    waiting: Arc<scheduling::thread_pool::Pool>,
    /// Threads for what goes on beside requests.
    aside: Arc<scheduling::thread_pool::Pool>,
    deadlines: Arc<dispatch::deadline::Deadlines>,
    stopping: AtomicBool,
    /// Nothing is in progress any more, or not waited for: HTTP, which has said until now that it stops, closes.
    closing: AtomicBool,
    dead: AtomicBool,
    /// The server, to take it down with all its endpoints.
    server: Weak<Mutex<State>>,
}

impl Context {
    /// Goes down as a process that crashes does: at once, and its files stay.
    fn die(&self) {
        self.dead.store(true, Ordering::SeqCst);
        self.stopping.store(true, Ordering::SeqCst);
        let Some(server) = self.server.upgrade() else { return };
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
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }
}

/// An open endpoint.
pub(crate) trait Listener: Send + Sync {
    /// Where it really listens.
    fn address(&self) -> &Address;
    /// Waits for requests and serves them, until another thread leads or the server stops.
    fn lead(self: Arc<Self>, term: scheduling::leadership::Term);
    /// What reads, runs and answers its requests.
    fn desk(&self) -> &Arc<dispatch::dispatcher::Desk>;
    /// Where the leader shows what it does.
    fn post(&self) -> &scheduling::leadership::Post;
    /// Whether one process at a time reads it, when there are several.
    fn has_one_reader(&self) -> bool {
        false
    }
    /// Called every now and then, and when the server stops: wakes a leader that has something to look at.
    fn look_after(&self) {}
}

impl Server {
    /// A server that is not started yet. `scope` is run around the life of each of its threads.
    pub fn new(service: Arc<Service>, scope: ThreadScope) -> Self {
        let delivery = events::Delivery::new(service.dialect);
        service.events.carried_by(delivery.clone());
        Server { service, scope, state: Arc::default(), delivery }
    }

    /// Whether subscribers over TCP have to confirm each event (`reliable_mode` of `event_stream`).
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
            let endpoint = Endpoint::open(&address, &options, running.context.service.dialect.is_emulated())?;
            let fd = fork::descriptor(&endpoint);
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

    /// Opens all endpoints, for processes that are forked afterwards, and makes what these have in common. No thread
    /// is begun.
    ///
    /// # Safety
    /// No other thread uses the server, its service, or a counter of it meanwhile.
    pub unsafe fn bind(&self, workers: usize) -> Result<(), ServerError> {
        let mut state = self.lock();
        state.bound = self.open_all(&state)?;
        state.is_divided = true;
        // SAFETY: no other thread uses it, as the caller says.
        unsafe { self.service.share() }.map_err(ServerError::Memory)?;
        let stream = |(endpoint, (_, options)): (&Endpoint, &(Address, ListenOptions))| {
            let room = options.request_limit + listener::fifo::BUFFER;
            matches!(endpoint, Endpoint::Fifo { .. })
                .then(|| multiprocess::fifo_stream::FifoStream::new(room))
                .transpose()
        };
        let streams: Result<Vec<_>, _> = state.bound.iter().zip(&state.endpoints).map(stream).collect();
        state.common = Some(Common {
            hands: multiprocess::in_flight::Hands::new(workers).map_err(ServerError::Memory)?,
            streams: streams.map_err(ServerError::Memory)?.into(),
        });
        Ok(())
    }

    /// A worker has ended: whoever it had in hand will be answered by [`Server::answer_orphans`], and what it had
    /// read from FIFOs waits for the next reader.
    pub fn bury(&self, rank: u16) {
        let mut state = self.lock();
        self.service.statistics.clear_gauges(rank);
        let Some(common) = state.common.clone() else { return };
        let mut answers = Vec::new();
        common.hands.bury(
            rank.into(),
            |endpoint, place| {
                if let Some(Some(stream)) = common.streams.get(endpoint) {
                    stream.catch_up(place);
                }
            },
            |endpoint, orphan| {
                let options = state.endpoints.get(endpoint).map(|(_, options)| options);
                answers.extend(options.and_then(|options| {
                    multiprocess::recovery::Answer::to(&orphan, endpoint, options, self.service.dialect)
                }));
            },
        );
        state.answers.extend(answers);
    }

    /// Answers for workers that have ended, as far as that can be done without waiting. Says how many answers wait.
    pub fn answer_orphans(&self) -> usize {
        let mut state = self.lock();
        let mut answers = std::mem::take(&mut state.answers);
        answers.retain(|answer| answer.must_wait(&state.bound));
        state.answers = answers;
        state.answers.len()
    }

    /// In a forked process: begins to serve what was bound before, but for FIFOs, which one process reads.
    pub fn serve_bound(&self, rank: u16) -> Result<(), ServerError> {
        let mut state = self.lock();
        if state.running.is_some() {
            return Err(ServerError::Running);
        }
        self.service.statistics.set_rank(rank);
        let mut bound = std::mem::take(&mut state.bound);
        bound.iter_mut().for_each(Endpoint::leave);
        let shared = state.common.clone().map(|common| (rank, common));
        state.running = Some(self.serve(&state.endpoints, bound, shared)?);
        Ok(())
    }

    /// In a forked process: reads the FIFOs from now on.
    pub fn read_fifos(&self) {
        if let Some(running) = &mut self.lock().running {
            for listener in std::mem::take(&mut running.unread) {
                if let Err(error) = running.begin(listener) {
                    log::error!("a FIFO is not read: {error}");
                }
            }
        }
    }

    /// Has endpoints looked after at once: a FIFO may be another one now.
    pub fn look_after(&self) {
        if let Some(running) = &self.lock().running {
            running.listeners.iter().for_each(|listener| listener.look_after());
        }
    }

    /// Makes FIFOs again that somebody removed or replaced, and says which, and which could not be made.
    pub fn restore(&self) -> Vec<String> {
        let mut state = self.lock();
        let restored = state.bound.iter_mut().filter_map(|endpoint| match endpoint {
            Endpoint::Fifo { fifo, address, .. } => match fifo.restore() {
                Ok(false) => None,
                Ok(true) => Some(format!("{address} was removed or replaced; it is back")),
                Err(error) => Some(error.to_string()),
            },
            _ => None,
        });
        restored.collect()
    }

    /// Closes what was bound, and removes its files. The server is one process again.
    pub fn unbind(&self) {
        let mut state = self.lock();
        state.bound.clear();
        state.answers.clear();
        state.common = None;
        state.is_divided = false;
        self.service.processes.clear();
        self.service.events.close();
    }

    fn open_all(&self, state: &State) -> Result<Vec<Endpoint>, ServerError> {
        if state.running.is_some() || state.is_divided {
            return Err(ServerError::Running);
        }
        let is_emulated = self.service.dialect.is_emulated();
        state.endpoints.iter().map(|(address, options)| Endpoint::open(address, options, is_emulated)).collect()
    }

    fn serve(
        &self,
        endpoints: &[(Address, ListenOptions)],
        opened: Vec<Endpoint>,
        shared: Option<(u16, Common)>,
    ) -> Result<Running, ServerError> {
        let is_shared = shared.is_some();
        let context = self.context(endpoints, shared)?;
        let fds = opened.iter().map(fork::descriptor).collect();
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

    /// Whether it serves, here or in processes of its own.
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
        let watch = scheduling::leadership::Watch::start().map_err(ServerError::Threads)?;
        let workers = endpoints.iter().map(|(_, options)| options.workers.max(1)).sum();
        let pool = scheduling::thread_pool::Pool::new(workers, self.scope.clone());
        let aside = scheduling::thread_pool::Pool::new(ASIDE_THREADS, self.scope.clone());
        let courier = delivery::deferred_writer::Courier::start(aside.clone()).map_err(|error| {
            watch.stop();
            ServerError::Threads(error)
        })?;
        Ok(Arc::new(Context {
            service: self.service.clone(),
            hands: shared.as_ref().map(|(rank, common)| common.hands.of(usize::from(*rank))),
            common: shared.map(|(_, common)| common),
            watch,
            courier,
            unsent: dispatch::byte_budget::ByteBudget::new(UNSENT_IN_ALL),
            waiting: scheduling::thread_pool::Pool::new(WAITING_THREADS, self.scope.clone()),
            aside,
            deadlines: Arc::default(),
            pool,
            stopping: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            server: Arc::downgrade(&self.state),
        }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(DRAIN, &|| false);
    }
}

impl Running {
    fn begin(&mut self, listener: Arc<dyn Listener>) -> Result<(), ServerError> {
        let leader = listener.clone();
        let lead = Box::new(move || scheduling::leadership::lead(&leader, scheduling::leadership::Term::FIRST));
        self.context.pool.begin(lead).map_err(ServerError::Threads)?;
        self.context.watch.add(&listener, &self.context.pool);
        self.listeners.push(listener);
        Ok(())
    }

    /// Whether requests are in progress anywhere.
    fn is_busy(&self) -> bool {
        self.listeners.iter().any(|listener| listener.desk().in_progress.load(Ordering::Relaxed) > 0)
    }

    fn end(self, deadline: Instant, hurry: &dyn Fn() -> bool) {
        self.context.stopping.store(true, Ordering::SeqCst);
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
        let Context { pool, waiting, deadlines, .. } = &*self.context;
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
        // What was answered in the end is delivered, and whoever was at work for it told to stop.
        let deadline = Instant::now() + LAST_WORDS;
        self.context.courier.stop(deadline);
        let _ = self.context.aside.drain(deadline);
        self.context.watch.stop();
    }
}

fn listen(
    context: &Arc<Context>,
    endpoint: Endpoint,
    (number, options): (usize, &ListenOptions),
) -> Result<Arc<dyn Listener>, ServerError> {
    let context = context.clone();
    let policies = emulation::Policies::of(context.service.dialect, options);
    Ok(match endpoint {
        Endpoint::Fifo { fifo, replies, address } => {
            let policies = (policies.fifo(), policies.replies(Some(Carrier::Fifo)));
            Arc::new(FifoListener::new(context, (fifo, replies), address, (number, options), policies)?)
        }
        Endpoint::Datagram { socket, address } => {
            let policies = (policies.datagrams(), policies.replies(Some(Carrier::Datagram)));
            Arc::new(DatagramListener::new(context, socket, address, (number, options), policies)?)
        }
        Endpoint::Http { door, bound, host } => {
            let policies = (policies.http(options), policies.replies(None));
            Arc::new(HttpListener::new(context, (door, bound), host, options, policies)?)
        }
    })
}
