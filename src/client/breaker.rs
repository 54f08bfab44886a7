//! A circuit breaker: after several failures in a row calls fail at once, except for an occasional probe.

use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;

use super::error::{CallError, CallFailure};

/// The time for which the breaker opens at first; each further failure doubles it.
const FIRST_OPEN: Duration = Duration::from_secs(1);
const LONGEST_OPEN: Duration = Duration::from_secs(30);

/// Counts failures of one server.
#[derive(Debug)]
pub(super) struct Breaker {
    /// The number of failures in a row that open the breaker; `None`: it never opens.
    threshold: Option<NonZeroU32>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// The time until which no call is made.
    until: Option<Instant>,
    open_for: Duration,
}

impl Breaker {
    pub(super) fn new(threshold: Option<NonZeroU32>) -> Self {
        Breaker { threshold, state: Mutex::default() }
    }

    pub(super) fn after_fork(&self) -> Self {
        Breaker::new(self.threshold)
    }

    /// Admits a call, or fails while the breaker is open. After that time the first call is the probe.
    pub(super) fn admit(&self) -> Result<(), CallError> {
        if self.threshold.is_none() {
            return Ok(());
        }
        let mut state = self.lock();
        let now = Instant::now();
        match state.until {
            Some(until) if now < until => Err(CallError::CircuitOpen { failures: state.failures, left: until - now }),
            Some(_) => {
                // Other calls fail until the probe has succeeded.
                state.until = Some(clock::later(now, state.open_for));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Records the outcome of a call.
    pub(super) fn note<T>(&self, outcome: &Result<T, CallFailure>) {
        let Some(threshold) = self.threshold else { return };
        let has_failed = match outcome {
            // A server that replies is up, whatever the reply is.
            Ok(_) => false,
            Err(CallFailure { error, .. }) => match error {
                CallError::Transport { .. } | CallError::Timeout => true,
                CallError::Codec(_) => false,
                // The server was not asked.
                _ => return,
            },
        };
        let mut state = self.lock();
        if !has_failed {
            *state = State::default();
            return;
        }
        state.failures = state.failures.saturating_add(1);
        if state.failures >= threshold.get() {
            state.open_for = (state.open_for * 2).clamp(FIRST_OPEN, LONGEST_OPEN);
            state.until = Some(clock::deadline(state.open_for));
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
    fn the_breaker_opens_after_failures_in_a_row() {
        let breaker = Breaker::new(NonZeroU32::new(3));
        for _ in 0..2 {
            breaker.note(&lost());
            assert!(breaker.admit().is_ok());
        }
        breaker.note(&Err::<(), _>(CallError::Params(String::new()).into()));
        assert!(breaker.admit().is_ok(), "it was not even asked");
        breaker.note(&lost());
        assert!(matches!(breaker.admit(), Err(CallError::CircuitOpen { failures: 3, .. })));
    }

    #[test]
    fn one_probe_is_admitted_when_the_time_is_over() {
        let breaker = Breaker::new(NonZeroU32::new(1));
        breaker.note(&lost());
        breaker.lock().until = Some(Instant::now());
        assert!(breaker.admit().is_ok());
        assert!(breaker.admit().is_err(), "other calls wait for the probe");
        breaker.note(&lost());
        assert_eq!(breaker.lock().open_for, FIRST_OPEN * 2);
        breaker.note(&Ok(()));
        assert!(breaker.admit().is_ok());
        assert!(breaker.admit().is_ok());
    }

    #[test]
    fn a_breaker_without_a_threshold_never_opens() {
        let breaker = Breaker::new(None);
        for _ in 0..100 {
            breaker.note(&lost());
        }
        assert!(breaker.admit().is_ok());
    }
}
