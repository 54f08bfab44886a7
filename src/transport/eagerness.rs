//! The beginning of a wait, in which sleeping does not pay yet.

use std::time::{Duration, Instant};

/// For so long a thread gives way to others instead of sleeping. Most answers on the same machine, and most next
/// requests, come sooner; and to be woken from sleep takes a processor longer than the work that it wakes for.
const EAGER: Duration = Duration::from_micros(30);

/// How long a thread that waits may still be eager.
pub struct Eagerness {
    until: Instant,
}

impl Eagerness {
    /// From now on.
    pub fn begin() -> Self {
        Eagerness { until: Instant::now() + EAGER }
    }

    /// Over before it has begun, for threads that others want to use.
    pub fn over() -> Self {
        Eagerness { until: Instant::now() }
    }

    /// Lets others run for a moment; false when it is time to sleep.
    pub fn give_way(&self) -> bool {
        let is_early = Instant::now() < self.until;
        if is_early {
            std::thread::yield_now();
        }
        is_early
    }
}

/// So many times in a row the first try is enough, before it is taken for the rule.
const OFTEN: u8 = 16;
/// So many waits are then begun by sleeping, before it is tried again.
const REST: u16 = 2_000;

/// Whether it pays to be eager, learnt from how it went.
///
/// It does where the other side works on another processor. Where there is only one, to give way once is as good as
/// to sleep; and of many clients one has always asked already. In both cases what is waited for is there at the first
/// try, and then a thread may as well sleep at once.
#[derive(Debug, Default)]
pub struct Habit {
    firsts: u8,
    rest: u16,
}

impl Habit {
    /// Gives way and tries, again and again for a moment; `None` when it is time to sleep.
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
    fn whoever_is_always_asked_at_once_learns_to_sleep_and_tries_again_later() {
        let mut habit = Habit::default();
        let mut tries = 0;
        // On a busy machine a moment may be over before the first try, which then does not count.
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
    fn whoever_is_asked_a_little_later_stays_eager() {
        let mut habit = Habit::default();
        for _ in 0..100 {
            let mut tries = 0;
            let found = habit.try_eagerly(|| {
                tries += 1;
                (tries > 1).then_some(())
            });
            // On a busy machine the moment may be over before the second try.
            assert!(found.is_some() || tries <= 1);
        }
        assert_eq!(habit.rest, 0);
    }
}
