//! The leader of a listener: one thread waits for requests, and another takes over while it is busy.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::server::panics::contained;
use crate::server::scheduling::thread_pool::Pool;

/// How long a handler may keep its listener waiting.
const PATIENCE: Duration = Duration::from_millis(1);
/// After this many rounds with all threads busy, the pool may add one more.
const EXCESS_AFTER: u32 = 50;
/// After this many rounds without a request, the watch sleeps until one comes.
const QUIET_ROUNDS: u32 = 200;
/// How often listeners are looked after, so that a removed FIFO is back within a second.
pub(crate) const LOOK_AFTER: Duration = Duration::from_millis(400);

/// Which leader of a listener: the first, the one who took over from it, and so on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Epoch(u64);

impl Epoch {
    pub(crate) const FIRST: Epoch = Epoch(0);
}

/// A listener's leadership: its term, how many requests that leader began, and whether one is in its hands.
///
/// The three share one word, so every change of hands is a single compare and exchange.
#[derive(Default)]
pub(crate) struct Leadership {
    state: AtomicU64,
    monitor: std::sync::OnceLock<Arc<LeaderMonitor>>,
}

const BUSY: u64 = 1;
const TURN: u64 = 1 << 1;
const TERM_SHIFT: u32 = 40;
const TURN_MASK: u64 = (1 << TERM_SHIFT) - 1;

/// A leader's proof that it began a request while it led.
#[derive(Clone, Copy)]
pub(crate) struct RequestToken(Option<u64>);

impl Leadership {
    /// The leader of `term` begins a request.
    pub(crate) fn begin(&self, epoch: Epoch) -> RequestToken {
        let old = self.state.load(Ordering::SeqCst);
        if old >> TERM_SHIFT != epoch.0 || old & BUSY != 0 {
            return RequestToken(None);
        }
        let new = (old & !TURN_MASK) | ((old + TURN) & TURN_MASK) | BUSY;
        let led = self.state.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if let Some(monitor) = self.monitor.get() {
            monitor.wake();
        }
        RequestToken(led.then_some(new))
    }

