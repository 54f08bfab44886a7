//! Threads: which of them leads a listener, runs jobs or polls a task, and on which CPUs.

pub(crate) mod driver;
pub(crate) mod leadership;
pub(crate) mod pinning;
pub(crate) mod poll_state;
pub(crate) mod thread_pool;
