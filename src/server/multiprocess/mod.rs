//! Several processes that serve the same endpoints: shared in-flight requests, recovery after a crash.

pub(crate) mod fifo_stream;
pub(crate) mod idle_first;
pub(crate) mod in_flight;
pub(crate) mod recovery;
