//! Numbers that Python passes as options: read with their name; an error states the expected range.

use std::ops::RangeInclusive;
use std::time::Duration;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt};

/// The largest size. Additions to it still fit where sizes have 32 bits.
pub(super) const MOST_BYTES: usize = 1 << 31;
/// As much as all replies together may ever have: more than any machine's memory.
pub(super) const MOST_IN_ALL: usize = 1 << 48;
/// More threads than a process can have.
pub(super) const MOST_THREADS: usize = 1 << 15;
/// More requests or connections than fit any memory.
pub(super) const MOST_REQUESTS: usize = 1 << 31;

/// The longest time in seconds, about 31 years, as `_numbers.py` has it.
const LONGEST: f64 = 1e9;
/// The expected time, for messages.
const SECONDS: &str = "in seconds from 0 to 1e+09";
/// The expected timeout, for messages.
const TIMEOUT: &str = "of more than 0 seconds and at most 1e+09";

/// A time in seconds, 0 included.
pub(super) fn seconds(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    finite(number(name, SECONDS, value)?).ok_or_else(|| refused(name, SECONDS, value))
}

/// A duration in seconds, 0 included, that has been read.
pub(super) fn duration(name: &str, seconds: f64) -> PyResult<Duration> {
    finite(seconds).ok_or_else(|| PyValueError::new_err(format!("expected {name} {SECONDS}, got {seconds:?}")))
}

/// The argument `timeout` of a call: seconds, more than 0.
pub(super) fn timeout_argument(value: &Bound<'_, PyAny>) -> PyResult<f64> {
    let seconds = number("a timeout", TIMEOUT, value)?;
    if is_positive(seconds) { Ok(seconds) } else { Err(refused("a timeout", TIMEOUT, value)) }
}

/// A timeout in seconds, more than 0.
pub(super) fn timeout(seconds: f64) -> PyResult<Duration> {
    let read = if is_positive(seconds) { finite(seconds) } else { None };
    read.ok_or_else(|| PyValueError::new_err(format!("expected a timeout {TIMEOUT}, got {seconds:?}")))
}

/// True for a number above 0 that is no longer than the longest time.
fn is_positive(seconds: f64) -> bool {
    seconds > 0.0 && seconds <= LONGEST
}

fn finite(seconds: f64) -> Option<Duration> {
    if seconds <= LONGEST { Duration::try_from_secs_f64(seconds).ok() } else { None }
}

/// A rate, above 0.
pub(super) fn rate(name: &str, unit: &str, value: &Bound<'_, PyAny>) -> PyResult<f64> {
    let given = number(name, unit, value)?;
    if is_positive(given) {
        Ok(given)
    } else {
        Err(refused(name, &format!("{unit}, above 0 and at most 1e+09"), value))
    }
}

/// A whole number within bounds.
pub(super) fn count(name: &str, value: &Bound<'_, PyAny>, bounds: RangeInclusive<usize>) -> PyResult<usize> {
    let expected = format!("from {} to {}", bounds.start(), bounds.end());
    let given: i64 = match value.extract() {
        Ok(_) if value.is_instance_of::<PyBool>() => return Err(mistyped(name, &expected, value)),
        Ok(given) => given,
        // Larger than 64 bits, or no number.
        Err(_) if value.is_instance_of::<PyInt>() => return Err(refused(name, &expected, value)),
        Err(_) => return Err(mistyped(name, &expected, value)),
    };
    let found = usize::try_from(given).ok().filter(|given| bounds.contains(given));
    found.ok_or_else(|| refused(name, &expected, value))
}

/// A whole number within bounds, or None for no limit.
pub(super) fn limit(name: &str, value: &Bound<'_, PyAny>, bounds: RangeInclusive<usize>) -> PyResult<Option<usize>> {
    if value.is_none() { Ok(None) } else { count(name, value, bounds).map(Some) }
}

/// Permission bits.
pub(super) fn mode(value: &Bound<'_, PyAny>) -> PyResult<u32> {
    let expected = "from 0 to 0o777";
    let given: i64 = value.extract().map_err(|_| mistyped("mode", expected, value))?;
    u32::try_from(given).ok().filter(|mode| *mode <= 0o777).ok_or_else(|| refused("mode", expected, value))
}

fn number(name: &str, unit: &str, value: &Bound<'_, PyAny>) -> PyResult<f64> {
    // Python counts True as 1.
    if value.is_instance_of::<PyBool>() {
        return Err(mistyped(name, unit, value));
    }
    value.extract().map_err(|_| mistyped(name, unit, value))
}

fn refused(name: &str, expected: &str, value: &Bound<'_, PyAny>) -> PyErr {
    PyValueError::new_err(format!("expected {name} {expected}, got {}", shown(value)))
}

fn mistyped(name: &str, expected: &str, value: &Bound<'_, PyAny>) -> PyErr {
    PyTypeError::new_err(format!("expected {name} {expected}, got {}", shown(value)))
}

/// The value as Python shows it, if that is short.
fn shown(value: &Bound<'_, PyAny>) -> String {
    const LONGEST: usize = 60;
    match value.repr().map(|text| text.to_string()) {
        Ok(text) if text.len() <= LONGEST => text,
        _ => value.get_type().name().map_or_else(|_| "something else".to_owned(), |name| format!("a long {name}")),
    }
}
