//! The HTTP listener: every wire that OpenSIPS ever had over HTTP, on one socket (`httpd`).
//!
//! Like the other listeners it has one leader, which accepts, reads, runs handlers and answers, and which is replaced
//! when a handler takes long. hyper reads and writes HTTP. Its connections are futures, and the leader polls the one
//! that the kernel reports as ready (`reactor`), so that a request stays on the thread that read it.

pub(crate) mod body;
mod body_reader;
mod browser;
mod connection;
mod exchange;
pub(crate) mod guard;
mod handlers;
mod health;
pub(crate) mod media;
mod pages;
pub(crate) mod policy;
mod probe;
mod reactor;
mod readiness;
pub(crate) mod reply;
mod slot;
mod stream;
pub(crate) mod strict;
#[cfg(feature = "tls")]
pub mod tls;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::address::Address;
use crate::codec::text::Carrier;
use crate::command::Transport;
use crate::server::context::{Context, Listener};
use crate::server::dispatch::dispatcher::{Carriage, Dispatcher};
use crate::server::dispatch::policy::ReplyPolicy;
use crate::server::endpoint::http_address;
use crate::server::error::ServerError;
use crate::server::options::ListenOptions;
pub use crate::server::options::credentials::{Credentials, NeverMatches, check_hosts};
pub use crate::server::options::http::{HttpOptions, JsonGet, Timeouts};
use crate::server::options::network::is_from_any;
pub use crate::server::options::network::{Network, NetworkError};
pub use crate::server::options::roots::Roots;
use crate::server::scheduling::leadership::{Epoch, Leadership, Led};
use crate::server::scheduling::pinning::Pinning;
use crate::transport::OpenError;
use crate::transport::eagerness::Habit;
use crate::transport::spare::{Spare, is_shortage};
use connection::{Connection, Owner, Progress, Stage};
use exchange::AppState;
use guard::Guard;
use policy::HttpPolicy;
use probe::Probe;
use reactor::{Reactor, Ready};
use stream::Stream;

/// The default limit of connections: more than a server of MI needs, and little enough memory.
const DEFAULT_CONNECTIONS: usize = 16_384;
/// The largest reply. A reply is written in pieces, so this only stops replies that are certainly a mistake.
const REPLY_LIMIT: usize = 1 << 30;
/// The interval at which a waiting leader checks whether the server is stopping.
const WAKE: Duration = Duration::from_millis(50);
/// The interval between two calls of `look_after`.
const ROUND: Duration = crate::server::scheduling::leadership::LOOK_AFTER;

pub(crate) struct HttpListener {
    context: Arc<Context>,
    address: Address,
    listener: TcpListener,
    /// The reserved descriptor, to reject a client when the process has no other left.
    reserve_fd: Arc<Spare>,
    reactor: Arc<Reactor>,
    site: Arc<AppState>,
    allow_from: Option<Vec<Network>>,
    connections: usize,
    timeouts: Timeouts,
    write_timeout: Duration,
    #[cfg(feature = "tls")]
    tls: Option<Arc<rustls::ServerConfig>>,
    is_closed: AtomicBool,
    leadership: Leadership,
    pinning: Pinning,
}

