//! The dispatcher of a listener: what all its requests share, whatever carried them.
//!
//! `run` runs requests, `reply_encoder` writes their replies, `notes` counts and tells what went wrong.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::asked::Asked;
use super::byte_budget::{ByteBudget, Reservation};
use super::deadline::{Deadlines, Due};
use super::limits::ListenerLimits;
use super::memory;
use super::policy::ReplyPolicy;
use super::resources::Resources;
use crate::address::Address;
use crate::codec::RequestError;
use crate::codec::jsonrpc;
use crate::codec::text::{Carrier, TextStyle};
use crate::codec::xmlrpc;
use crate::command::permit::Permit;
use crate::command::rate::Rate;
use crate::command::service::Service;
use crate::command::statistics::TransportCounters;
use crate::command::{Command, Hook, Transport};
use crate::dialect::Dialect;
use crate::item::Str;
use crate::response::Failure;
use crate::server::options::{BatchLimits, ListenOptions};
use crate::server::scheduling::thread_pool::Pool;

/// How a transport carries requests and replies.
pub(crate) struct Carriage {
    pub(crate) transport: Transport,
    pub(crate) carrier: Carrier,
    /// The group of its statistics.
    pub(crate) group: &'static str,
    /// The largest reply in bytes.
    pub(crate) reply_limit: usize,
    /// True if a stopping server rejects requests that it has read.
    pub(crate) rejects_while_stopping: bool,
    /// The limit of requests of one peer.
    pub(crate) rate: Option<Arc<Rate>>,
}

pub(crate) struct Dispatcher {
    pub(super) resources: Arc<Resources>,
    pub(super) service: Arc<Service>,
    pub(crate) counters: TransportCounters,
    /// The limits on callers' requests.
    pub(crate) limits: ListenerLimits,
    /// Bytes that wait for its clients.
    pub(super) unsent: Arc<ByteBudget>,
    /// How many requests are in progress here.
    pub(crate) in_progress: AtomicUsize,
    /// The leader's current request. It is registered for its deadline when another replaces it or the leader is slow.
    pub(super) current: Mutex<Option<Arc<dyn Due>>>,
    pub(super) listener: Arc<str>,
    pub(super) transport: Transport,
    pub(super) style: TextStyle,
    pub(super) pretty: bool,
    pub(super) batch: BatchLimits,
    pub(super) permit: Permit,
    /// The largest reply that the transport carries, in bytes.
    pub(super) reply_limit: usize,
    /// True if a stopping server rejects requests that it has read.
    pub(super) rejects_while_stopping: bool,
    pub(super) policy: Arc<dyn ReplyPolicy>,
}

impl Dispatcher {
    pub(crate) fn new(
        resources: &Arc<Resources>,
        address: &Address,
        options: &ListenOptions,
        (Carriage { transport, carrier, group, reply_limit, rejects_while_stopping, rate }, policy): (
            Carriage,
            Arc<dyn ReplyPolicy>,
        ),
    ) -> Arc<Self> {
        let service = resources.service.clone();
        let counters = TransportCounters::new(&service.statistics, group);
        Arc::new(Dispatcher {
            resources: resources.clone(),
            limits: ListenerLimits::new(&service.statistics, group, address, (options.limits.clone(), rate)),
            unsent: resources.unsent.part(options.unsent_limit),
            in_progress: AtomicUsize::new(0),
            current: Mutex::default(),
            counters,
            listener: address.to_string().into(),
            transport,
            style: TextStyle { carrier, dialect: service.dialect, indent: options.indent },
            pretty: options.pretty_printing,
            batch: options.batch,
            permit: options.permit.clone(),
            reply_limit,
            rejects_while_stopping,
            policy,
            service,
        })
    }

    pub(crate) fn service(&self) -> &Service {
        &self.service
    }

    /// Returns true if a command may run here.
    pub(crate) fn permits(&self, command: &Command) -> bool {
        self.permit.allows(command)
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.service.dialect
    }

