//! The subscription of a socket to an event.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::sink::{DeliveryStats, SubscriberSink};
use crate::codec::event::Form;
use crate::item::Str;

/// One socket that wants one event.
pub struct Subscription {
    /// As its subscriber wrote it.
    pub socket: Str,
    /// What became of its events.
    pub tally: Arc<DeliveryStats>,
    pub(super) identity: String,
    pub(super) outlet: Arc<dyn SubscriberSink>,
    pub(super) expiry: Mutex<Expiry>,
}

/// For how long a subscription holds, and how its events are written.
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

    /// Seconds that it was made for; 0 when it was ended.
    pub fn expire(&self) -> u32 {
        self.expiry().expire
    }

    /// What is left of them; `None` when nothing is.
    pub fn left(&self) -> Option<Duration> {
        self.expiry().left()
    }

    /// How its events are written.
    pub fn form(&self) -> Form {
        self.expiry().form
    }
}

/// An event and its subscriptions, to look at.
pub struct Listed {
    /// Its number: events count from 0 as they are declared.
    pub id: usize,
    /// Its name.
    pub name: Str,
    /// The latest first; also those that ended and were not swept away yet.
    pub subscriptions: Arc<[Arc<Subscription>]>,
}
