//! A gate that lets so many calls through at a time, the others in the order in which they came.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::patience::{Patience, Stop};

/// Lets a number of calls through at a time.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<Crowd>);

#[derive(Debug, Default)]
struct Crowd {
    within: usize,
    most: usize,
    waiting: VecDeque<Arc<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    is_admitted: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// Whoever has it is within. Dropping it lets the next one in.
#[derive(Debug)]
pub(super) struct Permit<'g>(&'g Gate);

/// A place in the queue, for who may give up.
struct Place<'g> {
    gate: &'g Gate,
    waiting: Arc<Waiting>,
    is_used: bool,
}

impl Gate {
    /// Waits until fewer than `most` are within.
    pub(super) async fn enter(&self, most: usize, patience: &mut Patience<'_>) -> Result<Permit<'_>, Stop> {
        let waiting = {
            let mut crowd = self.lock();
            crowd.most = most;
            crowd.admit();
            if crowd.waiting.is_empty() && crowd.within < most {
                crowd.within += 1;
                return Ok(Permit(self));
            }
            let waiting = Arc::new(Waiting::default());
            crowd.waiting.push_back(Arc::clone(&waiting));
            waiting
        };
        let mut place = Place { gate: self, waiting, is_used: false };
        patience.ask(|waker| place.waiting.is_admitted(waker).then_some(())).await?;
        place.is_used = true;
        Ok(Permit(self))
    }

    fn lock(&self) -> MutexGuard<'_, Crowd> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Crowd {
    /// Lets in whom there is room for.
    fn admit(&mut self) {
        while self.within < self.most
            && let Some(first) = self.waiting.pop_front()
        {
            self.within += 1;
            first.admit();
        }
    }

    fn leave(&mut self) {
        self.within -= 1;
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
        self.0.lock().leave();
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.is_used {
            return;
        }
        let mut crowd = self.gate.lock();
        if self.waiting.is_admitted.load(Ordering::Relaxed) {
            // Let in and given up at the same time.
            crowd.leave();
        } else {
            crowd.waiting.retain(|other| !Arc::ptr_eq(other, &self.waiting));
        }
    }
}