    /// It ended that request. Says whether it still leads.
    pub(crate) fn end(&self, token: RequestToken) -> bool {
        let Some(mine) = token.0 else { return false };
        self.state.compare_exchange(mine, mine & !BUSY, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Returns true if the leader of `epoch` still leads.
    pub(crate) fn leads(&self, epoch: Epoch) -> bool {
        self.state.load(Ordering::SeqCst) >> TERM_SHIFT == epoch.0
    }

    /// The leader of `term` panicked: gives the next term, unless another leads by now.
    fn succeed(&self, epoch: Epoch) -> Option<Epoch> {
        loop {
            let seen = self.state.load(Ordering::SeqCst);
            if seen >> TERM_SHIFT != epoch.0 {
                return None;
            }
            if let Some(next) = self.promote_follower(seen) {
                return Some(next);
            }
        }
    }

    /// Takes the lead from a leader whose request has been in its hands since `seen`.
    fn promote_follower(&self, seen: u64) -> Option<Epoch> {
        let epoch = (seen >> TERM_SHIFT) + 1;
        let new = epoch << TERM_SHIFT;
        self.state.compare_exchange(seen, new, Ordering::SeqCst, Ordering::SeqCst).ok().map(|_| Epoch(epoch))
    }
}

/// A listener as its leaders and the watch see it.
pub(crate) trait Led: Send + Sync {
    /// Where it really listens.
    fn address(&self) -> &Address;
    /// Waits for requests and serves them, until another thread leads or the server stops.
    fn lead(self: Arc<Self>, epoch: Epoch);
    /// Where the leader shows what it does.
    fn leadership(&self) -> &Leadership;
    /// Called when the leader has had the same request for longer than a handler may keep its listener waiting.
    fn note_slow_request(&self);
    /// Called every now and then: gives back memory.
    fn trim(&self);
    /// Called every now and then, and when the server stops: wakes a leader that has something to look at.
    fn look_after(&self) {}
}

/// Leads a listener. One that panics outside of a command goes on with the next request.
pub(crate) fn lead(listener: &Arc<dyn Led>, mut epoch: Epoch) {
    let what = || format!("{}: a worker", listener.address());
    while contained(what, || listener.clone().lead(epoch)).is_none() {
        match listener.leadership().succeed(epoch) {
            Some(next) => epoch = next,
            None => return,
        }
    }
}

/// One thread that looks at all posts every millisecond, as long as there is anything to see.
pub(crate) struct LeaderMonitor {
    leaders: Mutex<Vec<Watched>>,
    changed: Condvar,
    asleep: AtomicBool,
    stopped: AtomicBool,
}

struct Watched {
    listener: Weak<dyn Led>,
    pool: Weak<Pool>,
    seen: u64,
    /// For how many rounds the same request has been in hand.
    rounds: u32,
}

impl LeaderMonitor {
    pub(crate) fn start() -> std::io::Result<Arc<Self>> {
        let monitor = Arc::new(LeaderMonitor {
            leaders: Mutex::default(),
            changed: Condvar::new(),
            asleep: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        });
        let looking = monitor.clone();
        std::thread::Builder::new().name("sipmi-watch".into()).spawn(move || looking.look())?;
        Ok(monitor)
    }

    pub(crate) fn add(self: &Arc<Self>, listener: &Arc<dyn Led>, pool: &Arc<Pool>) {
        let _ = listener.leadership().monitor.set(self.clone());
        let watched = Watched { listener: Arc::downgrade(listener), pool: Arc::downgrade(pool), seen: 0, rounds: 0 };
        self.leaders.lock().unwrap_or_else(PoisonError::into_inner).push(watched);
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// A request began. Almost always the watch is awake and this is one load.
    fn wake(&self) {
        if self.asleep.load(Ordering::SeqCst) {
            drop(self.leaders.lock());
            self.changed.notify_all();
        }
    }

    fn look(&self) {
        let mut quiet = 0;
        let mut looked_after = Instant::now();
        let mut leaders = self.leaders.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.stopped.load(Ordering::SeqCst) {
            let busy = look_at(&mut leaders);
            if looked_after.elapsed() >= LOOK_AFTER {
                looked_after = Instant::now();
                leaders.iter().filter_map(|watched| watched.listener.upgrade()).for_each(|listener| {
                    listener.look_after();
                    listener.trim();
                });
            }
            quiet = if busy { 0 } else { quiet + 1 };
            leaders = if quiet < QUIET_ROUNDS {
                self.changed.wait_timeout(leaders, PATIENCE).unwrap_or_else(PoisonError::into_inner).0
            } else {
                self.sleep(leaders)
            };
        }
    }

    /// Sleeps until a request begins. The flag goes up before the last look, so none is missed.
    fn sleep<'a>(
        &self,
        mut leaders: std::sync::MutexGuard<'a, Vec<Watched>>,
    ) -> std::sync::MutexGuard<'a, Vec<Watched>> {
        self.asleep.store(true, Ordering::SeqCst);
        if !look_at(&mut leaders) && !self.stopped.load(Ordering::SeqCst) {
            leaders = self.changed.wait_timeout(leaders, LOOK_AFTER).unwrap_or_else(PoisonError::into_inner).0;
        }
        self.asleep.store(false, Ordering::SeqCst);
        leaders
    }
}

/// Replaces every leader that has had the same request in hand since the last look.
/// Says whether anything happened.
fn look_at(leaders: &mut Vec<Watched>) -> bool {
    let mut busy = false;
    leaders.retain_mut(|watched| {
        let (Some(listener), Some(pool)) = (watched.listener.upgrade(), watched.pool.upgrade()) else { return false };
        let state = listener.leadership().state.load(Ordering::SeqCst);
        let stuck = state & BUSY != 0 && state == watched.seen;
        watched.rounds = if stuck { watched.rounds + 1 } else { 0 };
        busy |= state & BUSY != 0 || state != watched.seen;
        watched.seen = state;
        if watched.rounds == 1 {
            listener.note_slow_request();
        }
        // One that is stuck may wait for a request that waits behind it.
        let may_exceed = watched.rounds % EXCESS_AFTER == 0;
        if stuck
            && (pool.has_room() || (may_exceed && pool.exceed()))
            && let Some(epoch) = listener.leadership().promote_follower(state)
        {
            pool.run(Box::new(move || lead(&listener, epoch)));
        }
        true
    });
    busy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_ends_in_time_goes_on_leading() {
        let leadership = Leadership::default();
        for _ in 0..3 {
            let token = leadership.begin(Epoch::FIRST);
            assert!(leadership.end(token));
        }
        assert!(leadership.leads(Epoch::FIRST));
    }

    #[test]
    fn a_replaced_leader_notices_and_does_not_disturb_its_successor() {
        let leadership = Leadership::default();
        let slow = leadership.begin(Epoch::FIRST);
        let next =
            leadership.promote_follower(leadership.state.load(Ordering::SeqCst)).expect("a busy leader is deposed");
        let fast = leadership.begin(next);
        assert!(!leadership.end(slow), "the slow one no longer leads");
        assert!(leadership.end(fast), "the new one still does");
        assert!(!leadership.end(leadership.begin(Epoch::FIRST)), "an old term begins nothing");
        assert!(leadership.leads(next));
    }

    #[test]
    fn a_leader_that_moved_on_is_not_deposed_for_its_last_request() {
        let leadership = Leadership::default();
        let token = leadership.begin(Epoch::FIRST);
        let seen = leadership.state.load(Ordering::SeqCst);
        assert!(leadership.end(token));
        assert_eq!(leadership.promote_follower(seen), None);
        let _second = leadership.begin(Epoch::FIRST);
        assert_eq!(leadership.promote_follower(seen), None, "that one has just begun");
    }
}
