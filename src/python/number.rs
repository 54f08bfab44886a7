//! Numbers that Python passes as options: read with their name; an error states the expected range.

use std::ops::RangeInclusive;
use std::time::Duration;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

/// The largest size. Additions to it still fit where sizes have 32 bits.
pub(super) const MOST_BYTES: usize = 1 << 31;
/// As much as all replies together may ever have: more than any machine's memory.
pub(super) const MOST_IN_ALL: usize = 1 << 48;
/// More threads than a process can have.
pub(super) const MOST_THREADS: usize = 1 << 15;
/// More requests or connections than fit any memory.
pub(super) const MOST_REQUESTS: usize = 1 << 31;

/// The longest time in seconds: about the range of a [`Duration`].
const LONGEST: f64 = 1e19;

/// A time in seconds, 0 included.
pub(super) fn seconds(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let expected = "in seconds from 0 to 1e19";
    let read = duration(number(name, expected, value)?);
    read.ok_or_else(|| refused(name, expected, value))
}

/// How long something may take, in seconds: more than none.
pub(super) fn timeout(seconds: f64) -> PyResult<Duration> {
    let read = if seconds > 0.0 { duration(seconds) } else { None };
    read.ok_or_else(|| {
        let expected = "of more than 0 seconds and at most 1e19";
        PyValueError::new_err(format!("expected a timeout {expected}, found {seconds:?}"))
    })
}

fn duration(seconds: f64) -> Option<Duration> {
    if seconds <= LONGEST { Duration::try_from_secs_f64(seconds).ok() } else { None }
}

/// A rate, above 0.
pub(super) fn rate(name: &str, unit: &str, value: &Bound<'_, PyAny>) -> PyResult<f64> {
    let given = number(name, unit, value)?;
    let is_good = given > 0.0 && given.is_finite();
    if is_good { Ok(given) } else { Err(refused(name, &format!("{unit}, above 0 and finite"), value)) }
}

/// A whole number within bounds.
pub(super) fn count(name: &str, value: &Bound<'_, PyAny>, bounds: RangeInclusive<usize>) -> PyResult<usize> {
    let expected = format!("from {} to {}", bounds.start(), bounds.end());
    let given: i64 = match value.extract() {
        Ok(given) => given,
        // Larger than 64 bits, or no number.
        Err(_) if value.is_instance_of::<pyo3::types::PyInt>() => return Err(refused(name, &expected, value)),
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
    value.extract().map_err(|_| mistyped(name, unit, value))
}

fn refused(name: &str, expected: &str, value: &Bound<'_, PyAny>) -> PyErr {
    PyValueError::new_err(format!("expected {name} {expected}, found {}", shown(value)))
}

fn mistyped(name: &str, expected: &str, value: &Bound<'_, PyAny>) -> PyErr {
    PyTypeError::new_err(format!("expected {name} {expected}, found {}", shown(value)))
}

/// The value as Python shows it, if that is short.
fn shown(value: &Bound<'_, PyAny>) -> String {
    const LONGEST: usize = 60;
    match value.repr().map(|text| text.to_string()) {
        Ok(text) if text.len() <= LONGEST => text,
        _ => value.get_type().name().map_or_else(|_| "something else".to_owned(), |name| format!("a long {name}")),
    }
}
