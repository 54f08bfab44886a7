//! The limits of listeners and commands, as Python gives them.

use pyo3::prelude::*;

use super::number::{self, MOST_BYTES, MOST_REQUESTS, seconds};
use crate::command::limits::{Limits, Run};
use crate::item::MAX_DEPTH;

/// Reads an option; false when there is no limit of that name.
pub(super) fn read(limits: &mut Limits, name: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    match name {
        "timeout" if value.is_none() => limits.run = Some(Run::Unlimited),
        "timeout" => limits.run = Some(Run::For(seconds(name, value)?)),
        "reply_limit" => limits.reply = number::limit(name, value, 1..=MOST_BYTES)?,
        "depth_limit" => limits.depth = number::limit(name, value, 1..=MAX_DEPTH)?,
        "in_progress_limit" => limits.in_progress = number::limit(name, value, 0..=MOST_REQUESTS)?,
        "queue_limit" => limits.queue = number::limit(name, value, 0..=MOST_REQUESTS)?,
        "rate_limit" => limits.rate = read_rate(name, value)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn read_rate(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
    if value.is_none() { Ok(None) } else { number::rate(name, "in requests a second", value).map(Some) }
}
