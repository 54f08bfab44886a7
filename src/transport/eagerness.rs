//! Spinning at the start of a wait, while a sleep does not pay yet.

use std::time::{Duration, Instant};

/// The time for which a thread yields the processor instead of sleeping. On the same machine most replies, and most
/// next requests, arrive sooner. Waking a thread takes longer than the work that it wakes for.
const EAGER: Duration = Duration::from_micros(30);

/// The end of the time in which a waiting thread may spin.
pub struct Eagerness {
    until: Instant,
}

impl Eagerness {
    /// Starts the time now.
    pub fn begin() -> Self {
        Eagerness { until: Instant::now() + EAGER }
    }

    /// A time that is already over, for threads that other work needs.
    pub fn over() -> Self {
        Eagerness { until: Instant::now() }
    }

    /// Yields the processor; false when it is time to sleep.
    pub fn give_way(&self) -> bool {
        let is_early = Instant::now() < self.until;
        if is_early {
            std::thread::yield_now();
        }
        is_early
    }
}

/// After this many successes in a row at the first try, spinning is suspended.
const OFTEN: u8 = 16;
/// The number of waits that then start with a sleep, before spinning is tried again.
const REST: u16 = 2_000;

/// An adaptive choice between spinning and sleeping.
///
/// Spinning pays if the peer runs on another processor. On a single processor, one yield gives the peer its chance just
/// as a sleep does. With many clients, a request is always there already. In both cases the first try succeeds, and the
/// thread may as well sleep at once.
#[derive(Debug, Default)]
pub struct Habit {
    firsts: u8,
    rest: u16,
}

impl Habit {
    /// Yields and tries, repeatedly and briefly; `None` when it is time to sleep.
    pub fn try_eagerly<T>(&mut self, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
        if self.rest > 0 {
            self.rest -= 1;
            return None;
        }
        let eagerness = Eagerness::begin();
        let mut is_first = true;
        while eagerness.give_way() {
            if let Some(found) = attempt() {
                self.learn(is_first);
                return Some(found);
            }
            is_first = false;
        }
        None
    }

    fn learn(&mut self, was_first: bool) {
        self.firsts = if was_first { self.firsts + 1 } else { 0 };
        if self.firsts == OFTEN {
            *self = Habit { firsts: 0, rest: REST };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_always_succeeds_at_once_stops_spinning_and_tries_again_later() {
        let mut habit = Habit::default();
        let mut tries = 0;
        // On a busy machine the time may be over before the first try, which then does not count.
        while habit.rest == 0 {
            habit.try_eagerly(|| {
                tries += 1;
                Some(())
            });
        }
        assert_eq!(tries, OFTEN);
        while habit.rest > 0 {
            assert_eq!(habit.try_eagerly(|| Some(())), None);
        }
        while habit.try_eagerly(|| Some(())).is_none() {}
    }

    #[test]
    fn a_thread_that_succeeds_a_little_later_keeps_spinning() {
        let mut habit = Habit::default();
        for _ in 0..100 {
            let mut tries = 0;
            let found = habit.try_eagerly(|| {
                tries += 1;
                (tries > 1).then_some(())
            });
            // On a busy machine the time may be over before the second try.
            assert!(found.is_some() || tries <= 1);
        }
        assert_eq!(habit.rest, 0);
    }
}
