//! How long a call may wait, where it waits, and what may end the waiting earlier.
//!
//! Exchanges are written once, as futures. With a patience that blocks they wait on the calling thread and are done
//! when [`run`] has polled them once; with a driven one they wait on a [`Driver`](super::driver::Driver), among others.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};

use super::driver::Seat;
use crate::clock;
use crate::transport::eagerness::Eagerness;

/// A waiting call looks this often whether it was interrupted.
pub(super) const WAKE: Duration = Duration::from_millis(50);

/// The longest wait between two tries for something that nothing announces.
const LONGEST_NAP: Duration = Duration::from_millis(2);
const FIRST_NAP: Duration = Duration::from_micros(20);

/// The longest that a driven call keeps its thread while its peer always has more for it.
const SLICE: Duration = Duration::from_micros(500);

/// The clock is read at every so many checkpoints: to read it takes about as long as to read from a socket.
const TURNS: u32 = 16;

/// The deadline of a call, and a look at who wants to interrupt it.
pub struct Patience<'a> {
    deadline: Instant,
    /// The last look at interruptions; on a driver, the end of the last pause.
    last_pause: Instant,
    /// How many checkpoints it has passed.
    turns: u32,
    way: Way<'a>,
}

enum Way<'a> {
    /// On this thread, which asks every so often whether to give up.
    Blocking(&'a mut (dyn FnMut() -> bool + Send)),
    /// On a driver. Whoever wants to give up drops the call.
    Driven(&'a Seat),
}

/// Why a wait ended before what it waited for.
#[derive(Debug)]
pub(super) enum Stop {
    /// The deadline has passed.
    Deadline,
    /// Somebody wants the call to end.
    Interrupted,
    /// The system refused.
    Io(io::Error),
}

/// Runs what waits with a patience that blocks.
pub(super) fn run<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        // It waits while it is polled.
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
        std::thread::yield_now();
    }
}

impl<'a> Patience<'a> {
    /// Waits at most this long in all. `watch` is asked every 50 ms, and after every signal, whether to give up.
    pub fn new(timeout: Duration, watch: &'a mut (dyn FnMut() -> bool + Send)) -> Self {
        Self::from_now(timeout, Way::Blocking(watch))
    }

    /// Waits at most this long in all, on the driver on which the seat is.
    pub fn driven(timeout: Duration, seat: &'a Seat) -> Self {
        Self::from_now(timeout, Way::Driven(seat))
    }

    fn from_now(timeout: Duration, way: Way<'a>) -> Self {
        let now = Instant::now();
        Patience { deadline: clock::later(now, timeout), last_pause: now, turns: 0, way }
    }

