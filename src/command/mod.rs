//! Commands: `registry` finds a command, `recipe` fits parameters to it, `service` runs it. `event` holds the messages
//! that a server sends without a request.

pub mod builtin;
mod definition;
pub mod event;
pub mod forward;
pub mod introspect;
mod kind;
pub mod limits;
mod origin;
pub mod permit;
pub mod processes;
pub mod rate;
pub mod recipe;
pub mod registry;
pub mod serial;
pub mod service;
pub mod statistics;
pub mod stream;
mod system_methods;
pub mod trace;

pub use crate::peer::{Peer, UnixName};
pub use definition::{Answer, Call, Command, CommandFlags, Conduct, Detach, Handler, Responder};
pub use origin::{Origin, Transport, Wire};
pub use recipe::{Arguments, Recipe};
pub use stream::{Filled, Hook, Source};
