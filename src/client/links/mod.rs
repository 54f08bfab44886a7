//! The wires over each transport: requests and replies in, bytes out and in.

mod encoding;
mod fifo;
mod http;
mod ids;
mod link;

pub(in crate::client) use http::HttpLink;
pub use link::LinkOptions;
pub(in crate::client) use link::{Link, Transport};