impl HttpListener {
    pub(crate) fn new(
        context: Arc<Context>,
        (listener, bound): (TcpListener, SocketAddr),
        host: String,
        (number, options): (usize, &ListenOptions),
        (policy, replies): (Arc<dyn HttpPolicy>, Arc<dyn ReplyPolicy>),
    ) -> Result<Self, ServerError> {
        let refused =
            |errno: nix::Error| OpenError::Bind { host: host.clone(), port: bound.port(), source: errno.into() };
        let reactor = Reactor::new(listener.as_fd()).map_err(refused)?;
        let http = &options.http;
        let dialect = context.resources.service.dialect;
        let roots = http.roots.clone().unwrap_or_else(|| Roots::of(dialect));
        let scheme = if http.is_secure() { "https" } else { "http" };
        let address = http_address(bound, http, dialect);
        let rates = context.rates(number, options)?;
        let carriage = Carriage {
            transport: Transport::Http,
            carrier: Carrier::Datagram,
            group: "mi_http",
            reply_limit: REPLY_LIMIT,
            rejects_while_stopping: true,
            rate: rates.requests,
        };
        let dispatcher = Dispatcher::new(&context.resources, &address, options, (carriage, replies));
        let reactor = Arc::new(reactor);
        let mut hosts = http.hosts.clone();
        hosts.push(host);
        let site = Arc::new(AppState {
            has_pages_of_words: policy.has_pages_of_words(),
            has_old_pages: roots.html.is_some() && policy.has_own_paths(),
            context: context.clone(),
            dispatcher,
            roots,
            form: http.xmlrpc.unwrap_or_else(|| policy.xmlrpc_form()),
            policy,
            json_get: http.json_get,
            shows_metrics: http.shows_metrics,
            guard: Guard::new(http.credentials.clone(), hosts, scheme),
            request_limit: options.request_limit,
            reactor: reactor.clone(),
        });
        Ok(HttpListener {
            context,
            address,
            listener,
            reserve_fd: Spare::new(),
            reactor,
            site,
            allow_from: options.allow_from.clone(),
            connections: if http.connections == 0 { DEFAULT_CONNECTIONS } else { http.connections },
            timeouts: http.timeouts,
            write_timeout: options.write_timeout,
            #[cfg(feature = "tls")]
            tls: http.tls.clone(),
            is_closed: AtomicBool::new(false),
            leadership: Leadership::default(),
            pinning: Pinning::new(&options.cpus),
        })
    }

    /// Accepts all pending connections.
    fn accept_all(&self) {
        loop {
            match self.listener.accept() {
                Ok((socket, peer)) => self.accept(socket, peer),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_shortage(&error) => return self.reject_next(),
                // No connection is pending, or its client has left already.
                Err(_) => return,
            }
        }
    }

    fn accept(&self, socket: TcpStream, peer: SocketAddr) {
        let is_allowed = is_from_any(self.allow_from.as_deref(), peer.ip());
        let early = if !is_allowed {
            Some(reply::NOT_FROM_THERE)
        } else if self.reactor.len() >= self.connections {
            Some(reply::TOO_MANY)
        } else {
            None
        };
        if let Some(answer) = early {
            return self.reject(&socket, answer);
        }
        let begun = match socket.as_fd().try_clone_to_owned() {
            Err(error) if is_shortage(&error) => return self.reject_for_shortage(&socket),
            twin => twin.and_then(|twin| self.begin((socket, twin), peer)),
        };
        if let Err(error) = begun {
            log::debug!("{}: a connection from {peer} was lost: {error}", self.address);
        }
    }

