//! The transports of requests: datagrams, FIFOs and HTTP. They carry bytes and know no wire.

pub(in crate::client) mod datagram;
pub(in crate::client) mod fifo;
pub mod http;
pub(in crate::client) mod reply_limit;
mod resolve;
