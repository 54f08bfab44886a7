//! The options of an HTTP listener.

#[cfg(feature = "tls")]
use std::sync::Arc;
use std::time::Duration;

use super::credentials::Credentials;
use super::roots::Roots;
use crate::codec::xmlrpc;

/// The options that only a listener for HTTP has.
#[derive(Clone, Debug, Default)]
pub struct HttpOptions {
    /// Where it answers what; `None`: where the imitated version does.
    pub roots: Option<Roots>,
    /// How replies look at the root for XML-RPC; `None`: as the imitated version writes them.
    pub xmlrpc: Option<xmlrpc::Form>,
    /// Which `GET` requests run commands that change something.
    pub json_get: JsonGet,
    /// The accepted credentials.
    pub credentials: Credentials,
    /// Names by which browsers may call it, beside addresses and `localhost`.
    pub hosts: Vec<String>,
    /// How long a head, a body and a pause between requests may take.
    pub timeouts: Timeouts,
    /// The limit of 3.6 and 4.0 on a body, where their faults are imitated (`receive_buf_size`); 0: their default.
    pub receive_buffer: usize,
    /// True if `GET /metrics` shows the counters.
    pub shows_metrics: bool,
    /// How many connections there may be.
    pub connections: usize,
    /// TLS; without it the connection is plain.
    #[cfg(feature = "tls")]
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For the head of a request, and for its body.
    pub read: Duration,
    /// Between two requests.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { read: Duration::from_secs(10), idle: Duration::from_secs(60) }
    }
}

impl HttpOptions {
    #[cfg(feature = "tls")]
    pub(crate) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    #[cfg(not(feature = "tls"))]
    #[allow(clippy::unused_self)] // it has TLS to look at in other builds
    pub(crate) fn is_secure(&self) -> bool {
        false
    }
}

/// Which GET requests run commands that change something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JsonGet {
    /// Those of programs, and those of pages of this server.
    #[default]
    Programs,
    /// None.
    ReadOnly,
    /// All that are let in.
    All,
}
