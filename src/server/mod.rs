//! A server: listeners that turn bytes into calls of a [`Service`]'s commands and answers into bytes.
//!
//! A request stays on the thread that read it, from the first byte to the reply. Each listener has one
//! leader: the thread that waits for requests and runs their handlers. When a handler takes longer than
//! a millisecond, another thread of the pool takes the lead over (`scheduling/leadership`), so a slow command holds up
//! no other request. A write that would block on a client, a reply FIFO that has no reader yet or is full,
//! goes to the deferred writer instead.

mod console;
mod context;
mod delivery;
mod dispatch;
mod emulation;
mod endpoint;
mod error;
mod events;
mod fork;
mod lifecycle;
pub(crate) mod listener;
#[allow(unsafe_code)] // memory that processes share
mod multiprocess;
mod options;
mod panics;
mod processes;
pub(crate) mod scheduling;

pub use error::ServerError;
pub use fork::Still;
pub use lifecycle::Server;
pub use listener::http;
pub use options::{BatchLimits, ListenOptions};
pub use scheduling::thread_pool::ThreadScope;
