//! The events and subscriptions that a process knows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Instant;

use super::error::SubscribeError;
use super::journal::Reader;
use super::log_record::LogRecord;
use super::sink::{Carrier, DeliveryStats, Opened};
use super::subscription::{Expiry, Listed, Subscription};
use crate::codec::event::Form;
use crate::command::statistics::Counter;
use crate::item::Str;
use crate::sys::time::monotonic;

/// The limit of subscriptions. Each one uses memory for as long as its caller wants.
pub const MOST_SUBSCRIPTIONS: usize = 4096;
/// The state of one process.
pub(super) struct Known {
    pub(super) table: Mutex<Table>,
    pub(super) carrier: OnceLock<Arc<dyn Carrier>>,
    pub(super) sent: Counter,
    pub(super) dropped: Counter,
}

#[derive(Default)]
pub(super) struct Table {
    pub(super) events: Vec<Declared>,
    places: HashMap<Str, usize>,
    pub(super) subscriptions: usize,
}

pub(super) struct Declared {
    pub(super) name: Str,
    /// Latest first, as OpenSIPS lists them. The list is replaced as a whole, so that raising an event needs no lock
    /// while it sends.
    pub(super) subscriptions: Arc<[Arc<Subscription>]>,
}

impl Known {
    pub(super) fn find(&self, name: &[u8]) -> Option<Listed> {
        let table = self.lock();
        let id = *table.places.get(name)?;
        let Declared { name, subscriptions } = &table.events[id];
        Some(Listed { id, name: name.clone(), subscriptions: subscriptions.clone() })
    }

    /// Checks whether a socket can be subscribed, and changes nothing.
    pub(super) fn check(&self, event: &[u8], socket: &[u8], expire: u32) -> Result<(), SubscribeError> {
        let listed = self.find(event).ok_or(SubscribeError::UnknownEvent)?;
        if self.subscription(&listed, socket).is_some() {
            return Ok(());
        }
        self.open(socket)?;
        let mut table = self.lock();
        if expire > 0 && table.subscriptions >= MOST_SUBSCRIPTIONS {
            table.sweep();
        }
        let is_full = expire > 0 && table.subscriptions >= MOST_SUBSCRIPTIONS;
        if is_full { Err(SubscribeError::TooMany) } else { Ok(()) }
    }

    pub(super) fn subscribe(
        &self,
        event: &[u8],
        socket: &[u8],
        (since, expire): (Instant, u32),
        form: Form,
    ) -> Result<(), SubscribeError> {
        let listed = self.find(event).ok_or(SubscribeError::UnknownEvent)?;
        if expire == 0
            && let Some(known) = self.subscription(&listed, socket)
        {
            known.set_expiry(Expiry { since, expire, form: known.form() });
            return Ok(());
        }
        // A host name may have to be resolved, so the lock is not held.
        let Opened { identity, outlet, form: only } = self.open(socket)?;
        let validity = Expiry { since, expire, form: only.unwrap_or(form) };
        let mut table = self.lock();
        let place = *table.places.get(event).ok_or(SubscribeError::UnknownEvent)?;
        let subscriptions = table.events[place].subscriptions.clone();
        if let Some(known) = subscriptions.iter().find(|known| known.identity == identity) {
            known.set_expiry(validity);
            return Ok(());
        }
        if expire == 0 {
            return Ok(());
        }
        let tally = DeliveryStats {
            all_sent: self.sent.clone(),
            all_dropped: self.dropped.clone(),
            ..DeliveryStats::default()
        };
        let subscription = Arc::new(Subscription {
            socket: socket.into(),
            tally: Arc::new(tally),
            identity,
            outlet,
            expiry: Mutex::new(validity),
        });
        let all: Vec<_> =
            std::iter::once(subscription).chain(table.events[place].subscriptions.iter().cloned()).collect();
        table.events[place].subscriptions = all.into();
        table.subscriptions += 1;
        Ok(())
    }

    pub(super) fn subscription(&self, event: &Listed, socket: &[u8]) -> Option<Arc<Subscription>> {
        let exact = event.subscriptions.iter().find(|known| *known.socket == *socket);
        if let Some(known) = exact {
            return Some(known.clone());
        }
        let identity = self.open(socket).ok()?.identity;
        event.subscriptions.iter().find(|known| known.identity == identity).cloned()
    }

    pub(super) fn open(&self, socket: &[u8]) -> Result<Opened, SubscribeError> {
        let text = std::str::from_utf8(socket).map_err(|_| SubscribeError::Socket("a socket is UTF-8".into()))?;
        let carrier = self.carrier.get().ok_or_else(|| SubscribeError::Socket("this build has no sockets".into()))?;
        carrier.open(text).map_err(SubscribeError::Socket)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader for Weak<Known> {
    fn read(&self, news: &[u8]) {
        let (Some(known), Some(news)) = (self.upgrade(), LogRecord::read(news)) else { return };
        match news {
            LogRecord::Declared { name } => known.lock().declare(name),
            LogRecord::Subscribed { event, socket, expire, form, since } => {
                let since =
                    Instant::now().checked_sub(monotonic().saturating_sub(since)).unwrap_or_else(Instant::now);
                if let Err(error) = known.subscribe(&event, &socket, (since, expire), form) {
                    log::warn!("{socket} cannot be subscribed to {event} in all processes: {error}");
                }
            }
        }
    }

    fn all(&self) -> Vec<Vec<u8>> {
        let Some(known) = self.upgrade() else { return Vec::new() };
        let table = known.lock();
        let declared = table.events.iter().map(|event| LogRecord::Declared { name: event.name.clone() }.write());
        // The latest subscription is listed first, and recorded last.
        let subscribed = table.events.iter().flat_map(|event| {
            event.subscriptions.iter().rev().filter(|subscription| subscription.left().is_some()).map(
                |subscription| {
                    let Expiry { since, expire, form } = subscription.expiry();
                    let (event, socket) = (event.name.clone(), subscription.socket.clone());
                    LogRecord::Subscribed {
                        event,
                        socket,
                        expire,
                        form,
                        since: monotonic().saturating_sub(since.elapsed()),
                    }
                    .write()
                },
            )
        });
        declared.chain(subscribed).collect()
    }
}

impl Table {
    /// Puts an event at the end, when it is new.
    pub(super) fn declare(&mut self, name: Str) {
        if !self.places.contains_key(&name) {
            self.places.insert(name.clone(), self.events.len());
            self.events.push(Declared { name, subscriptions: Arc::new([]) });
        }
    }

    /// The active subscriptions to an event.
    pub(super) fn current(&mut self, name: &[u8]) -> Arc<[Arc<Subscription>]> {
        let Some(place) = self.places.get(name).copied() else { return Arc::new([]) };
        self.sweep_event(place);
        self.events[place].subscriptions.clone()
    }

    /// Removes expired subscriptions.
    pub(super) fn sweep(&mut self) {
        (0..self.events.len()).for_each(|place| self.sweep_event(place));
    }

    pub(super) fn sweep_event(&mut self, place: usize) {
        let subscriptions = &self.events[place].subscriptions;
        if subscriptions.iter().all(|subscription| subscription.left().is_some()) {
            return;
        }
        let holding: Vec<_> =
            subscriptions.iter().filter(|subscription| subscription.left().is_some()).cloned().collect();
        self.subscriptions -= subscriptions.len() - holding.len();
        self.events[place].subscriptions = holding.into();
    }
}
