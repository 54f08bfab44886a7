//! A fair semaphore: it admits a limited number of calls at a time, in the order in which they came.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::deadline::{Deadline, WaitError};

/// Lets a number of calls through at a time.
#[derive(Debug, Default)]
pub(super) struct Semaphore(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    held: usize,
    most: usize,
    waiting: VecDeque<Arc<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    is_admitted: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// A permit. Dropping it admits the next call.
#[derive(Debug)]
pub(super) struct Permit<'s>(&'s Semaphore);

/// A place in the queue, for who may give up.
struct Queued<'s> {
    semaphore: &'s Semaphore,
    waiting: Arc<Waiting>,
    is_used: bool,
}

impl Semaphore {
    /// Waits until fewer than `most` are held.
    pub(super) async fn acquire(&self, most: usize, deadline: &mut Deadline<'_>) -> Result<Permit<'_>, WaitError> {
        let waiting = {
            let mut state = self.lock();
            state.most = most;
            state.admit();
            if state.waiting.is_empty() && state.held < most {
                state.held += 1;
                return Ok(Permit(self));
            }
            let waiting = Arc::new(Waiting::default());
            state.waiting.push_back(Arc::clone(&waiting));
            waiting
        };
        let mut queued = Queued { semaphore: self, waiting, is_used: false };
        deadline.wait_for(|waker| queued.waiting.is_admitted(waker).then_some(())).await?;
        queued.is_used = true;
        Ok(Permit(self))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Wakes the waiters that there are permits for.
    fn admit(&mut self) {
        while self.held < self.most
            && let Some(first) = self.waiting.pop_front()
        {
            self.held += 1;
            first.admit();
        }
    }

    fn release(&mut self) {
        self.held -= 1;
        self.admit();
    }
}

impl Waiting {
    fn admit(&self) {
        let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_admitted.store(true, Ordering::Relaxed);
        if let Some(waker) = waker.take() {
            waker.wake();
        }
    }

    fn is_admitted(&self, waker: &Waker) -> bool {
        let mut kept = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        let is_admitted = self.is_admitted.load(Ordering::Relaxed);
        if !is_admitted {
            *kept = Some(waker.clone());
        }
        is_admitted
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.lock().release();
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        if self.is_used {
            return;
        }
        let mut state = self.semaphore.lock();
        if self.waiting.is_admitted.load(Ordering::Relaxed) {
            // Let in and given up at the same time.
            state.release();
        } else {
            state.waiting.retain(|other| !Arc::ptr_eq(other, &self.waiting));
        }
    }
}
