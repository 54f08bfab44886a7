//! Deadlines that cannot overflow, however long a time is.

use std::time::{Duration, Instant};

/// An upper bound instead of no deadline: a hundred years. The clock of the system goes on for much longer.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The moment after so much time from now, or one that never comes.
pub(crate) fn deadline(time: Duration) -> Instant {
    later(Instant::now(), time)
}

/// The moment after so much time from another one, or one that never comes.
pub(crate) fn later(from: Instant, time: Duration) -> Instant {
    from.checked_add(time).unwrap_or_else(|| from + FOREVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_too_long_for_a_deadline() {
        let now = Instant::now();
        for time in [Duration::ZERO, Duration::from_millis(300), FOREVER] {
            assert_eq!(later(now, time), now + time);
        }
        for time in [Duration::MAX, Duration::from_secs_f64(1e19)] {
            assert_eq!(later(now, time), now + FOREVER);
        }
        assert!(deadline(Duration::MAX) > now + FOREVER / 2);
    }
}
