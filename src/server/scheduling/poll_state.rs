//! The state of a task that many threads may wake and one at a time may poll.

use std::sync::atomic::{AtomicU8, Ordering};

#[derive(Default)]
pub(crate) struct TaskState(AtomicU8);

/// Idle: no thread polls it, and nothing has happened.
const IDLE: u8 = 0;
/// It is in line, or about to be.
const SCHEDULED: u8 = 1;
/// A thread is at it.
const RUNNING: u8 = 2;
/// A thread is at it, and something has happened since it began.
const AGAIN: u8 = 3;

impl TaskState {
    /// A turn that its maker has claimed.
    pub(crate) fn scheduled() -> Self {
        TaskState(AtomicU8::new(SCHEDULED))
    }

    /// Something has happened: true for the one caller who now has to see that it is polled.
    pub(crate) fn schedule(&self) -> bool {
        let next = |state| match state {
            IDLE => Some(SCHEDULED),
            RUNNING => Some(AGAIN),
            _ => None,
        };
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next) == Ok(IDLE)
    }

    /// Begins to poll. Only after a claim.
    pub(crate) fn start(&self) {
        self.0.store(RUNNING, Ordering::Release);
    }

    /// Ends polling; false when something has happened meanwhile, which is the caller's claim now.
    pub(crate) fn finish(&self) -> bool {
        let rested = self.0.compare_exchange(RUNNING, IDLE, Ordering::AcqRel, Ordering::Acquire);
        if rested.is_err() {
            self.0.store(SCHEDULED, Ordering::Release);
        }
        rested.is_ok()
    }

    /// Ends polling with more to do, which is the caller's claim.
    pub(crate) fn reschedule(&self) {
        self.0.store(SCHEDULED, Ordering::Release);
    }

    /// Lets others poll, whatever has happened: the caller comes back and claims.
    pub(crate) fn suspend(&self) {
        self.0.store(IDLE, Ordering::Release);
    }
}
