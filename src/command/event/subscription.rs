//! The subscription of a socket to an event.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::sink::{DeliveryStats, SubscriberSink};
use crate::codec::event::Form;
use crate::item::Str;

/// A socket that is subscribed to one event.
pub struct Subscription {
    /// The socket as its subscriber wrote it.
    pub socket: Str,
    /// The counters of its deliveries.
    pub tally: Arc<DeliveryStats>,
    pub(super) identity: String,
    pub(super) outlet: Arc<dyn SubscriberSink>,
    pub(super) expiry: Mutex<Expiry>,
}

/// The duration of a subscription, and the form of its events.
#[derive(Clone, Copy)]
pub(super) struct Expiry {
    pub(super) since: Instant,
    pub(super) expire: u32,
    pub(super) form: Form,
}

impl Expiry {
    fn left(&self) -> Option<Duration> {
        Duration::from_secs(self.expire.into()).checked_sub(self.since.elapsed()).filter(|left| !left.is_zero())
    }
}

impl Subscription {
    pub(super) fn expiry(&self) -> Expiry {
        *self.expiry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_expiry(&self, expiry: Expiry) {
        *self.expiry.lock().unwrap_or_else(PoisonError::into_inner) = expiry;
    }

    /// Its duration in seconds; 0 after it was ended.
    pub fn expire(&self) -> u32 {
        self.expiry().expire
    }

    /// The remaining time; `None` once it has expired.
    pub fn left(&self) -> Option<Duration> {
        self.expiry().left()
    }

    /// The form in which its events are sent.
    pub fn form(&self) -> Form {
        self.expiry().form
    }
}

/// An event and its subscriptions, for display.
pub struct Listed {
    /// Its number. Events are numbered from 0 in the order of declaration.
    pub id: usize,
    /// Its name.
    pub name: Str,
    /// Latest first; includes expired ones that are not yet removed.
    pub subscriptions: Arc<[Arc<Subscription>]>,
}
