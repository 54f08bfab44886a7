//! Protects servers from requests that they would lose, run as another, or not survive.

mod checks;
mod http_limit;
mod refusal;
mod route;

pub use http_limit::HttpLimit;
pub use refusal::Refusal;
pub(in crate::client) use route::{Carrier, Route};
