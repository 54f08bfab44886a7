//! The limits of listeners and commands, as Python gives them.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::server::seconds;
use crate::command::limits::{Limits, Run};
use crate::item::MAX_DEPTH;

/// Reads an option; false when there is no limit of that name.
pub(super) fn read(limits: &mut Limits, name: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    match name {
        "timeout" if value.is_none() => limits.run = Some(Run::Unlimited),
        "timeout" => limits.run = Some(Run::For(seconds(value)?)),
        "reply_limit" => limits.reply = value.extract()?,
        "depth_limit" => limits.depth = at_most(MAX_DEPTH, name, value)?,
        "in_progress_limit" => limits.in_progress = value.extract()?,
        "queue_limit" => limits.queue = value.extract()?,
        "rate_limit" => limits.rate = read_rate(value)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn at_most(most: usize, name: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
    let limit: Option<usize> = value.extract()?;
    match limit {
        Some(limit) if limit > most => {
            Err(PyValueError::new_err(format!("expected {name} of at most {most}, found {limit}")))
        }
        limit => Ok(limit),
    }
}

fn read_rate(value: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
    let rate: Option<f64> = value.extract()?;
    match rate {
        Some(rate) if !(rate > 0.0 && rate.is_finite()) => {
            Err(PyValueError::new_err(format!("expected rate_limit in requests a second, above 0, found {rate}")))
        }
        rate => Ok(rate),
    }
}