    pub(crate) fn deadlines(&self) -> &Arc<Deadlines> {
        &self.resources.deadlines
    }

    /// The threads for streamed replies.
    pub(crate) fn aside_pool(&self) -> &Arc<Pool> {
        &self.resources.aside
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.resources.is_stopping()
    }

    /// Runs a job on a thread that no caller waits for.
    pub(crate) fn aside(&self, job: Hook) {
        self.resources.aside.run_or_do(job);
    }

    /// How long a command may take.
    pub(crate) fn time_for(&self, command: &Command) -> Option<Duration> {
        command.conduct.limits.run.or(self.limits.limits.run)?.time()
    }

    /// How large a streamed reply may be; one that is gathered first may not be larger than what the transport carries.
    pub(crate) fn stream_limit(&self, command: &Command, is_gathered: bool) -> usize {
        let own = command.conduct.limits.reply.or(self.limits.limits.reply).unwrap_or(usize::MAX);
        if is_gathered { own.min(self.reply_limit) } else { own }
    }

    pub(super) fn limit_of_replies(&self, command: Option<&Arc<Command>>) -> usize {
        let own = command.and_then(|command| command.conduct.limits.reply);
        own.or(self.limits.limits.reply).unwrap_or(usize::MAX).min(self.reply_limit)
    }

    /// Room for bytes that have to wait for a client; nothing, where too many wait already, which is counted.
    pub(crate) fn reserve_unsent(&self, bytes: usize) -> Option<Reservation> {
        let reservation = self.unsent.reserve(bytes);
        if reservation.is_none() {
            self.counters.dropped.add(1);
            self.limits
                .unsent
                .note(1, || format!("{}: too many bytes wait for clients, {bytes} more are given up", self.listener));
        }
        reservation
    }

    /// Room for a reply that may have to wait for its client. One that is larger than the limit fits while no other waits.
    pub(crate) fn reserve_reply(&self, bytes: usize) -> Option<Reservation> {
        self.reserve_unsent(bytes.min(self.unsent.limit()))
    }

    /// Gives back the memory of bytes that have waited for clients.
    pub(crate) fn trim(&self) {
        self.unsent.trim();
    }

    /// Returns true if there is memory to read and run a request of `size` bytes; counts a shortage.
    pub(crate) fn has_memory_for(&self, size: usize) -> bool {
        let has_room = memory::has_room_for(size);
        if !has_room {
            self.limits
                .memory
                .note(1, || format!("{}: there is no memory for a request of {size} bytes", self.listener));
        }
        has_room
    }

    /// Reads a request in XML.
    pub(crate) fn read_xml(&self, body: &[u8], form: xmlrpc::Form) -> Asked {
        if !self.has_memory_for(body.len()) {
            return Asked::Xml(form, Err(RequestError { failure: Failure::Busy, method: Str::default() }));
        }
        Asked::Xml(form, xmlrpc::decode_request(body, form, self.dialect()))
    }

    /// Reads a request in JSON.
    pub(crate) fn read_json(&self, body: &[u8]) -> Asked {
        if !self.has_memory_for(body.len()) {
            return Asked::unreadable(true, Str::default(), Failure::Busy);
        }
        Asked::Json(jsonrpc::decode_request_of(body, self.dialect(), self.batch.calls))
    }

    /// Tracks the leader's new request. A thread that no longer leads runs the previous one.
    pub(super) fn track_current(&self, request: Arc<dyn Due>) {
        let other = self.current().replace(request);
        if let Some(other) = other {
            self.resources.deadlines.file(&other);
        }
    }

    pub(super) fn release_current(&self, request: &dyn Due) {
        let mut current = self.current();
        if current.as_ref().is_some_and(|other| std::ptr::addr_eq(Arc::as_ptr(other), request)) {
            *current = None;
        }
    }

    /// Registers the leader's current request with the deadline thread.
    pub(crate) fn hand_to_deadlines(&self) {
        let request = self.current().take();
        if let Some(request) = request {
            self.resources.deadlines.file(&request);
        }
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Option<Arc<dyn Due>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
