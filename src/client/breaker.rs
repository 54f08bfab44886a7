//! Leaves a server alone that failed again and again: calls fail at once, but for one now and then that finds out.

use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;

use super::error::{CallError, CallFailure};

/// How long a server is left alone at first; each failure after that doubles it.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);

/// Counts failures of one server.
#[derive(Debug)]
pub(super) struct Breaker {
    /// After how many in a row it is left alone; never when there is no number.
    after: Option<NonZeroU32>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Until when no call is made.
    until: Option<Instant>,
    rest: Duration,
}

impl Breaker {
    pub(super) fn new(after: Option<NonZeroU32>) -> Self {
        Breaker { after, state: Mutex::default() }
    }

    pub(super) fn after_fork(&self) -> Self {
        Breaker::new(self.after)
    }

    /// Whether a call may be made now. Of those that come when the rest is over, the first may.
    pub(super) fn admit(&self) -> Result<(), CallError> {
        if self.after.is_none() {
            return Ok(());
        }
        let mut state = self.lock();
        let now = Instant::now();
        match state.until {
            Some(until) if now < until => Err(CallError::Resting { failures: state.failures, left: until - now }),
            Some(_) => {
                // Others wait for what this one finds.
                state.until = Some(clock::later(now, state.rest));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Takes note of what became of a call.
    pub(super) fn note<T>(&self, outcome: &Result<T, CallFailure>) {
        let Some(after) = self.after else { return };
        let has_failed = match outcome {
            // Whatever it answered, it is there.
            Ok(_) => false,
            Err(CallFailure { error, .. }) => match error {
                CallError::Transport { .. } | CallError::Timeout => true,
                CallError::Codec(_) => false,
                // It was not asked.
                _ => return,
            },
        };
        let mut state = self.lock();
        if !has_failed {
            *state = State::default();
            return;
        }
        state.failures = state.failures.saturating_add(1);
        if state.failures >= after.get() {
            state.rest = (state.rest * 2).clamp(FIRST_REST, LONGEST_REST);
            state.until = Some(clock::deadline(state.rest));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> Result<(), CallFailure> {
        Err(CallError::Timeout.into())
    }

    #[test]
    fn a_server_that_fails_again_and_again_is_left_alone() {
        let breaker = Breaker::new(NonZeroU32::new(3));
        for _ in 0..2 {
            breaker.note(&lost());
            assert!(breaker.admit().is_ok());
        }
        breaker.note(&Err::<(), _>(CallError::Params(String::new()).into()));
        assert!(breaker.admit().is_ok(), "it was not even asked");
        breaker.note(&lost());
        assert!(matches!(breaker.admit(), Err(CallError::Resting { failures: 3, .. })));
    }

    #[test]
    fn one_call_finds_out_when_the_rest_is_over() {
        let breaker = Breaker::new(NonZeroU32::new(1));
        breaker.note(&lost());
        breaker.lock().until = Some(Instant::now());
        assert!(breaker.admit().is_ok());
        assert!(breaker.admit().is_err(), "others wait for what it finds");
        breaker.note(&lost());
        assert_eq!(breaker.lock().rest, FIRST_REST * 2);
        breaker.note(&Ok(()));
        assert!(breaker.admit().is_ok());
        assert!(breaker.admit().is_ok());
    }

    #[test]
    fn without_a_number_nothing_is_counted() {
        let breaker = Breaker::new(None);
        for _ in 0..100 {
            breaker.note(&lost());
        }
        assert!(breaker.admit().is_ok());
    }
}
