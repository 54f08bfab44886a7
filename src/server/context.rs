//! The parts of a running server that its listeners share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::server::delivery::deferred_writer::DeferredWriter;
use crate::server::dispatch::dispatcher::Dispatcher;
use crate::server::dispatch::rates::ListenerRates;
use crate::server::dispatch::resources::Resources;
use crate::server::error::ServerError;
use crate::server::multiprocess::fifo_stream::FifoStream;
use crate::server::multiprocess::in_flight::{InFlightTable, WorkerSlots};
use crate::server::options::ListenOptions;
use crate::server::scheduling::leadership::{LeaderMonitor, Led};
use crate::server::scheduling::thread_pool::Pool;

/// The state that several processes share.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) slots: Arc<InFlightTable>,
    /// One for each endpoint that is a FIFO.
    pub(crate) streams: Arc<[Option<FifoStream>]>,
    /// One for each endpoint.
    pub(crate) rates: Arc<[ListenerRates]>,
}

/// The state that all listeners of a running server share.
pub(crate) struct Context {
    pub(crate) resources: Arc<Resources>,
    /// Where requests are kept for the case that this process dies.
    pub(crate) slots: Option<Arc<WorkerSlots>>,
    pub(crate) common: Option<Common>,
    /// Threads that lead listeners.
    pub(crate) pool: Arc<Pool>,
    pub(crate) monitor: Arc<LeaderMonitor>,
    pub(crate) deferred_writer: Arc<DeferredWriter>,
    /// No request is in progress any more, or none is waited for: HTTP closes, which has answered until now.
    pub(crate) closing: AtomicBool,
    pub(crate) dead: AtomicBool,
    /// Takes the server down with all its endpoints.
    pub(crate) take_down: Box<dyn Fn() + Send + Sync>,
}

impl Context {
    /// Goes down as a process that crashes does: at once, and its files stay.
    pub(crate) fn die(&self) {
        self.dead.store(true, Ordering::SeqCst);
        self.resources.stopping.store(true, Ordering::SeqCst);
        (self.take_down)();
    }

    /// The rate limits of an endpoint: those of all processes, if there are several.
    pub(crate) fn rates(&self, number: usize, options: &ListenOptions) -> Result<ListenerRates, ServerError> {
        let common = self.common.as_ref().and_then(|common| common.rates.get(number));
        common.cloned().map_or_else(|| ListenerRates::new(options).map_err(ServerError::Memory), Ok)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.resources.is_stopping()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }
}

/// An open endpoint with what reads, runs and answers its requests.
pub(crate) trait Listener: Led {
    /// The dispatcher, which reads, runs and answers its requests.
    fn dispatcher(&self) -> &Arc<Dispatcher>;
    /// Returns true if only one of several processes may read it at a time.
    fn has_one_reader(&self) -> bool {
        false
    }
}
