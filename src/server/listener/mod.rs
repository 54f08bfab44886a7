//! The transports that a server listens on.

pub(crate) mod datagram;
pub(crate) mod fifo;
pub mod http;
