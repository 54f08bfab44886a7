//! Reads requests, runs their handlers and answers them, for every transport.

pub(crate) mod batch;
pub(crate) mod byte_budget;
pub(crate) mod deadline;
pub(crate) mod dispatcher;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod one_shot;
pub(crate) mod pending_request;
pub(crate) mod policy;
pub(crate) mod reply_stream;
pub(crate) mod resources;
mod sync;
