//! Requests and replies over HTTP/1.1, with TLS or without.

mod channel;
mod credentials;
mod exchange;
mod options;
#[cfg(feature = "tls")]
mod own_certificate;
mod pool;
mod reply_parser;
mod scheme;
#[cfg(feature = "tls")]
mod tls;
mod transport;
mod url;

pub use credentials::Credentials;
pub use options::{HttpError, HttpOptions, TlsError, TlsOptions};
pub(in crate::client) use reply_parser::HttpReply;
pub(in crate::client) use transport::{Http, Message};
pub use url::UrlError;
