//! Clocks and local time.

use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};

/// The time of the monotonic clock, which all processes of a machine share.
pub fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// A time as calendar fields of the local time zone (`localtime_r(3)`).
pub fn local_time(time: SystemTime) -> libc::tm {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let seconds = libc::time_t::try_from(seconds).unwrap_or(libc::time_t::MAX);
    // SAFETY: any bytes are a `tm`; both pointers are to live locals, and localtime_r writes only the second.
    unsafe {
        let mut fields: libc::tm = std::mem::zeroed();
        libc::localtime_r(&raw const seconds, &raw mut fields);
        fields
    }
}
