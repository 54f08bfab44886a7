//! Between processes that serve one socket: one whose processor is taken leaves what comes to those that are idle.
//!
//! The kernel gives a datagram to the thread that has waited longest. It may be of a process whose interpreter is at
//! work, while all of another wait.

use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// The time that other processes may come first, for each handler at work, up to `MOST` handlers: those of a process
/// take turns at computing anyway. A process that waits is woken much sooner.
const PRECEDENCE: Duration = Duration::from_millis(1);
const MOST: u32 = 10;
/// Handlers that were found asleep are taken to sleep on for so long.
const TRUST: Duration = Duration::from_millis(50);

/// The leaders of a listener that were replaced, and are still at work.
#[derive(Default)]
pub(crate) struct BusyLeaders {
    count: AtomicIsize,
    lock: Mutex<()>,
    back: Condvar,
}

impl BusyLeaders {
    /// A leader was replaced.
    pub(crate) fn leave(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    /// It has done its work.
    pub(crate) fn come_back(&self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
        drop(self.lock.lock());
        self.back.notify_all();
    }

    fn count(&self) -> u32 {
        u32::try_from(self.count.load(Ordering::SeqCst)).unwrap_or(0)
    }

    fn has_any(&self) -> bool {
        self.count() > 0
    }

    /// Waits until all are back, for a moment at most.
    fn wait(&self) {
        let patience = PRECEDENCE * self.count().min(MOST);
        let held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.back.wait_timeout_while(held, patience, |()| self.has_any()));
    }
}

/// The leader's view of the other processes.
#[derive(Default)]
pub(crate) struct IdleFirst {
    trusted_until: Option<Instant>,
}

impl IdleFirst {
    /// Lets other processes come first while this one computes; whether it still does.
    pub(crate) fn yield_to_idle_processes(&mut self, busy_leaders: &BusyLeaders) -> bool {
        if !busy_leaders.has_any() {
            return false;
        }
        let begun = Instant::now();
        if self.trusted_until.is_some_and(|until| begun < until) {
            return false;
        }
        let used = processor_time();
        busy_leaders.wait();
        let computes = processor_time().saturating_sub(used) * 2 > begun.elapsed();
        self.trusted_until = (!computes).then(|| begun + TRUST);
        computes && busy_leaders.has_any()
    }
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_ends_for_processes_that_sleep_or_have_returned() {
        let (busy_leaders, mut idle_first) = (BusyLeaders::default(), IdleFirst::default());
        assert!(!idle_first.yield_to_idle_processes(&busy_leaders), "all are there");
        busy_leaders.leave();
        idle_first.trusted_until = Some(Instant::now() + TRUST);
        assert!(!idle_first.yield_to_idle_processes(&busy_leaders), "asleep a moment ago");
        idle_first.trusted_until = None;
        busy_leaders.come_back();
        assert!(!idle_first.yield_to_idle_processes(&busy_leaders), "all are back");
    }
}
