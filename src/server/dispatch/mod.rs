//! Reads requests, runs their handlers and answers them, for every transport.

pub(crate) mod asked;
mod batch;
pub(crate) mod byte_budget;
pub(crate) mod deadline;
pub(crate) mod dispatcher;
mod in_turn;
mod limits;
mod memory;
mod notes;
mod one_shot;
mod pending_request;
pub(crate) mod policy;
pub(crate) mod rates;
mod reply_encoder;
mod reply_stream;
pub(crate) mod resources;
mod responder;
pub(crate) mod route;
mod run;
mod sync;
