//! The rate limits of a listener, in memory that all processes of a server share.

use std::io;
use std::sync::Arc;

use crate::command::rate::Rate;
use crate::server::options::ListenOptions;

/// The most replies per second to malformed datagrams of one peer. Some services (chargen, RFC 864) answer everything.
const ERRORS_PER_SECOND: f64 = 200.0;

/// The rate limits of a listener.
#[derive(Clone)]
pub(crate) struct ListenerRates {
    /// The limit of requests.
    pub(crate) requests: Option<Arc<Rate>>,
    /// The limit of replies to malformed datagrams.
    pub(crate) errors: Arc<Rate>,
}

impl ListenerRates {
    /// Creates the limits of a listener; processes that are forked later share them.
    pub(crate) fn new(options: &ListenOptions) -> io::Result<Self> {
        let requests = options.limits.rate.map(Rate::new).transpose()?.map(Arc::new);
        Ok(ListenerRates { requests, errors: Arc::new(Rate::new(ERRORS_PER_SECOND)?) })
    }
}
