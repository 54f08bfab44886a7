//! The resources that the dispatchers of all listeners of a server share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::byte_budget::ByteBudget;
use super::deadline::Deadlines;
use crate::command::service::Service;
use crate::server::scheduling::thread_pool::Pool;

pub(crate) struct Resources {
    pub(crate) service: Arc<Service>,
    /// Bytes that wait for clients of any listener.
    pub(crate) unsent: Arc<ByteBudget>,
    /// Threads for commands that wait for others.
    pub(crate) waiting: Arc<Pool>,
    /// Threads for streamed replies and hooks, which no request waits for.
    pub(crate) aside: Arc<Pool>,
    pub(crate) deadlines: Arc<Deadlines>,
    pub(crate) stopping: AtomicBool,
}

impl Resources {
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}
