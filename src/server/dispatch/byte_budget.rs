//! A limit of bytes: of one listener, and of all listeners of a server together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// After this many bytes have waited or were refused, the server returns their memory to the system.
const WORTH_GIVING_BACK: usize = 32 << 20;

/// Counts bytes that wait for clients. A budget within another one takes from both.
pub(crate) struct ByteBudget {
    limit: usize,
    used: AtomicUsize,
    /// The most that was used since memory was given back.
    most: AtomicUsize,
    /// The bytes that were refused since then: their replies were made, and freed.
    refused: AtomicUsize,
    whole: Option<Arc<ByteBudget>>,
}

/// Bytes taken from a budget, which gets them back when this is dropped.
pub(crate) struct Reservation {
    budget: Arc<ByteBudget>,
    bytes: usize,
}

impl ByteBudget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(ByteBudget {
            limit,
            used: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            whole: None,
        })
    }

    /// A part of this budget with a limit of its own.
    pub(crate) fn part(self: &Arc<Self>, limit: usize) -> Arc<Self> {
        Arc::new(ByteBudget {
            limit,
            used: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            whole: Some(self.clone()),
        })
    }

    /// The most that can be taken at once.
    pub(crate) fn limit(&self) -> usize {
        self.whole.as_ref().map_or(self.limit, |whole| self.limit.min(whole.limit()))
    }

    /// Takes bytes; nothing, where that would exceed this limit or that of the whole.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        self.take(bytes).then(|| Reservation { budget: self.clone(), bytes })
    }

    fn take(&self, bytes: usize) -> bool {
        let more = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        let Ok(before) = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) else {
            self.refused.fetch_add(bytes, Ordering::Relaxed);
            return false;
        };
        self.most.fetch_max(before + bytes, Ordering::Relaxed);
        let fits = self.whole.as_ref().is_none_or(|whole| whole.take(bytes));
        if !fits {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }

    /// Gives memory back to the system when many bytes have waited or were refused, and none waits any more.
    pub(crate) fn trim(&self) {
        let is_empty = self.used.load(Ordering::Relaxed) == 0;
        let freed = || self.most.load(Ordering::Relaxed).saturating_add(self.refused.load(Ordering::Relaxed));
        if is_empty && freed() >= WORTH_GIVING_BACK {
            self.most.store(0, Ordering::Relaxed);
            self.refused.store(0, Ordering::Relaxed);
            crate::sys::process::trim_heap();
        }
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.give_back(bytes);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_limited_by_itself_and_by_the_whole() {
        let whole = ByteBudget::new(10);
        let [one, other] = [whole.part(8), whole.part(8)];
        assert!(one.reserve(9).is_none(), "more than the part has");
        let first = one.reserve(8).expect("it fits");
        assert!(other.reserve(3).is_none(), "more than the whole has left");
        assert!(other.reserve(2).is_some());
        drop(first);
        assert!(other.reserve(8).is_some(), "what was given back can be taken again");
        assert!(other.reserve(usize::MAX).is_none());
    }
}