    fn begin(&self, (socket, fd): (TcpStream, OwnedFd), peer: SocketAddr) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        // Replies are written at once, so delaying segments gains nothing.
        socket.set_nodelay(true)?;
        let progress = Progress::new(self.reactor.round(), self.probe(&socket));
        let stream = self.stream(socket, &progress)?.with(self.site.policy.quirks());
        let future = exchange::future(self.site.clone(), stream, peer, progress.clone());
        let reactor: Arc<dyn Owner> = self.reactor.clone();
        let connection = Connection::new(self.reactor.number(), Arc::downgrade(&reactor), progress, future);
        // Signaled before the new connection is served, so that a request that waited for it is served first.
        self.site.policy.note_connection();
        self.reactor.add(&connection, fd.as_fd())?;
        Ok(())
    }

    #[cfg(feature = "tls")]
    fn probe(&self, socket: &TcpStream) -> Probe {
        Probe::new(socket, self.tls.is_some())
    }

    #[cfg(not(feature = "tls"))]
    #[allow(clippy::unused_self)] // it has TLS to look at in other builds
    fn probe(&self, socket: &TcpStream) -> Probe {
        Probe::new(socket, false)
    }

    #[cfg(feature = "tls")]
    fn stream(&self, socket: TcpStream, progress: &Arc<Progress>) -> io::Result<Stream> {
        Ok(match &self.tls {
            Some(config) => {
                let session = tls::TlsStream::new(socket, config.clone())?;
                Stream::with_tls(session, self.reactor.clone(), progress.clone())
            }
            None => Stream::new(socket, self.reactor.clone(), progress.clone()),
        })
    }

    #[cfg(not(feature = "tls"))]
    #[allow(clippy::unnecessary_wraps)] // TLS may refuse, in other builds
    fn stream(&self, socket: TcpStream, progress: &Arc<Progress>) -> io::Result<Stream> {
        Ok(Stream::new(socket, self.reactor.clone(), progress.clone()))
    }

    /// Answers a connection that is not accepted.
    fn reject(&self, socket: &TcpStream, answer: &[u8]) {
        self.site.dispatcher.counters.dropped.add(1);
        // A new socket has room for so few bytes.
        let _ = io::Write::write(&mut &*socket, answer);
    }

    fn reject_for_shortage(&self, socket: &TcpStream) {
        self.reject(socket, reply::TOO_MANY);
        self.site.dispatcher.note_shortage("a connection was turned away");
    }

    /// Accepts the next connection on the reserved descriptor, and rejects it.
    fn reject_next(&self) {
        let _lent = self.reserve_fd.lend();
        if let Ok((socket, _)) = self.listener.accept() {
            self.reject_for_shortage(&socket);
        }
    }

    /// Returns true if a connection exceeded the timeout of its stage.
    fn is_overdue(&self, connection: &Connection, round: u32) -> bool {
        let allowed = match connection.progress.stage() {
            // A stopping server answers no further requests here, except one for its health that has just arrived.
            Stage::Idle | Stage::Reply if self.context.is_stopping() => ROUND,
            Stage::Idle | Stage::Reply => self.timeouts.idle,
            Stage::Handshake | Stage::Head | Stage::Body => self.timeouts.read,
            Stage::Blocked => self.write_timeout,
            Stage::Running => return false,
        };
        ROUND * connection.progress.rounds(round) > allowed && !connection.has_taken_more(round)
    }

    /// Stops accepting connections and requests. Replies in progress are finished.
    fn close(&self) {
        if !self.is_closed.swap(true, Ordering::SeqCst) {
            self.reactor.close_listener(self.listener.as_fd());
            let connections = self.reactor.take_all();
            // All connections are marked before the first one ends: a client that sees one close may rely on the
            // others.
            for connection in &connections {
                connection.progress.set_orphaned();
            }
            connections.iter().filter(|connection| connection.claim()).for_each(Connection::run_out);
        }
        // No leader will run the connections that were queued before the mark.
        while let Some(ready) = self.reactor.waiting() {
            if let Ready::Connection(connection) = ready {
                connection.run_out();
            }
        }
    }
}

impl Led for HttpListener {
    fn address(&self) -> &Address {
        &self.address
    }

    fn leadership(&self) -> &Leadership {
        &self.leadership
    }

    fn note_slow_request(&self) {
        self.site.dispatcher.hand_to_deadlines();
    }

    fn trim(&self) {
        self.site.dispatcher.trim();
    }

    fn lead(self: Arc<Self>, epoch: Epoch) {
        let _pinned = self.pinning.enter();
        let (mut has_served, mut habit) = (false, Habit::default());
        while !self.context.is_closing() && self.leadership.leads(epoch) {
            let next =
                if has_served { self.reactor.next_after_one(&mut habit, WAKE) } else { self.reactor.next(WAKE) };
            has_served = next.is_some();
            let Some(ready) = next else { continue };
            let token = self.leadership.begin(epoch);
            match ready {
                Ready::Listener => self.accept_all(),
                // Queued behind the waiting ones: otherwise a connection with many requests would occupy the leader.
                Ready::Connection(connection) if connection.run() => self.reactor.put_back(connection),
                Ready::Connection(_) => {}
            }
            if !self.leadership.end(token) {
                // The current leader may not have seen the connection that was put back.
                self.reactor.ring();
                break;
            }
        }
        if self.context.is_closing() {
            self.close();
        }
    }

    fn look_after(&self) {
        let overdue = self.reactor.begin_round(|connection, round| self.is_overdue(connection, round));
        for connection in overdue {
            match connection.progress.stage() {
                Stage::Head | Stage::Body => connection.progress.set_overdue(),
                Stage::Blocked if !connection.progress.has_ended() => {
                    self.site.dispatcher.note_stalled(None);
                    connection.progress.set_ended();
                }
                _ => connection.progress.set_ended(),
            }
            if connection.claim() {
                self.reactor.enqueue(connection);
            }
        }
        if self.context.is_closing() {
            self.reactor.ring();
        }
    }
}

impl Listener for HttpListener {
    fn dispatcher(&self) -> &Arc<Dispatcher> {
        &self.site.dispatcher
    }
}
