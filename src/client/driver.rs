//! Many calls on one thread that is never blocked: the kernel, a clock and other threads say which can go on.
//!
//! A driver has one descriptor. An event loop watches it among its own and lets the driver take a turn when it is
//! ready; so calls need no thread of their own, and no hop from one to another.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::sys::descriptor::epoll_control;
use crate::sys::process::forks;

/// How many things the kernel reports at once.
const BATCH: usize = 256;

/// The longest that a driven call keeps its thread while its peer always has more for it.
pub(super) const SLICE: Duration = Duration::from_micros(500);

const QUEUE: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;

/// Names a call on its driver; never given twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct CallId(u64);

/// A call that gives a `T`.
pub type Call<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Calls in progress.
pub struct Driver<T> {
    epoll: Epoll,
    timer: TimerFd,
    queue: Arc<WakerQueue>,
    calls: Mutex<Calls<T>>,
    /// The count of forks when it was made.
    forks: u32,
}

struct Calls<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
    /// When calls want to go on, whatever happens.
    due: BTreeSet<(Instant, CallId)>,
    /// When the timer goes off.
    armed: Option<Instant>,
    /// Descriptors that the kernel watches, or has watched, for this driver.
    watched: Vec<bool>,
}

/// Where a call is, and how many were there before it.
struct Place<T> {
    uses: u32,
    call: Option<Running<T>>,
}

struct Running<T> {
    call: Call<T>,
    waiter: Arc<Waiter>,
    until: Option<Instant>,
}

/// The waiting state of a call.
#[derive(Debug)]
pub struct Waiter {
    id: CallId,
    queue: Arc<WakerQueue>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    interest: Option<Interest>,
    /// The readiness that the call waited for, once it has arrived.
    ready: Option<io::Result<PollFlags>>,
}

/// The descriptor that a call waits for, and its deadline.
#[derive(Clone, Copy, Debug)]
struct Interest {
    fd: Option<(RawFd, PollFlags)>,
    until: Instant,
}

/// By which calls are woken from outside.
#[derive(Debug)]
struct WakerQueue {
    event: EventFd,
    notified: Mutex<Notified>,
}

#[derive(Debug, Default)]
struct Notified {
    ids: Vec<CallId>,
    /// True if a poll is scheduled, at the end of which the descriptors are inspected.
    is_polled: bool,
}

