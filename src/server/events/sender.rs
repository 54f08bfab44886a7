//! The thread that waits for subscribers, so that the threads that raise events do not.

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;

/// How long it sleeps at most when something waits: a deadline that was missed is seen then.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Without a bell (no file descriptor was left for it) it looks this often.
const DEAF_SLEEP: Duration = Duration::from_millis(5);

/// A queue of events to one place.
pub(super) trait Line: Send + Sync {
    /// Moves what moves without waiting, and says what to wait for.
    fn work(&self, now: Instant) -> Wait;
    /// Returns true if no event is in flight.
    fn is_empty(&self) -> bool;
    /// Drops what is on its way, and the connection.
    fn give_up(&self);
}

/// The conditions that a line waits for; none until it is woken.
#[derive(Default)]
pub(super) struct Wait {
    pub(super) ready: Option<(Arc<dyn AsFd + Send + Sync>, PollFlags)>,
    pub(super) until: Option<Instant>,
}

pub(super) struct EventSender {
    state: Mutex<State>,
    /// Made when the first event waits: one that forked processes had in common would wake the wrong one.
    bell: OnceLock<Option<EventFd>>,
}

#[derive(Default)]
struct State {
    lines: Vec<Weak<dyn Line>>,
    thread: Option<JoinHandle<()>>,
    /// Set while it stops: when to give up.
    stopping: Option<Instant>,
}

impl EventSender {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(EventSender { state: Mutex::default(), bell: OnceLock::new() })
    }

    /// Something was put into a line: the messenger looks after it from now on.
    pub(super) fn wake(self: &Arc<Self>, line: &Arc<dyn Line>) {
        let mut state = self.lock();
        if !state.lines.iter().any(|known| std::ptr::addr_eq(known.as_ptr(), Arc::as_ptr(line))) {
            state.lines.retain(|known| known.strong_count() > 0);
            state.lines.push(Arc::downgrade(line));
        }
        if state.thread.is_none() {
            let working = self.clone();
            match std::thread::Builder::new().name("sipmi-events".into()).spawn(move || working.work()) {
                Ok(thread) => state.thread = Some(thread),
                Err(error) => log::error!("cannot start a thread, slow subscribers get no events: {error}"),
            }
        }
        drop(state);
        self.ring();
    }

    /// Ends the thread when all lines are empty, at the deadline at the latest, and gives up what is left.
    pub(super) fn stop(&self, deadline: Instant) {
        let thread = {
            let mut state = self.lock();
            state.stopping = Some(deadline);
            state.thread.take()
        };
        if thread.is_some() {
            self.ring();
        }
        // The thread ends at the deadline; it never waits for the interpreter or for the thread that stops it.
        if thread.is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread that delivers events panicked");
        }
        let lines = {
            let mut state = self.lock();
            state.stopping = None;
            std::mem::take(&mut state.lines)
        };
        lines.iter().filter_map(Weak::upgrade).for_each(|line| line.give_up());
    }

    fn work(&self) {
        loop {
            // Answered before the lines are looked at, so that no ring is missed.
            if let Some(bell) = self.bell() {
                let _ = bell.read();
            }
            let (lines, stopping) = {
                let mut state = self.lock();
                let lines: Vec<Arc<dyn Line>> = state.lines.iter().filter_map(Weak::upgrade).collect();
                if lines.is_empty() {
                    // No subscriber is left. The next wake-up starts a new thread.
                    state.thread = None;
                    return;
                }
                (lines, state.stopping)
            };
            let now = Instant::now();
            let waits: Vec<Wait> = lines.iter().map(|line| line.work(now)).collect();
            if stopping.is_some_and(|deadline| now >= deadline || lines.iter().all(|line| line.is_empty())) {
                return;
            }
            self.wait(&waits, stopping);
        }
    }

    /// Sleeps until a line can move, something was put into one, or a time has come.
    fn wait(&self, waits: &[Wait], stopping: Option<Instant>) {
        let mut fds: Vec<PollFd<'_>> =
            self.bell().into_iter().map(|bell| PollFd::new(bell.as_fd(), PollFlags::POLLIN)).collect();
        fds.extend(
            waits.iter().filter_map(|wait| wait.ready.as_ref()).map(|(fd, flags)| PollFd::new(fd.as_fd(), *flags)),
        );
        let next = waits.iter().filter_map(|wait| wait.until).chain(stopping).min();
        let longest = if self.bell().is_some() { LONGEST_SLEEP } else { DEAF_SLEEP };
        let sleep = next.map_or(longest, |next| next.saturating_duration_since(Instant::now()).min(longest));
        let forever = waits.iter().all(|wait| wait.ready.is_none()) && next.is_none() && self.bell().is_some();
        // Interrupted or not: every line is looked at again.
        let _ = nix::poll::ppoll(&mut fds, (!forever).then(|| TimeSpec::from_duration(sleep)), None);
    }

    fn bell(&self) -> Option<&EventFd> {
        let made = self.bell.get_or_init(|| {
            let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
            bell.map_err(|error| log::error!("no eventfd, events to slow subscribers wait longer: {error}")).ok()
        });
        made.as_ref()
    }

    fn ring(&self) {
        if let Some(bell) = self.bell() {
            // It only fails when it rings already.
            let _ = bell.write(1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