    /// The same, but at most this long from now.
    pub(super) fn at_most(&mut self, limit: Duration) -> Patience<'_> {
        let way = match &mut self.way {
            Way::Blocking(watch) => Way::Blocking(&mut **watch),
            Way::Driven(seat) => Way::Driven(seat),
        };
        let deadline = self.deadline.min(clock::deadline(limit));
        Patience { deadline, last_pause: self.last_pause, turns: self.turns, way }
    }

    /// Whether waiting leaves the thread to others.
    pub(super) fn is_driven(&self) -> bool {
        matches!(self.way, Way::Driven(_))
    }

    /// How long this thread may give way instead of sleeping: not at all where others want to go on.
    pub(super) fn eagerness(&self) -> Eagerness {
        if self.is_driven() { Eagerness::over() } else { Eagerness::begin() }
    }

    /// What is left; an error when nothing is.
    pub(super) fn left(&self) -> Result<Duration, Stop> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(Stop::Deadline) } else { Ok(left) }
    }

    /// Asks whether the call was interrupted.
    pub(super) fn check(&mut self) -> Result<(), Stop> {
        self.last_pause = Instant::now();
        let gives_up = match &mut self.way {
            Way::Blocking(watch) => watch(),
            Way::Driven(_) => false,
        };
        if gives_up { Err(Stop::Interrupted) } else { Ok(()) }
    }

    /// Ends a call at its deadline or when it is interrupted, and has a driven call yield to others.
    ///
    /// For loops over input: a peer that always has more to read never makes them wait.
    pub(super) async fn checkpoint(&mut self) -> Result<(), Stop> {
        self.turns = self.turns.wrapping_add(1);
        if self.turns.is_multiple_of(TURNS) { self.look_at_clock().await } else { Ok(()) }
    }

    async fn look_at_clock(&mut self) -> Result<(), Stop> {
        let now = Instant::now();
        if now >= self.deadline {
            return Err(Stop::Deadline);
        }
        let since = now.saturating_duration_since(self.last_pause);
        match self.way {
            Way::Driven(seat) if since >= SLICE => {
                seat.wait(None, now).await.map_err(Stop::Io)?;
                self.last_pause = Instant::now();
            }
            Way::Blocking(_) if since >= WAKE => self.check()?,
            _ => {}
        }
        Ok(())
    }

    /// Waits until the descriptor is ready, and says for what.
    pub(super) async fn wait(&mut self, fd: BorrowedFd<'_>, events: PollFlags) -> Result<PollFlags, Stop> {
        self.checkpoint().await?;
        let eagerness = self.eagerness();
        while eagerness.give_way() {
            match poll(fd, events, PollTimeout::ZERO)? {
                Some(ready) => return Ok(ready),
                None => self.left().map(drop)?,
            }
        }
        self.sleep(fd, events).await
    }

    /// As [`Patience::wait`], for who has been eager already.
    pub(super) async fn sleep(&mut self, fd: BorrowedFd<'_>, events: PollFlags) -> Result<PollFlags, Stop> {
        if let Way::Driven(seat) = self.way {
            let ready = seat.wait(Some((fd.as_raw_fd(), events)), self.deadline).await.map_err(Stop::Io)?;
            self.last_pause = Instant::now();
            return ready.ok_or(Stop::Deadline);
        }
        self.sleep_here(fd, events)
    }

    /// As [`Patience::sleep`], on this thread.
    pub(super) fn sleep_here(&mut self, fd: BorrowedFd<'_>, events: PollFlags) -> Result<PollFlags, Stop> {
        loop {
            let left = self.left()?.min(WAKE);
            // Rounded up: a wait of nothing would spin until the deadline.
            let millis = PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
            match poll(fd, events, millis)? {
                Some(ready) => return Ok(ready),
                None => self.check()?,
            }
        }
    }

    /// Rests for so long, or until the deadline, which is an error.
    pub(super) async fn rest(&mut self, nap: Duration) -> Result<(), Stop> {
        let until = clock::deadline(nap).min(self.deadline);
        if let Way::Driven(seat) = self.way {
            seat.wait(None, until).await.map_err(Stop::Io)?;
        } else {
            let mut left = until.saturating_duration_since(Instant::now());
            while !left.is_zero() {
                std::thread::sleep(left.min(WAKE));
                if left >= WAKE {
                    self.check()?;
                }
                left = until.saturating_duration_since(Instant::now());
            }
        }
        self.left().map(drop)
    }

    /// Tries again and again, with short rests, until it gives something.
    pub(super) async fn retry<T, E: From<Stop>>(
        &mut self,
        mut attempt: impl FnMut() -> Result<Option<T>, E>,
    ) -> Result<T, E> {
        let mut nap = FIRST_NAP;
        let mut last_check = Instant::now();
        loop {
            if let Some(found) = attempt()? {
                return Ok(found);
            }
            self.rest(nap).await?;
            nap = (nap * 2).min(LONGEST_NAP);
            if last_check.elapsed() >= WAKE {
                self.check()?;
                last_check = Instant::now();
            }
        }
    }

    /// Asks for something, and again whenever the waker that it was given is woken, until it is there.
    pub(super) async fn ask<T>(&mut self, mut ask: impl FnMut(&Waker) -> Option<T>) -> Result<T, Stop> {
        if let Way::Driven(seat) = self.way {
            let deadline = self.deadline;
            return poll_fn(|context| match ask(context.waker()) {
                Some(found) => Poll::Ready(Ok(found)),
                None if Instant::now() >= deadline => Poll::Ready(Err(Stop::Deadline)),
                None => {
                    seat.wish(None, deadline);
                    Poll::Pending
                }
            })
            .await;
        }
        let waker = waker_of_this_thread();
        let mut last_check = Instant::now();
        loop {
            if let Some(found) = ask(&waker) {
                return Ok(found);
            }
            std::thread::park_timeout(self.left()?.min(WAKE));
            if last_check.elapsed() >= WAKE {
                self.check()?;
                last_check = Instant::now();
            }
        }
    }
}

struct Unparker(Thread);

impl Wake for Unparker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn waker_of_this_thread() -> Waker {
    thread_local! {
        static WAKER: RefCell<Option<Waker>> = const { RefCell::new(None) };
    }
    let make = || Waker::from(Arc::new(Unparker(std::thread::current())));
    WAKER.with_borrow_mut(|waker| waker.get_or_insert_with(make).clone())
}

/// What the descriptor is ready for; nothing when the time passed, or a signal came.
fn poll(fd: BorrowedFd<'_>, events: PollFlags, timeout: PollTimeout) -> Result<Option<PollFlags>, Stop> {
    let mut fds = [PollFd::new(fd, events)];
    match nix::poll::poll(&mut fds, timeout) {
        Ok(0) | Err(Errno::EINTR) => Ok(None),
        Ok(_) => Ok(Some(fds[0].revents().unwrap_or(PollFlags::empty()))),
        Err(errno) => Err(Stop::Io(errno.into())),
    }
}