impl<T: Send> Driver<T> {
    /// Without calls.
    pub fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        epoll.add(&event, EpollEvent::new(EpollFlags::EPOLLIN, QUEUE))?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        let queue = Arc::new(WakerQueue { event, notified: Mutex::default() });
        let calls =
            Calls { places: Vec::new(), free: Vec::new(), due: BTreeSet::new(), armed: None, watched: Vec::new() };
        Ok(Driver { epoll, timer, queue, calls: Mutex::new(calls), forks: forks() })
    }

    /// Ready to read when it is time for a [`Driver::turn`].
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// Begins a call and runs it until it has to wait. Returns its result if it completes without waiting.
    pub fn begin(&self, make: impl FnOnce(Arc<Waiter>) -> Call<T>) -> (CallId, Option<T>) {
        let mut calls = self.lock();
        let index = calls.free.pop().unwrap_or_else(|| {
            calls.places.push(Place { uses: 0, call: None });
            calls.places.len() as u32 - 1
        });
        let place = &mut calls.places[index as usize];
        place.uses = place.uses.wrapping_add(1) & 0x7fff_ffff;
        let id = CallId(u64::from(place.uses) << 32 | u64::from(index));
        let waiter = Arc::new(Waiter { id, queue: Arc::clone(&self.queue), state: Mutex::default() });
        place.call = Some(Running { call: make(Arc::clone(&waiter)), waiter, until: None });
        let output = self.go_on(&mut calls, id);
        (id, output)
    }

    /// Polls all calls that can continue, and returns the results of completed ones. Never waits.
    pub fn turn(&self) -> Vec<(CallId, T)> {
        let mut done = Vec::new();
        let mut calls = self.lock();
        self.queue.suppress_wakeups();
        let mut events = [EpollEvent::empty(); BATCH];
        // A signal is no reason to report anything: a ready descriptor stays ready.
        let count = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        // Taken before any call goes on: one that yields is due later, and so in the next turn.
        let now = Instant::now();
        for event in &events[..count] {
            match event.data() {
                QUEUE => drop(self.queue.event.read()),
                TIMER => {
                    let _ = self.timer.wait();
                    calls.armed = None;
                }
                id => {
                    let ready = PollFlags::from_bits_truncate(event.events().bits() as i16);
                    self.serve(&mut calls, CallId(id), Ok(ready), &mut done);
                }
            }
        }
        while let Some(&(until, id)) = calls.due.first().filter(|(until, _)| *until <= now) {
            calls.due.remove(&(until, id));
            done.extend(self.go_on(&mut calls, id).map(|output| (id, output)));
            // Calls whose descriptors are ready meanwhile come first; the others are due in the next turn.
            if now.elapsed() >= SLICE {
                break;
            }
        }
        while let Some(notified) = self.queue.take() {
            for id in notified {
                done.extend(self.go_on(&mut calls, id).map(|output| (id, output)));
            }
        }
        self.arm(&mut calls);
        done
    }

    /// Cancels a call and frees its resources. Does nothing when it is done.
    pub fn cancel(&self, id: CallId) {
        if self.forks != forks() {
            return;
        }
        let call = self.lock().take(id);
        // Its end may ring for others: after the lock is free.
        drop(call);
    }

    /// Gives up all calls.
    pub fn cancel_all(&self) {
        if self.forks != forks() {
            return;
        }
        let calls: Vec<_> = {
            let mut calls = self.lock();
            let ids: Vec<_> = calls.ids().collect();
            ids.into_iter().filter_map(|id| calls.take(id)).collect()
        };
        drop(calls);
    }

    fn lock(&self) -> MutexGuard<'_, Calls<T>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes a call the readiness that it waited for, and polls it.
    fn serve(&self, calls: &mut Calls<T>, id: CallId, ready: io::Result<PollFlags>, done: &mut Vec<(CallId, T)>) {
        if let Some(running) = calls.running(id) {
            running.waiter.lock().ready = Some(ready);
            done.extend(self.go_on(calls, id).map(|output| (id, output)));
        }
    }

    /// Polls a call, and registers its next wait.
    fn go_on(&self, calls: &mut Calls<T>, id: CallId) -> Option<T> {
        loop {
            let running = calls.running(id)?;
            let waker = Waker::from(Arc::clone(&running.waiter));
            if let Poll::Ready(output) = running.call.as_mut().poll(&mut Context::from_waker(&waker)) {
                drop(calls.take(id));
                return Some(output);
            }
            let Interest { fd, until } = running.waiter.lock().interest.take()?;
            if let Some(before) = running.until.replace(until)
                && before != until
            {
                calls.due.remove(&(before, id));
            }
            calls.due.insert((until, id));
            self.arm(calls);
            let (fd, events) = fd?;
            match self.watch(&mut calls.watched, fd, events, id) {
                Ok(()) => return None,
                Err(errno) => calls.running(id)?.waiter.lock().ready = Some(Err(errno.into())),
            }
        }
    }

    /// Has the kernel report once when a descriptor is ready. It forgets descriptors when they are closed.
    fn watch(&self, watched: &mut Vec<bool>, fd: RawFd, events: PollFlags, id: CallId) -> Result<(), Errno> {
        let Ok(place) = usize::try_from(fd) else { return Err(Errno::EBADF) };
        if watched.len() <= place {
            watched.resize(place + 1, false);
        }
        let events = EpollFlags::from_bits_truncate(i32::from(events.bits())) | EpollFlags::EPOLLONESHOT;
        let change = || epoll_control(&self.epoll, fd, EpollEvent::new(events, id.0), false);
        let add = || epoll_control(&self.epoll, fd, EpollEvent::new(events, id.0), true);
        let outcome = if watched[place] {
            change().or_else(|errno| if errno == Errno::ENOENT { add() } else { Err(errno) })
        } else {
            add().or_else(|errno| if errno == Errno::EEXIST { change() } else { Err(errno) })
        };
        watched[place] = outcome.is_ok();
        outcome
    }

    /// Sets the timer to the first of the calls that want to go on.
    fn arm(&self, calls: &mut Calls<T>) {
        let next = calls.due.first().map(|(until, _)| *until);
        let Some(next) = next.filter(|next| calls.armed.is_none_or(|armed| *next < armed)) else { return };
        // Nothing at all would error it.
        let left = next.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let expiration = Expiration::OneShot(TimeSpec::from_duration(left));
        if self.timer.set(expiration, TimerSetTimeFlags::empty()).is_ok() {
            calls.armed = Some(next);
        }
    }
}

