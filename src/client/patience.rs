//! How long a call may wait, and what may end the waiting earlier.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};

use crate::transport::eagerness::Eagerness;

/// A waiting call looks this often whether it was interrupted.
pub(super) const WAKE: Duration = Duration::from_millis(50);

/// The longest wait between two tries for something that nothing announces.
const LONGEST_NAP: Duration = Duration::from_millis(2);
const FIRST_NAP: Duration = Duration::from_micros(20);

/// The deadline of a call, and a look at who wants to interrupt it.
pub struct Patience<'a> {
    deadline: Instant,
    watch: &'a mut dyn FnMut() -> bool,
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

impl<'a> Patience<'a> {
    /// Waits at most this long in all. `watch` is asked every 50 ms, and after every signal, whether to give up.
    pub fn new(timeout: Duration, watch: &'a mut dyn FnMut() -> bool) -> Self {
        let now = Instant::now();
        // A century is as good as for ever, and clocks can add it.
        let deadline = now.checked_add(timeout).unwrap_or(now + Duration::from_secs(3_000_000_000));
        Patience { deadline, watch }
    }

    /// The same, but at most this long from now.
    pub(super) fn at_most(&mut self, limit: Duration) -> Patience<'_> {
        Patience { deadline: self.deadline.min(Instant::now() + limit), watch: &mut *self.watch }
    }

    /// What is left; an error when nothing is.
    pub(super) fn left(&self) -> Result<Duration, Stop> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(Stop::Deadline) } else { Ok(left) }
    }

    /// Asks whether the call was interrupted.
    pub(super) fn check(&mut self) -> Result<(), Stop> {
        if (self.watch)() { Err(Stop::Interrupted) } else { Ok(()) }
    }

    /// Waits until the descriptor is ready, and says for what.
    pub(super) fn wait(&mut self, fd: BorrowedFd<'_>, events: PollFlags) -> Result<PollFlags, Stop> {
        let eagerness = Eagerness::begin();
        while eagerness.give_way() {
            match poll(fd, events, PollTimeout::ZERO)? {
                Some(ready) => return Ok(ready),
                None => self.left().map(drop)?,
            }
        }
        self.sleep(fd, events)
    }

    /// As [`Patience::wait`], for who has been eager already.
    pub(super) fn sleep(&mut self, fd: BorrowedFd<'_>, events: PollFlags) -> Result<PollFlags, Stop> {
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

    /// Tries again and again, with short rests, until it gives something.
    pub(super) fn retry<T, E: From<Stop>>(
        &mut self,
        mut attempt: impl FnMut() -> Result<Option<T>, E>,
    ) -> Result<T, E> {
        let mut nap = FIRST_NAP;
        let mut last_check = Instant::now();
        loop {
            if let Some(found) = attempt()? {
                return Ok(found);
            }
            std::thread::sleep(nap.min(self.left()?));
            nap = (nap * 2).min(LONGEST_NAP);
            if last_check.elapsed() >= WAKE {
                self.check()?;
                last_check = Instant::now();
            }
        }
    }
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
