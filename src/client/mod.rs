//! Calls commands: request in, bytes out, bytes in, reply out. Blocking, and for use by many threads at once.
//!
//! A call has one deadline for all that it does, and never harms the server it calls (see [`Refusal`]).

mod breaker;
mod deadline;
mod detect;
pub mod driver;
mod error;
mod guard;
mod hints;
mod large;
mod links;
mod mi_client;
mod reply;
mod request_fit;
mod retry;
mod semaphore;
mod server_info;
mod shape;
mod transports;

pub use deadline::Deadline;
pub use error::{CallError, CallFailure, Details};
pub use guard::{HttpLimit, Refusal};
pub use links::LinkOptions;
pub use mi_client::{Client, ClientError};
pub use reply::{Arguments, Asked, Reply};
pub use server_info::{Generation, ServerInfo, Wire};
pub use transports::http::{Credentials, HttpError, HttpOptions, TlsError, TlsOptions, UrlError};
pub use transports::reply_limit::REPLY_LIMIT;