impl<T> Drop for Driver<T> {
    fn drop(&mut self) {
        // A forked child has no part in its parent's calls, and may inherit their locks in a locked state.
        if self.forks != forks() {
            let calls = self.calls.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(std::mem::take(&mut calls.places));
        }
    }
}

impl<T> Calls<T> {
    fn running(&mut self, id: CallId) -> Option<&mut Running<T>> {
        let place = self.places.get_mut(id.index())?;
        place.call.as_mut().filter(|running| running.waiter.id == id)
    }

    fn take(&mut self, id: CallId) -> Option<Running<T>> {
        let until = self.running(id)?.until;
        if let Some(until) = until {
            self.due.remove(&(until, id));
        }
        self.free.push(id.index() as u32);
        self.places[id.index()].call.take()
    }

    fn ids(&self) -> impl Iterator<Item = CallId> {
        self.places.iter().filter_map(|place| place.call.as_ref()).map(|running| running.waiter.id)
    }
}

impl From<u64> for CallId {
    fn from(id: u64) -> Self {
        CallId(id)
    }
}

impl From<CallId> for u64 {
    fn from(id: CallId) -> Self {
        id.0
    }
}

impl CallId {
    fn index(self) -> usize {
        (self.0 & u64::from(u32::MAX)) as usize
    }
}

impl Waiter {
    /// Waits until a descriptor is ready, and returns the ready events; `None` when the deadline has passed.
    pub(super) async fn wait(&self, fd: Option<(RawFd, PollFlags)>, until: Instant) -> io::Result<Option<PollFlags>> {
        self.lock().ready = None;
        let mut is_asked = false;
        poll_fn(|_| {
            let mut state = self.lock();
            match state.ready.take() {
                Some(ready) => return Poll::Ready(ready.map(Some)),
                None if is_asked && Instant::now() >= until => return Poll::Ready(Ok(None)),
                None => {}
            }
            is_asked = true;
            state.interest = Some(Interest { fd, until });
            Poll::Pending
        })
        .await
    }

    /// Registers the next wait of the call.
    pub(super) fn set_interest(&self, fd: Option<(RawFd, PollFlags)>, until: Instant) {
        self.lock().interest = Some(Interest { fd, until });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Waiter {
    fn wake(self: Arc<Self>) {
        self.queue.notify(self.id);
    }
}

impl WakerQueue {
    fn notify(&self, id: CallId) {
        let mut notified = self.lock();
        notified.ids.push(id);
        if !notified.is_polled && notified.ids.len() == 1 {
            // It is only full when it was not read for ages, and then ready as well.
            let _ = self.event.write(1);
        }
    }

    /// From now on they are looked at without being told.
    fn suppress_wakeups(&self) {
        self.lock().is_polled = true;
    }

    /// Those that rang; none any more when there are none.
    fn take(&self) -> Option<Vec<CallId>> {
        let mut notified = self.lock();
        notified.is_polled = !notified.ids.is_empty();
        notified.is_polled.then(|| std::mem::take(&mut notified.ids))
    }

    fn lock(&self) -> MutexGuard<'_, Notified> {
        self.notified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
