//! The decision to retry a failed call, and when.
//!
//! Only calls that cannot have run, or that change nothing, are retried: a command that may have run must not run
//! twice.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use super::error::{CallError, CallFailure};
use crate::catalog::effects::Effect;

/// The pause before the second try; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Returns true if a retry may succeed and does no harm.
pub(super) fn may_try_again(failure: &CallFailure, effect: Effect) -> bool {
    let CallFailure { error, sent, probing, .. } = failure;
    // The command itself was not sent where the question for the version failed.
    let cannot_have_run = *probing || sent.is_empty();
    match error {
        CallError::Transport { errno, .. } => is_passing(*errno) && (cannot_have_run || effect == Effect::Read),
        CallError::Timeout | CallError::Codec(_) => *probing || effect == Effect::Read,
        CallError::Refused(_)
        | CallError::Params(_)
        | CallError::Interrupted
        | CallError::CircuitOpen { .. }
        | CallError::Closed => false,
    }
}

/// Returns true if waiting may help against a system error. A wrong path, permission or wire stays wrong.
fn is_passing(errno: i32) -> bool {
    !matches!(errno, libc::EACCES | libc::EPERM | libc::EINVAL | libc::EPROTO | libc::EPROTOTYPE | libc::EMSGSIZE)
}

/// Returns the back-off before a retry, counted from 1. It doubles each time, with a random half as jitter, so that
/// calls that failed together do not retry together.
pub(super) fn pause_before(further: u32) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(1 << further.saturating_sub(1).min(16)).min(LONGEST_PAUSE);
    let chance = RandomState::new().hash_one(further) as u32;
    longest / 2 + (longest / 2).mul_f64(f64::from(chance) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(error: CallError, sent: &[u8], probing: bool) -> CallFailure {
        CallFailure { probing, ..error.after(sent, b"") }
    }

    fn lost(errno: i32) -> CallError {
        CallError::Transport { what: "lost".into(), errno }
    }

    #[test]
    fn a_request_that_may_have_run_is_retried_only_if_it_is_a_read() {
        for (error, sent, probing, read, write) in [
            (lost(libc::ECONNREFUSED), "", false, true, true),
            (lost(libc::ECONNRESET), "x", false, true, false),
            (lost(libc::ECONNRESET), "x", true, true, true),
            (lost(libc::EACCES), "", false, false, false),
            (CallError::Timeout, "x", false, true, false),
            (CallError::Timeout, "x", true, true, true),
            (CallError::Closed, "", false, false, false),
            (CallError::Params(String::new()), "", false, false, false),
        ] {
            let shown = format!("{error:?} {sent} {probing}");
            let failure = failure(error, sent.as_bytes(), probing);
            assert_eq!(may_try_again(&failure, Effect::Read), read, "{shown}");
            assert_eq!(may_try_again(&failure, Effect::Write), write, "{shown}");
        }
    }

    #[test]
    fn pauses_grow_and_are_never_the_same() {
        for (further, least, most) in [(1, 12, 25), (2, 25, 50), (3, 50, 100), (40, 1000, 2000)] {
            let pauses: Vec<_> = (0..16).map(|_| pause_before(further).as_millis()).collect();
            assert!(pauses.iter().all(|pause| (least..=most).contains(pause)), "{further}: {pauses:?}");
        }
        let pauses: std::collections::HashSet<_> = (0..16).map(|_| pause_before(8)).collect();
        assert!(pauses.len() > 1);
    }
}
