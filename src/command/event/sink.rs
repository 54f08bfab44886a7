//! The way to a subscriber, and the statistics of deliveries.

use std::sync::Arc;

use super::raised::Raised;
use crate::codec::event::Form;
use crate::command::statistics::Counter;

/// The numbers of delivered and dropped events of one subscription. Events in the queue are in neither.
#[derive(Debug, Default)]
pub struct DeliveryStats {
    /// Events that were handed to the kernel, or confirmed where a reply is wanted.
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

/// The way to a subscriber. It never blocks the caller of `raise`.
pub trait SubscriberSink: Send + Sync {
    /// Sends an event now or later, or drops it, and counts the outcome.
    fn send(&self, raised: &Raised, form: Form, tally: &Arc<DeliveryStats>);
}

/// A socket of `event_subscribe`, parsed and opened.
pub struct Opened {
    /// The same for all spellings of one socket.
    pub identity: String,
    /// The sink that sends to it.
    pub outlet: Arc<dyn SubscriberSink>,
    /// The only form in which it accepts events, if there is only one.
    pub form: Option<Form>,
}

/// Opens sockets of subscribers. The command layer has no sockets of its own.
pub trait Carrier: Send + Sync {
    /// Opens `udp:host:port` and its like, or returns the reason why it cannot.
    fn open(&self, socket: &str) -> Result<Opened, String>;
}
