//! Requests that are not answered within a millisecond: each is answered for when its time is up, or the server stops.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;
use crate::response::Failure;

/// The place of a ticket: when it is due, and its number.
pub(crate) type DeadlineKey = (Instant, u64);

/// A request as the deadlines see it.
pub(crate) trait Due: Send + Sync {
    /// When it times out.
    fn deadline(&self) -> Option<Instant>;
    /// Gives it its place among the open requests; false when it has one.
    fn set_key(&self, key: DeadlineKey) -> bool;
    /// Returns true while it has no answer.
    fn is_open(&self) -> bool;
    /// Answers it in the place of its handler, which is told to stop.
    fn give_up(&self, failure: Failure);
}

#[derive(Default)]
pub(crate) struct Deadlines {
    state: Mutex<State>,
    /// There is a new first one, or the last one has gone.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    open: BTreeMap<DeadlineKey, Arc<dyn Due>>,
    next: u64,
    /// When the thread wakes by itself.
    wakes: Option<Instant>,
    has_thread: bool,
    stopped: bool,
}

impl Deadlines {
    /// Watches over a request until it is answered. Twice does no harm.
    pub(crate) fn file(self: &Arc<Self>, request: &Arc<dyn Due>) {
        let mut state = self.lock();
        let number = state.next;
        let due = request.deadline().unwrap_or_else(|| clock::deadline(Duration::MAX));
        if !request.set_key((due, number)) {
            return;
        }
        state.next += 1;
        state.open.insert((due, number), request.clone());
        if !request.is_open() {
            // Answered before it was registered, so no other thread removes it.
            state.open.remove(&(due, number));
        } else if !state.has_thread {
            state.has_thread = true;
            drop(state);
            self.spawn();
        } else if state.wakes.is_none_or(|wakes| due < wakes) {
            self.changed.notify_all();
        }
    }

    /// A request has been answered.
    pub(crate) fn strike(&self, key: DeadlineKey) {
        let mut state = self.lock();
        state.open.remove(&key);
        if state.open.is_empty() {
            self.changed.notify_all();
        }
    }

    /// Waits until all are answered, at most until the deadline; says how many are not.
    pub(crate) fn drain(&self, deadline: Instant) -> usize {
        let mut state = self.lock();
        while !state.open.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.open.len()
    }

    /// Answers for all that are left, and ends the thread.
    pub(crate) fn stop(&self) {
        let left = {
            let mut state = self.lock();
            state.stopped = true;
            std::mem::take(&mut state.open)
        };
        self.changed.notify_all();
        for request in left.into_values() {
            request.give_up(Failure::Busy);
        }
    }

    fn spawn(self: &Arc<Self>) {
        let deadlines = self.clone();
        let spawned = std::thread::Builder::new().name("sipmi-deadline".into()).spawn(move || deadlines.watch());
        if let Err(error) = spawned {
            log::error!("cannot start a thread, commands have no deadlines until the next one begins: {error}");
            self.lock().has_thread = false;
        }
    }

    fn watch(&self) {
        let mut state = self.lock();
        while !state.stopped {
            let now = Instant::now();
            match state.open.first_key_value().map(|(key, _)| *key) {
                Some(key) if key.0 <= now => {
                    let due = state.open.remove(&key);
                    drop(state);
                    if let Some(request) = due {
                        request.give_up(Failure::Timeout);
                    }
                    state = self.lock();
                }
                Some((due, _)) => {
                    state.wakes = Some(due);
                    state = self.changed.wait_timeout(state, due - now).unwrap_or_else(PoisonError::into_inner).0;
                }
                None => {
                    state.wakes = None;
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
