//! Delivers replies to clients without a thread that waits for them.

pub(crate) mod deferred_writer;
