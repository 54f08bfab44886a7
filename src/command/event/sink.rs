//! The way to a subscriber, and the statistics of deliveries.

use std::sync::Arc;

use super::raised::Raised;
use crate::codec::event::Form;
use crate::command::statistics::Counter;

/// The numbers of delivered and dropped events of one subscription. Waiting events are in neither.
#[derive(Debug, Default)]
pub struct DeliveryStats {
    /// Events that were handed to the system, or confirmed where a reply is wanted.
    pub sent: Counter,
    /// Events that were dropped: connection refused, queue full, too large, or timed out.
    pub dropped: Counter,
    pub(super) all_sent: Counter,
    pub(super) all_dropped: Counter,
}

impl DeliveryStats {
    /// Counts a delivered event.
    pub fn count_sent(&self) {
        self.sent.add(1);
        self.all_sent.add(1);
    }

    /// Counts a dropped event.
    pub fn count_dropped(&self) {
        self.dropped.add(1);
        self.all_dropped.add(1);
    }
}

/// The way to a subscriber. It never makes the caller of `raise` wait.
pub trait SubscriberSink: Send + Sync {
    /// Sends an event now or later, or drops it; the statistics tell.
    fn send(&self, raised: &Raised, form: Form, tally: &Arc<DeliveryStats>);
}

/// A socket of `event_subscribe` as it was understood.
pub struct Opened {
    /// The same for all spellings of one socket.
    pub identity: String,
    /// The way there.
    pub outlet: Arc<dyn SubscriberSink>,
    /// The only form in which events go there, if there is only one.
    pub form: Option<Form>,
}

/// Opens the way to a socket. The core has no sockets of its own.
pub trait Carrier: Send + Sync {
    /// Understands `udp:host:port` and its like, or says what is wrong with it.
    fn open(&self, socket: &str) -> Result<Opened, String>;
}
