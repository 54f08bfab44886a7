//! The deadline of a call, its waits, and the events that end a wait earlier.
//!
//! Exchanges are written once, as futures. With a deadline that blocks they wait on the calling thread and are done
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

use super::driver::{SLICE, Waiter};
use crate::clock;
use crate::transport::eagerness::Eagerness;

/// A waiting call looks this often whether it was interrupted.
pub(super) const WAKE: Duration = Duration::from_millis(50);

/// The longest wait between two tries for something that nothing announces.
const LONGEST_PAUSE: Duration = Duration::from_millis(2);
const FIRST_PAUSE: Duration = Duration::from_micros(20);

/// The number of checkpoints between two clock reads. Reading the clock takes about as long as reading from a socket.
const TURNS: usize = 16;

/// This many bytes of input count as much as a checkpoint: parsing them takes as long.
const BYTES_OF_TURN: usize = 1 << 10;

/// The deadline of a call, and a look at who wants to interrupt it.
pub struct Deadline<'a> {
    at: Instant,
    /// The last look at interruptions; on a driver, the end of the last pause.
    last_pause: Instant,
    /// How many checkpoints it has passed since it read the clock.
    turns: usize,
    way: Way<'a>,
}

enum Way<'a> {
    /// On this thread, which asks every so often whether to give up.
    Blocking(&'a mut (dyn FnMut() -> bool + Send)),
    /// On a driver. The caller cancels by dropping the call.
    Driven(&'a Waiter),
}

/// The reason why a wait ended early.
#[derive(Debug)]
pub(super) enum WaitError {
    /// The deadline has passed.
    TimedOut,
    /// The caller's interrupt check asks the call to end.
    Interrupted,
    /// The system refused.
    Io(io::Error),
}

/// Runs a future with a deadline that blocks.
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

impl<'a> Deadline<'a> {
    /// Waits at most this long in all. `watch` is asked every 50 ms, and after every signal, whether to give up.
    pub fn new(timeout: Duration, watch: &'a mut (dyn FnMut() -> bool + Send)) -> Self {
        Self::from_now(timeout, Way::Blocking(watch))
    }

    /// Waits at most this long in all, on the driver on which the waiter is.
    pub fn driven(timeout: Duration, waiter: &'a Waiter) -> Self {
        Self::from_now(timeout, Way::Driven(waiter))
    }

    fn from_now(timeout: Duration, way: Way<'a>) -> Self {
        let now = Instant::now();
        Deadline { at: clock::later(now, timeout), last_pause: now, turns: 0, way }
    }

    /// The same, but at most this long from now.
    pub(super) fn at_most(&mut self, limit: Duration) -> Deadline<'_> {
        let way = match &mut self.way {
            Way::Blocking(watch) => Way::Blocking(&mut **watch),
            Way::Driven(waiter) => Way::Driven(waiter),
        };
        let at = self.at.min(clock::deadline(limit));
        Deadline { at, last_pause: self.last_pause, turns: self.turns, way }
    }

    /// Returns true if waiting leaves the thread to other calls.
    pub(super) fn is_driven(&self) -> bool {
        matches!(self.way, Way::Driven(_))
    }

    /// How long this thread may give way instead of sleeping: not at all where others want to go on.
    pub(super) fn eagerness(&self) -> Eagerness {
        if self.is_driven() { Eagerness::over() } else { Eagerness::begin() }
    }

    /// Returns the remaining time; an error when none is left.
    pub(super) fn left(&self) -> Result<Duration, WaitError> {
        let left = self.at.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(WaitError::TimedOut) } else { Ok(left) }
    }

    /// Asks whether the call was interrupted.
    pub(super) fn check(&mut self) -> Result<(), WaitError> {
        self.last_pause = Instant::now();
        let gives_up = match &mut self.way {
            Way::Blocking(watch) => watch(),
            Way::Driven(_) => false,
        };
        if gives_up { Err(WaitError::Interrupted) } else { Ok(()) }
    }

    /// Ends a call at its deadline or when it is interrupted, and has a driven call yield to others.
    ///
    /// For loops over input: a peer that always has more to read never makes them wait.
    pub(super) async fn checkpoint(&mut self) -> Result<(), WaitError> {
        self.checkpoint_after(0).await
    }

    /// As [`Deadline::checkpoint`], after this many bytes of input. A large piece counts as much as many small ones.
    pub(super) async fn checkpoint_after(&mut self, bytes: usize) -> Result<(), WaitError> {
        self.turns += 1 + bytes / BYTES_OF_TURN;
        if self.turns < TURNS {
            return Ok(());
        }
        self.turns = 0;
        self.look_at_clock().await
    }

    async fn look_at_clock(&mut self) -> Result<(), WaitError> {
        let now = Instant::now();
        if now >= self.at {
            return Err(WaitError::TimedOut);
        }
        let since = now.saturating_duration_since(self.last_pause);
        match self.way {
            Way::Driven(waiter) if since >= SLICE => {
                waiter.wait(None, now).await.map_err(WaitError::Io)?;
                self.last_pause = Instant::now();
            }
            Way::Blocking(_) if since >= WAKE => self.check()?,
            _ => {}
        }
        Ok(())
    }

    /// Waits until the descriptor is ready, and returns the ready events.
    pub(super) async fn wait(&mut self, fd: BorrowedFd<'_>, events: PollFlags) -> Result<PollFlags, WaitError> {
        self.checkpoint().await?;
        let eagerness = self.eagerness();
        while eagerness.give_way() {
            match poll(fd, events, PollTimeout::ZERO)? {
                Some(ready) => return Ok(ready),
                None => self.left().map(drop)?,
            }
        }
        self.block(fd, events).await
    }

    /// As [`Deadline::wait`], for who has been eager already.
    pub(super) async fn block(&mut self, fd: BorrowedFd<'_>, events: PollFlags) -> Result<PollFlags, WaitError> {
        if let Way::Driven(waiter) = self.way {
            let ready = waiter.wait(Some((fd.as_raw_fd(), events)), self.at).await.map_err(WaitError::Io)?;
            self.last_pause = Instant::now();
            return ready.ok_or(WaitError::TimedOut);
        }
        self.block_here(fd, events)
    }

    /// As [`Deadline::sleep`], on this thread.
    pub(super) fn block_here(&mut self, fd: BorrowedFd<'_>, events: PollFlags) -> Result<PollFlags, WaitError> {
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
    pub(super) async fn sleep(&mut self, pause: Duration) -> Result<(), WaitError> {
        let until = clock::deadline(pause).min(self.at);
        if let Way::Driven(waiter) = self.way {
            waiter.wait(None, until).await.map_err(WaitError::Io)?;
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
    pub(super) async fn retry<T, E: From<WaitError>>(
        &mut self,
        mut attempt: impl FnMut() -> Result<Option<T>, E>,
    ) -> Result<T, E> {
        let mut pause = FIRST_PAUSE;
        let mut last_check = Instant::now();
        loop {
            if let Some(found) = attempt()? {
                return Ok(found);
            }
            self.sleep(pause).await?;
            pause = (pause * 2).min(LONGEST_PAUSE);
            if last_check.elapsed() >= WAKE {
                self.check()?;
                last_check = Instant::now();
            }
        }
    }

    /// Asks for something, and again whenever the waker that it was given is woken, until it is there.
    pub(super) async fn wait_for<T>(&mut self, mut ask: impl FnMut(&Waker) -> Option<T>) -> Result<T, WaitError> {
        if let Way::Driven(waiter) = self.way {
            let deadline = self.at;
            return poll_fn(|context| match ask(context.waker()) {
                Some(found) => Poll::Ready(Ok(found)),
                None if Instant::now() >= deadline => Poll::Ready(Err(WaitError::TimedOut)),
                None => {
                    waiter.set_interest(None, deadline);
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

/// Returns the events that the descriptor is ready for; `None` on a timeout or a signal.
fn poll(fd: BorrowedFd<'_>, events: PollFlags, timeout: PollTimeout) -> Result<Option<PollFlags>, WaitError> {
    let mut fds = [PollFd::new(fd, events)];
    match nix::poll::poll(&mut fds, timeout) {
        Ok(0) | Err(Errno::EINTR) => Ok(None),
        Ok(_) => Ok(Some(fds[0].revents().unwrap_or(PollFlags::empty()))),
        Err(errno) => Err(WaitError::Io(errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::client::driver::{Call, Driver};

    /// Returns true if a call on a driver yields when each of its pieces of input takes a slice of time.
    fn yields_between(pieces: usize, bytes: usize) -> bool {
        let driver = Driver::new().expect("a driver");
        let (_, output) = driver.begin(|waiter| -> Call<()> {
            Box::pin(async move {
                let mut deadline = Deadline::driven(Duration::from_secs(60), &waiter);
                for _ in 0..pieces {
                    let begun = Instant::now();
                    while begun.elapsed() < SLICE {}
                    deadline.checkpoint_after(bytes).await.expect("there is time left");
                }
            })
        });
        output.is_none()
    }

    #[test]
    fn a_driven_call_yields_to_others_after_a_large_piece_of_input() {
        assert!(yields_between(1, TURNS * BYTES_OF_TURN));
        assert!(!yields_between(1, 1), "small pieces are counted");
    }

    #[test]
    fn a_turn_polls_no_further_calls_after_a_slice_of_time() {
        let driver = Driver::new().expect("a driver");
        let polls = Arc::new(AtomicUsize::new(0));
        for _ in 0..10 {
            let polls = Arc::clone(&polls);
            driver.begin(|waiter| -> Call<()> {
                Box::pin(async move {
                    let mut deadline = Deadline::driven(Duration::from_secs(60), &waiter);
                    loop {
                        let begun = Instant::now();
                        while begun.elapsed() < SLICE {}
                        polls.fetch_add(1, Ordering::Relaxed);
                        deadline.checkpoint_after(TURNS * BYTES_OF_TURN).await.expect("there is time left");
                    }
                })
            });
        }
        let before = polls.load(Ordering::Relaxed);
        assert!(driver.turn().is_empty());
        assert_eq!(polls.load(Ordering::Relaxed) - before, 1);
    }

    #[test]
    fn a_driven_call_yields_after_some_pieces_that_are_large_together() {
        assert!(yields_between(2, TURNS * BYTES_OF_TURN / 2));
    }
}
