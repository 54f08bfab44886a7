//! Everything that answers, stalls, cuts or dies as a real version of OpenSIPS does.
//!
//! A listener asks the questions of its transport's policy (`dispatch/policy`, `listener/*/policy`), whose defaults are
//! sipmi's own answers. The policy is chosen once, when the listener opens. So a server that emulates no version runs
//! no code of this folder, and no listener imports it.

mod datagram;
mod dispatch;
mod fifo;
mod fifo_framing;
mod hazards;
mod http;

use std::sync::Arc;

use crate::codec::text::Carrier;
use crate::dialect::Dialect;
use crate::server::dispatch::policy::{Native, ReplyPolicy};
use crate::server::listener::datagram::policy::DatagramPolicy;
use crate::server::listener::fifo::policy::FifoPolicy;
use crate::server::listener::http::policy::HttpPolicy;
use crate::server::options::ListenOptions;

/// The policies of the listeners of one server and one set of options.
#[derive(Clone, Copy)]
pub(super) struct Policies {
    /// The version, unless the server is sipmi itself.
    emulated: Option<Dialect>,
    has_hazards: bool,
}

impl Policies {
    pub(super) fn of(dialect: Dialect, options: &ListenOptions) -> Self {
        Policies { emulated: dialect.is_emulated().then_some(dialect), has_hazards: options.hazards }
    }

    /// How replies are counted and refused; `carrier` is None for HTTP.
    pub(super) fn replies(self, carrier: Option<Carrier>) -> Arc<dyn ReplyPolicy> {
        match self.emulated {
            Some(dialect) => Arc::new(dispatch::EmulatedReplies::new(dialect, self.has_hazards, carrier)),
            None => Arc::new(Native),
        }
    }

    pub(super) fn datagrams(self) -> Arc<dyn DatagramPolicy> {
        match self.emulated {
            Some(dialect) => Arc::new(datagram::EmulatedDatagrams { dialect, has_hazards: self.has_hazards }),
            None => Arc::new(Native),
        }
    }

    pub(super) fn fifo(self) -> Arc<dyn FifoPolicy> {
        match self.emulated {
            Some(dialect) if self.has_hazards => Arc::new(fifo::FaultyFifo::new(dialect)),
            _ => Arc::new(Native),
        }
    }

    pub(super) fn http(self, options: &ListenOptions) -> Arc<dyn HttpPolicy> {
        match self.emulated {
            Some(dialect) => Arc::new(http::EmulatedHttp::new(dialect, self.has_hazards, &options.http)),
            None => Arc::new(Native),
        }
    }
}
